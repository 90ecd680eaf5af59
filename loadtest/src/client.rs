//! A headless member of a room: connects, joins, edits, runs and watches as the page does, without a page.

mod error;

pub use error::ClientError;

use crate::{
    edits::{EMPTY_UPDATE, NOTHING, Writer, awareness},
    run_reader::RunReader,
    socket::{self, Credential, Socket},
};
use bytes::Bytes;
use error::NO_HANDSHAKE;
use futures_util::{SinkExt, StreamExt};
use promptroom_protocol::{
    Action, ClientFrame, Command, CommandId, FrameError, Hello, Overrides, Reply, ReplyBody, RunCursor,
    RunId, RunSummary, Seq, ServerFrame, SyncStep, VERSION,
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(10);

/// How a member connects.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub credential: Credential,
    /// Our own frames, or only the plain y-websocket protocol.
    pub version: Option<u32>,
    /// Any address of 127.0.0.0/8.
    pub source: Option<Ipv4Addr>,
    /// `?create=1`: make the prompt if it is missing.
    pub create: Create,
    /// The kernel's receive buffer; its default if absent.
    pub receive_buffer_bytes: Option<u32>,
    /// The longest wait for an expected frame.
    pub patience: Duration,
}

/// Whether a missing prompt is made on connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    IfMissing,
    Never,
}

impl ConnectOptions {
    /// Our page's way: own frames, the token in the header, a missing prompt is made.
    pub fn page(token: &str) -> Self {
        ConnectOptions {
            credential: Credential::Header(token.to_owned()),
            version: Some(VERSION),
            source: None,
            create: Create::IfMissing,
            receive_buffer_bytes: None,
            patience: PATIENCE,
        }
    }

    /// A stock Yjs tool's way: the plain protocol.
    pub fn stock(token: &str) -> Self {
        ConnectOptions { version: None, ..Self::page(token) }
    }

    pub fn from(self, source: Ipv4Addr) -> Self {
        ConnectOptions { source: Some(source), ..self }
    }

    fn query(&self) -> String {
        let create = (self.create == Create::IfMissing).then(|| "create=1".to_owned());
        let version = self.version.map(|version| format!("v={version}"));
        let pairs: Vec<String> = create.into_iter().chain(version).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    }
}

/// One binary message of the server, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(pub Bytes);

impl Frame {
    pub fn decode(&self) -> Result<ServerFrame<'_>, FrameError> {
        ServerFrame::decode(&self.0)
    }

    /// Whether it is a saved mark, without decoding the rest of the traffic.
    fn may_be_saved(&self) -> bool {
        self.0.first() == Some(&17)
    }
}

/// What a member got when it joined.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Absent for the plain protocol.
    pub hello: Option<Hello>,
    /// The document's updates, in order.
    pub updates: Vec<Bytes>,
    /// What the server has: the client, too, once it has taken the updates.
    pub state_vector: Bytes,
}

/// A member's socket.
#[derive(Debug)]
pub struct Client {
    socket: Socket,
    version: Option<u32>,
    patience: Duration,
    writer: Writer,
    awareness_clock: u64,
    /// SyncStep2 and Update frames sent on this socket.
    frames: u64,
    saved: u64,
    head: Seq,
}

impl Client {
    /// Connects to a room: `base` is `ws://host:port`, `prompt` its id or slug.
    pub async fn connect(base: &str, prompt: &str, options: &ConnectOptions) -> Result<Client, ClientError> {
        let host = base.trim_start_matches("ws://").trim_start_matches("http://").trim_end_matches('/');
        let address = resolve(host).await?;
        let url = format!("ws://{host}/ws/{prompt}{}", options.query());
        let opening = async {
            let stream = socket::connect_tcp(address, options.source, options.receive_buffer_bytes).await?;
            Ok::<_, ClientError>(socket::open(stream, &url, &options.credential).await?)
        };
        let socket = within(options.patience, "answer to the handshake", opening).await?;
        let (version, patience) = (options.version, options.patience);
        Ok(Client {
            socket,
            version,
            patience,
            writer: Writer::random(),
            awareness_clock: 0,
            frames: 0,
            saved: 0,
            head: Seq(0),
        })
    }

    /// The id of this member's Yjs client.
    pub fn client_id(&self) -> u64 {
        self.writer.client()
    }

    /// How many of this socket's document frames are durable.
    pub fn saved(&self) -> u64 {
        self.saved
    }

