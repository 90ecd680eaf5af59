//! A model's double on the OpenAI wire: paced, counted, and scripted by the model's name.

mod script;
mod stream;

pub use script::{MODELS, numbered_text, usage};
pub use stream::{StreamEnd, StreamRecord};

use crate::tasks::Tasks;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use script::Script;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use stream::TokenStream;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

const REQUEST_BYTES_MAX: usize = 16 << 20;
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Older records are forgotten.
const RECORDS_MAX: usize = 10_000;
const CONNECTIONS_MAX: usize = 20_000;

type Body = BoxBody<Bytes, std::io::Error>;

/// A running double; dropping it closes everything.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    witness: Arc<Witness>,
    _tasks: Tasks,
}

/// How many streams there were, by how they went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub opened: u64,
    pub open: u64,
    pub finished: u64,
    /// The reader went away before the end: what Stop must bring about.
    pub closed_by_client: u64,
    /// Ended early by the script.
    pub cut: u64,
}

/// What the double saw.
#[derive(Debug)]
struct Witness {
    counts: watch::Sender<Counts>,
    records: Mutex<VecDeque<StreamRecord>>,
    tokens: AtomicU64,
    bytes: AtomicU64,
}

impl Upstream {
    /// Listens on a free port of loopback.
    pub async fn start() -> Result<Upstream> {
        Upstream::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn start_on(address: SocketAddr) -> Result<Upstream> {
        let listener = TcpListener::bind(address).await.context("the upstream double cannot listen")?;
        let address = listener.local_addr()?;
        let witness = Arc::new(Witness {
            counts: watch::Sender::new(Counts::default()),
            records: Mutex::default(),
            tokens: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let mut tasks = Tasks::default();
        tasks.start(accept(listener, Arc::clone(&witness)));
        Ok(Upstream { address, witness, _tasks: tasks })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a lane needs as its base URL.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn counts(&self) -> Counts {
        *self.witness.counts.borrow()
    }

    pub fn tokens_sent(&self) -> u64 {
        self.witness.tokens.load(Ordering::Relaxed)
    }

    pub fn bytes_sent(&self) -> u64 {
        self.witness.bytes.load(Ordering::Relaxed)
    }

    /// The streams that have ended, oldest first.
    pub fn records(&self) -> Vec<StreamRecord> {
        self.witness.records().iter().cloned().collect()
    }

    /// Waits until the counts are as wanted; an error after `limit` says what they are instead.
    pub async fn wait_for(&self, limit: Duration, wanted: impl FnMut(&Counts) -> bool) -> Result<Counts> {
        let mut counts = self.witness.counts.subscribe();
        let waited = timeout(limit, counts.wait_for(wanted)).await.map(|counts| counts.map(|counts| *counts));
        match waited {
            Ok(counts) => Ok(counts?),
            Err(_) => anyhow::bail!("not as wanted after {limit:?}: {:?}", self.counts()),
        }
    }
}

impl Witness {
    fn records(&self) -> std::sync::MutexGuard<'_, VecDeque<StreamRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) {
        self.counts.send_modify(|counts| {
            counts.opened += 1;
            counts.open += 1;
        });
    }

    fn sent(&self, bytes: usize) {
        self.tokens.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn ended(&self, record: StreamRecord) {
        let end = record.end;
        let mut records = self.records();
        if records.len() == RECORDS_MAX {
            records.pop_front();
        }
        records.push_back(record);
        drop(records);
        self.counts.send_modify(|counts| {
            counts.open -= 1;
            match end {
                StreamEnd::Finished => counts.finished += 1,
                StreamEnd::ClosedByClient => counts.closed_by_client += 1,
                StreamEnd::Cut => counts.cut += 1,
            }
        });
    }
}

async fn accept(listener: TcpListener, witness: Arc<Witness>) {
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    let mut connections = Tasks::default();
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        connections.sweep();
        let Ok((stream, _)) = listener.accept().await else { continue };
        let witness = Arc::clone(&witness);
        connections.start(async move {
            serve(stream, witness).await;
            drop(slot);
        });
    }
}

async fn serve(stream: TcpStream, witness: Arc<Witness>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| {
        let witness = Arc::clone(&witness);
        async move { Ok::<_, Infallible>(answer(request, witness).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    // A reader that goes away is no failure here: the stream's own record says so.
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, witness: Arc<Witness>) -> Response<Body> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/models") => {
            let models: Vec<Value> = MODELS.iter().map(|id| json!({"id": id, "object": "model"})).collect();
            json_answer(StatusCode::OK, &json!({"object": "list", "data": models}))
        }
        (&Method::GET, "/counts") => json_answer(StatusCode::OK, &json!(*witness.counts.borrow())),
        (&Method::POST, "/v1/chat/completions") => complete(request, witness).await,
        _ => refusal(StatusCode::NOT_FOUND, "there is no such path"),
    }
}

async fn complete(request: Request<Incoming>, witness: Arc<Witness>) -> Response<Body> {
    let Ok(body) = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await else {
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
    };
    let Ok(request) = serde_json::from_slice::<Value>(&body.to_bytes()) else {
        return refusal(StatusCode::BAD_REQUEST, "the request is not JSON");
    };
    let Some(script) = request["model"].as_str().and_then(Script::parse) else {
        return refusal(StatusCode::NOT_FOUND, "there is no such model");
    };
    if let Some(status) = script.refuses {
        return refusal(status, "the script says so");
    }
    if request["stream"] != Value::Bool(true) {
        return json_answer(StatusCode::OK, &script.whole_answer(&request));
    }
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .body(TokenStream::new(script, request, witness).boxed())
        .unwrap_or_else(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made"))
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let kind =
        if status == StatusCode::TOO_MANY_REQUESTS { "rate_limit_error" } else { "invalid_request_error" };
    json_answer(status, &json!({"error": {"message": message, "type": kind, "code": Value::Null}}))
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
