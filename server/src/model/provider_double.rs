//! A provider for tests: a bare TCP server that answers with the bytes that it is given.

use super::{
    LaneConfig, Model, ModelError, ModelEvent, ModelStream, Models, ModelsConfig, ProviderConfig, Secret,
    lane_config::{CancelBehaviour, PrefillStyle},
};
use crate::domain::ledger::UsageReport;
use crate::domain::prompt::{ChatMessage, MessageRole, ModelRequest, Parameters};
use promptroom_protocol::{BlockKind, StopReason};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

pub(super) const KEY: &str = "sk-test-secret-0123456789";

/// What one connection is answered with.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) pieces: Vec<Vec<u8>>,
    /// Keep the connection open until the other side closes it.
    pub(super) hold: bool,
}

impl Answer {
    /// An error, or any other answer that is not a stream.
    pub(super) fn plain(head: &str, body: &str) -> Answer {
        let text = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        Answer { pieces: vec![text.into_bytes()], hold: false }
    }

    /// A chunked event stream that comes in pieces of so many bytes, without the end of the body.
    pub(super) fn open_stream(events: &str, piece_bytes: usize) -> Answer {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut pieces = vec![head.as_bytes().to_vec()];
        for piece in events.as_bytes().chunks(piece_bytes) {
            pieces.push([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        Answer { pieces, hold: false }
    }

    pub(super) fn stream(events: &str, piece_bytes: usize) -> Answer {
        let mut answer = Answer::open_stream(events, piece_bytes);
        answer.pieces.push(b"0\r\n\r\n".to_vec());
        answer
    }

    pub(super) fn held(self) -> Answer {
        Answer { hold: true, ..self }
    }
}

/// Answers its connections one after the other; the last answer is repeated.
pub(super) struct Double {
    pub(super) base_url: String,
    /// The request of each connection, as text.
    pub(super) requests: mpsc::Receiver<String>,
    /// One for each held connection that the other side has closed.
    pub(super) closed: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Double {
    #[expect(clippy::disallowed_methods, reason = "the double is a process of its own in all but name")]
    pub(super) async fn start(answers: Vec<Answer>) -> Double {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let (request_tx, requests) = mpsc::channel(100);
        let (closed_tx, closed) = mpsc::channel(100);
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = answers[usize::min(number, answers.len() - 1)].clone();
                tokio::spawn(serve(stream, answer, request_tx.clone(), closed_tx.clone()));
            }
        });
        Double { base_url, requests, closed, task }
    }

    /// The models of a configuration in which every provider is this double.
    pub(super) fn models(&self) -> Models {
        let provider = |path: &str| ProviderConfig {
            key: Secret::new(KEY),
            base_url: Some(format!("{}{path}", self.base_url)),
        };
        let lane = |name: &str, prefill| LaneConfig {
            name: name.to_owned(),
            base_url: format!("{}/v1", self.base_url),
            key_variable: None,
            key: None,
            models: Vec::new(),
            prefill,
            cancel: CancelBehaviour::Stops,
            slots: 4,
        };
        Models::open(ModelsConfig {
            demo: true,
            demo_pace_ms: Some(0),
            anthropic: Some(provider("")),
            openai: Some(provider("/v1")),
            lanes: vec![
                lane("local", PrefillStyle::AssistantMessage),
                lane("vllm", PrefillStyle::ContinueFinalMessage),
            ],
        })
        .unwrap()
    }

    pub(super) fn model(&self, id: &str) -> Model {
        self.models().find(id).unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Answer,
    requests: mpsc::Sender<String>,
    closed: mpsc::Sender<()>,
) {
    stream.set_nodelay(true).unwrap();
    let Some(request) = read_request(&mut stream).await else { return };
    requests.send(request).await.unwrap();
    for piece in &answer.pieces {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    if answer.hold {
        let mut rest = [0; 64];
        while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        let _ = closed.send(()).await;
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text.into_owned());
            }
        }
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
    }
}

/// A whole answer, put together.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Told {
    pub(super) blocks: Vec<(BlockKind, String)>,
    pub(super) usage: Option<UsageReport>,
    pub(super) stop: Option<(StopReason, Option<String>)>,
    pub(super) error: Option<ModelError>,
}

/// Reads to the end and checks what every stream owes: dense blocks, no empty text, one end, then silence.
pub(super) async fn told(mut stream: ModelStream) -> Told {
    let mut told = Told::default();
    while let Some(next) = stream.next().await {
        assert!(told.stop.is_none() && told.error.is_none(), "something came after the end: {next:?}");
        match next {
            Ok(ModelEvent::Delta { block, kind, text }) => {
                assert!(!text.is_empty());
                let block = block as usize;
                assert!(block <= told.blocks.len(), "blocks are numbered without gaps");
                if block == told.blocks.len() {
                    told.blocks.push((kind, String::new()));
                }
                assert_eq!(told.blocks[block].0, kind);
                told.blocks[block].1.push_str(&text);
            }
            Ok(ModelEvent::Usage(report)) => told.usage.get_or_insert_default().update(report),
            Ok(ModelEvent::Stop { reason, sequence }) => told.stop = Some((reason, sequence)),
            Err(error) => told.error = Some(error),
        }
    }
    assert!(told.stop.is_some() != told.error.is_some(), "a stream ends in one way");
    assert_eq!(stream.next().await, None);
    told
}

/// A request with one user message.
pub(super) fn asking(text: &str) -> ModelRequest {
    ModelRequest {
        model: "lane/model".to_owned(),
        system: Some("You are a test.".to_owned()),
        messages: vec![ChatMessage { role: MessageRole::User, text: text.to_owned() }],
        parameters: Parameters {
            temperature: None,
            top_p: None,
            max_tokens: None,
            stop: Vec::new(),
            seed: None,
        },
        prefill: None,
    }
}