    /// The newest durable row that this socket was told of.
    pub fn head(&self) -> Seq {
        self.head
    }

    pub async fn send(&mut self, frame: &ClientFrame<'_>) -> Result<(), ClientError> {
        self.send_bytes(frame.encode()).await
    }

    /// Sends one message as it is; a document frame counts for the saved mark.
    pub async fn send_bytes(&mut self, message: Bytes) -> Result<(), ClientError> {
        if matches!(message.as_ref(), [0, 1 | 2, ..]) {
            self.frames += 1;
        }
        Ok(self.socket.send(Message::Binary(message)).await?)
    }

    /// The next frame, however long it takes. Cancel-safe.
    pub async fn receive(&mut self) -> Result<Frame, ClientError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return self.note(Frame(bytes)),
                Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(closed(None)),
            }
        }
    }

    /// The next frame, within this member's patience.
    pub async fn next(&mut self) -> Result<Frame, ClientError> {
        within(self.patience, "frame", self.receive()).await
    }

    /// Reads until `pick` finds what it wants; what it passes over is dropped.
    pub async fn wait_for<T>(
        &mut self,
        wanted: &'static str,
        mut pick: impl FnMut(&ServerFrame<'_>) -> Option<T>,
    ) -> Result<T, ClientError> {
        let patience = self.patience;
        let search = async {
            loop {
                let frame = self.receive().await?;
                if let Some(found) = pick(&frame.decode()?) {
                    return Ok(found);
                }
            }
        };
        within(patience, wanted, search).await
    }

    /// Joins with nothing: reads the whole document and is caught up afterwards.
    pub async fn join(&mut self) -> Result<Joined, ClientError> {
        match self.version {
            Some(_) => {
                let hello = self.wait_for("hello", hello).await?;
                self.join_after(hello, None, NOTHING).await
            }
            None => self.join_stock().await,
        }
    }

    /// Joins as one that comes back: with the newest row that it was told of and its state vector.
    pub async fn rejoin(&mut self, have: Option<Seq>, state_vector: &[u8]) -> Result<Joined, ClientError> {
        let hello = self.wait_for("hello", hello).await?;
        self.join_after(hello, have, state_vector).await
    }

    async fn join_after(
        &mut self,
        hello: Hello,
        have: Option<Seq>,
        has: &[u8],
    ) -> Result<Joined, ClientError> {
        self.send(&ClientFrame::Join { lineage: hello.lineage, have, state_vector: has }).await?;
        let mut updates = Vec::new();
        let mut state_vector = Bytes::new();
        self.wait_for("end of the document", |frame| {
            match frame {
                ServerFrame::Sync(SyncStep::Step2(update) | SyncStep::Update(update)) => {
                    updates.push(Bytes::copy_from_slice(update));
                }
                ServerFrame::Sync(SyncStep::Step1(has)) => state_vector = Bytes::copy_from_slice(has),
                _ => {}
            }
            matches!(frame, ServerFrame::Saved { .. }).then_some(())
        })
        .await?;
        self.send(&ClientFrame::Sync(SyncStep::Step2(EMPTY_UPDATE))).await?;
        Ok(Joined { hello: Some(hello), updates, state_vector })
    }

    async fn join_stock(&mut self) -> Result<Joined, ClientError> {
        self.send(&ClientFrame::Sync(SyncStep::Step1(NOTHING))).await?;
        let mut updates = Vec::new();
        let mut state_vector = None;
        self.wait_for("both sync steps", |frame| {
            match frame {
                ServerFrame::Sync(SyncStep::Step1(has)) => state_vector = Some(Bytes::copy_from_slice(has)),
                ServerFrame::Sync(SyncStep::Step2(update)) => updates.push(Bytes::copy_from_slice(update)),
                _ => {}
            }
            (state_vector.is_some() && !updates.is_empty()).then_some(())
        })
        .await?;
        self.send(&ClientFrame::Sync(SyncStep::Step2(EMPTY_UPDATE))).await?;
        Ok(Joined { hello: None, updates, state_vector: state_vector.unwrap_or_default() })
    }

    /// Appends `text` to the load text; returns the frame's number for the saved mark.
    pub async fn edit(&mut self, text: &str) -> Result<u64, ClientError> {
        let update = self.writer.append(text);
        self.send(&ClientFrame::Sync(SyncStep::Update(&update))).await?;
        Ok(self.frames)
    }

    /// Waits until this socket's first `frames` document frames are durable.
    pub async fn wait_saved(&mut self, frames: u64) -> Result<(), ClientError> {
        if self.saved >= frames {
            return Ok(());
        }
        let is_saved = |frame: &ServerFrame<'_>| matches!(frame, ServerFrame::Saved { frames: saved, .. } if *saved >= frames);
        self.wait_for("saved mark", |frame| is_saved(frame).then_some(())).await
    }

    /// Announces or renews this member's presence; `state` is JSON.
    pub async fn present(&mut self, state: &str) -> Result<(), ClientError> {
        self.awareness_clock += 1;
        let update = awareness(self.writer.client(), self.awareness_clock, state);
        self.send(&ClientFrame::Awareness(&update)).await
    }

    /// Does `action` under a new command id and waits for the reply.
    pub async fn command(&mut self, action: Action) -> Result<RunSummary, ClientError> {
        let id = CommandId(Uuid::now_v7());
        self.repeat_command(Command { id, action }).await
    }

    /// Sends a command whose id was chosen before.
    pub async fn repeat_command(&mut self, command: Command) -> Result<RunSummary, ClientError> {
        let id = command.id;
        self.send(&ClientFrame::Command(Box::new(command))).await?;
        let body = self.wait_for("reply", |frame| reply(frame, id)).await?;
        match body {
            ReplyBody::Ok { run } => Ok(*run),
            ReplyBody::Error(problem) => Err(ClientError::Problem(problem)),
        }
    }

    /// Runs the first variant on `model` (`lane/model`), or on its own model.
    pub async fn run(&mut self, model: Option<&str>) -> Result<RunSummary, ClientError> {
        let overrides = Overrides { model: model.map(str::to_owned), ..Overrides::default() };
        self.command(Action::Run { variant: None, inputs: None, overrides }).await
    }

    pub async fn cancel(&mut self, run: RunId) -> Result<RunSummary, ClientError> {
        self.command(Action::Cancel { run }).await
    }

    pub async fn watch(&mut self, run: RunId, cursor: RunCursor) -> Result<(), ClientError> {
        self.send(&ClientFrame::Watch { run, cursor }).await
    }

    /// Reads until the watched run has ended, rewinds included, each frame within this member's patience.
    pub async fn read_to_end(&mut self, reader: &mut RunReader) -> Result<(), ClientError> {
        while !reader.has_ended() {
            let frame = self.next().await?;
            reader.take(&frame.decode()?)?;
        }
        Ok(())
    }

    /// Says goodbye with a closing handshake; does not wait for the answer.
    pub async fn close(mut self) -> Result<(), ClientError> {
        Ok(self.socket.close(None).await?)
    }

    fn note(&mut self, frame: Frame) -> Result<Frame, ClientError> {
        if frame.may_be_saved()
            && let ServerFrame::Saved { frames, head } = frame.decode()?
        {
            self.saved = frames;
            self.head = head;
        }
        Ok(frame)
    }
}

fn hello(frame: &ServerFrame<'_>) -> Option<Hello> {
    match frame {
        ServerFrame::Hello(hello) => Some((**hello).clone()),
        _ => None,
    }
}

fn reply(frame: &ServerFrame<'_>, wanted: CommandId) -> Option<ReplyBody> {
    match frame {
        ServerFrame::Reply(reply) => {
            let Reply { id, body } = &**reply;
            (*id == wanted).then(|| body.clone())
        }
        _ => None,
    }
}

fn closed(frame: Option<CloseFrame>) -> ClientError {
    match frame {
        Some(frame) => ClientError::Closed { code: frame.code.into(), reason: frame.reason.to_string() },
        None => ClientError::Closed { code: NO_HANDSHAKE, reason: String::new() },
    }
}

async fn resolve(host: &str) -> Result<SocketAddr, ClientError> {
    let unknown = || std::io::Error::other(format!("`{host}` is not an address"));
    let mut addresses = tokio::net::lookup_host(host).await?;
    Ok(addresses.find(SocketAddr::is_ipv4).ok_or_else(unknown)?)
}

async fn within<T>(
    limit: Duration,
    wanted: &'static str,
    wait: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(limit, wait).await.unwrap_or(Err(ClientError::Late { wanted, after: limit }))
}

#[cfg(test)]
mod tests;
