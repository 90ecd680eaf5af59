//! One socket: credentials, the way into its room, and the loop that reads and writes until it ends.
//!
//! Decisions are the room's. Here frames are decoded and bounded, and what the socket lacks is sent.

use crate::domain::{log::SocketId, refusal::Refusal};
use crate::edge::{
    auth::{self, Caller},
    outgoing::Outgoing,
    prompts,
    socket::{self, Gone, Incoming, Socket},
    state::App,
};
use crate::live::{
    member::{COMMANDS_MAX, Member},
    room::{Entered, Room, ToRoom},
};
use axum::{
    extract::{Path, Query, State, WebSocketUpgrade},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use promptroom_protocol::{
    Action, ClientFrame, Command, Hello, Person, PromptId, Reply, ReplyBody, RequestId, Rights, RunCursor,
    RunId, ServerFrame, SyncStep, VERSION,
};
use serde::Deserialize;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

const ENTER_LIMIT: Duration = Duration::from_secs(10);
/// A socket that says nothing for this long is asked for a sign of life.
const PING_AFTER: Duration = Duration::from_secs(25);
const DEAD_AFTER: Duration = Duration::from_secs(60);
/// Frames that may come at once before the rate counts.
const BURST: u32 = 200;

#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    v: Option<String>,
    #[serde(default)]
    create: Option<String>,
}

/// Where an accepted socket goes.
struct Ticket {
    prompt: PromptId,
    slug: String,
    person: Person,
    rights: Rights,
    versioned: bool,
    request_id: RequestId,
}

/// `/ws/{prompt}`. A refusal is told by a close code, not by an HTTP status: stock clients read only the former.
pub async fn upgrade(
    State(app): State<App>,
    Path(prompt): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let request_id = RequestId(Uuid::now_v7());
    if !auth::origin_is_own(&app.settings, &headers) {
        return crate::edge::problem::response(&Refusal::OriginForeign, request_id);
    }
    let versioned = asked.v.is_some();
    let admitted = admit(&app, &prompt, &asked, &headers, request_id).await;
    let upgrade =
        socket::bounded(upgrade, app.settings.limits.message_bytes as usize).protocols(["promptroom"]);
    let tasks = app.tasks.clone();
    upgrade
        .on_upgrade(move |socket| {
            let socket = Socket::new(socket);
            tasks.track(Box::pin(async move {
                match admitted {
                    Ok(ticket) => serve(app, socket, ticket).await,
                    Err(refusal) => socket.close(&refusal, request_id, versioned).await,
                }
            }))
        })
        .into_response()
}

async fn admit(
    app: &App,
    prompt: &str,
    asked: &Asked,
    headers: &HeaderMap,
    request_id: RequestId,
) -> Result<Ticket, Refusal> {
    if let Some(version) = asked.v.as_ref().filter(|version| **version != VERSION.to_string()) {
        return Err(Refusal::VersionUnknown { asked: version.chars().take(20).collect() });
    }
    if app.tasks.is_draining() {
        return Err(Refusal::Draining);
    }
    if app.sockets.load(Ordering::Relaxed) >= app.settings.connections {
        return Err(Refusal::NodeFull);
    }
    let Caller { principal, .. } = auth::caller(app, headers).await?;
    let visible = prompts::visible(app, &principal, prompt).await;
    let (row, rights) = match visible {
        Err(Refusal::PromptNotFound) if asked.create.as_deref() == Some("1") => {
            prompts::create_at(app, &principal, prompt).await?
        }
        visible => visible?,
    };
    let person = Person { id: principal.id, name: principal.name, role: principal.role, client: None };
    Ok(Ticket { prompt: row.id, slug: row.slug, person, rights, versioned: asked.v.is_some(), request_id })
}

struct Session {
    app: App,
    socket: Socket,
    room: Arc<Room>,
    member: Arc<Member>,
    outgoing: Outgoing,
    heard_at: Instant,
    pinged: bool,
    /// When the frames so far would have come at the allowed rate.
    paced_at: Instant,
}

async fn serve(app: App, socket: Socket, ticket: Ticket) {
    let _counted = Counted::new(&app.sockets);
    let number = SocketId(app.next_socket.fetch_add(1, Ordering::Relaxed));
    let member = Arc::new(Member::new(number, &ticket.person, ticket.rights, ticket.versioned));
    let entered = timeout(ENTER_LIMIT, app.hub.enter(ticket.prompt, &member)).await;
    let (room, entered) = match entered {
        Ok(Ok(entered)) => entered,
        Ok(Err(refusal)) => return socket.close(&refusal, ticket.request_id, ticket.versioned).await,
        Err(_) => {
            return socket.close(&Refusal::StoreUnavailable, ticket.request_id, ticket.versioned).await;
        }
    };
    let now = Instant::now();
    let outgoing = Outgoing::new(room.clone(), member.clone(), entered.head);
    let mut session = Session {
        app,
        socket,
        room: room.clone(),
        member: member.clone(),
        outgoing,
        heard_at: now,
        pinged: false,
        paced_at: now,
    };
    let request_id = ticket.request_id;
    let versioned = ticket.versioned;
    let ended = session.run(ticket, entered).await;
    let Session { socket, outgoing, .. } = session;
    drop(outgoing);
    // A room that has ended has no seat to give back.
    let _ended = room.send(ToRoom::Leave { member }).await;
    if let End::Refused(refusal) = ended {
        tracing::debug!(request.id = %request_id, code = refusal.code(), "socket closed");
        socket.close(&refusal, request_id, versioned).await;
    }
}

/// One of the node's sockets, for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(sockets: &Arc<AtomicUsize>) -> Self {
        sockets.fetch_add(1, Ordering::Relaxed);
        Counted(sockets.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum End {
    Left,
    Refused(Refusal),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::Left
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        End::Refused(refusal)
    }
}

impl Session {
    async fn run(&mut self, ticket: Ticket, entered: Entered) -> End {
        let greeted = if ticket.versioned {
            self.send(self.hello(ticket, entered)).await
        } else {
            self.send(ServerFrame::Sync(SyncStep::Step1(&entered.state_vector)).encode()).await
        };
        if let Err(Gone) = greeted {
            return End::Left;
        }
        loop {
            match self.step().await {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    fn hello(&self, ticket: Ticket, entered: Entered) -> Bytes {
        let hello = Hello {
            version: VERSION,
            prompt: ticket.prompt,
            slug: ticket.slug,
            lineage: self.room.lineage,
            head: entered.head,
            me: ticket.person,
            rights: ticket.rights,
            request_id: ticket.request_id,
            limits: self.app.settings.limits,
            runs: entered.runs,
        };
        ServerFrame::Hello(Box::new(hello)).encode()
    }

    /// Waits for whatever comes first: a frame, the bell, or a time.
    async fn step(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let burst = Duration::from_secs(1) * BURST / self.app.settings.frames_per_s.max(1);
        let read_at = self.paced_at.checked_sub(burst).unwrap_or(now);
        let silence_ends = self.heard_at + if self.pinged { DEAD_AFTER } else { PING_AFTER };
        let mut wake_at = self.outgoing.due_at().map_or(silence_ends, |at| at.min(silence_ends));
        if read_at > now {
            wake_at = wake_at.min(read_at);
        }
        tokio::select! {
            incoming = self.socket.next(), if read_at <= now => {
                self.heard_at = Instant::now();
                self.pinged = false;
                match incoming {
                    Ok(Incoming::Frame(message)) => self.take(&message).await?,
                    Ok(Incoming::Life) => {}
                    Ok(Incoming::Text) => {
                        let detail = "Text messages are not part of this protocol.".to_owned();
                        return Err(Refusal::FrameMalformed { detail }.into());
                    }
                    Err(None) => return Err(End::Left),
                    Err(Some(refusal)) => return Err(refusal.into()),
                }
            }
            () = self.member.rung() => {}
            () = tokio::time::sleep_until(wake_at) => self.keep_alive(silence_ends).await?,
        }
        self.tell().await
    }

    async fn keep_alive(&mut self, silence_ends: Instant) -> Result<(), End> {
        if Instant::now() < silence_ends {
            return Ok(());
        }
        if self.pinged {
            return Err(Refusal::Idle.into());
        }
        self.pinged = true;
        Ok(self.socket.ping().await?)
    }

    /// Sends all that this socket has yet to be sent.
    async fn tell(&mut self) -> Result<(), End> {
        loop {
            if let Some(refusal) = self.member.closed() {
                return Err(refusal.into());
            }
            let turn = self.outgoing.turn()?;
            for frame in turn.frames {
                self.socket.feed(frame).await?;
            }
            if !turn.more {
                return Ok(self.socket.flush().await?);
            }
        }
    }

    async fn send(&mut self, frame: Bytes) -> Result<(), Gone> {
        self.socket.feed(frame).await?;
        self.socket.flush().await
    }

    async fn take(&mut self, message: &[u8]) -> Result<(), End> {
        let per_frame = Duration::from_secs(1) / self.app.settings.frames_per_s.max(1);
        self.paced_at = self.paced_at.max(self.heard_at) + per_frame;
        let frame = ClientFrame::decode(message)
            .map_err(|error| Refusal::FrameMalformed { detail: format!("Not a frame: {error}.") })?;
        let member = self.member.clone();
        match frame {
            ClientFrame::Sync(SyncStep::Step1(state_vector)) => self.ask(state_vector).await,
            ClientFrame::Sync(SyncStep::Step2(update)) => self.update(update, true).await,
            ClientFrame::Sync(SyncStep::Update(update)) => self.update(update, false).await,
            ClientFrame::Awareness(update) => {
                let update = Bytes::copy_from_slice(update);
                Ok(self.room.send(ToRoom::Awareness { member, update }).await?)
            }
            ClientFrame::QueryAwareness => {
                self.outgoing.tell_presence_again();
                Ok(())
            }
            _ if !self.member.versioned => {
                let detail = "This frame is only for sockets opened with ?v=1.".to_owned();
                Err(Refusal::FrameMalformed { detail }.into())
            }
            ClientFrame::Join { lineage, have, state_vector } => {
                if lineage != self.room.lineage {
                    return Err(Refusal::LineageChanged.into());
                }
                let state_vector = Bytes::copy_from_slice(state_vector);
                let caught =
                    self.room.ask(|reply| ToRoom::Join { member, have, state_vector, reply }).await??;
                for frame in caught.frames {
                    self.socket.feed(frame).await?;
                }
                self.socket.feed(ServerFrame::Sync(SyncStep::Step1(&caught.state_vector)).encode()).await?;
                let head = self.room.durable().0;
                self.socket
                    .feed(ServerFrame::Saved { frames: self.member.saved_so_far(), head }.encode())
                    .await?;
                self.outgoing.caught_up(caught.position, head);
                Ok(())
            }
            ClientFrame::Watch { run, cursor } => self.watch(run, cursor).await,
            ClientFrame::Unwatch { run } => {
                self.outgoing.unwatch(run);
                Ok(())
            }
            ClientFrame::Command(command) => self.command(*command).await,
        }
    }

    /// A state vector: whoever sends one gets what they lack, and the log from there on.
    async fn ask(&mut self, state_vector: &[u8]) -> Result<(), End> {
        let state_vector = Bytes::copy_from_slice(state_vector);
        let member = self.member.clone();
        let caught = self.room.ask(|reply| ToRoom::Ask { member, state_vector, reply }).await??;
        for frame in caught.frames {
            self.socket.feed(frame).await?;
        }
        self.outgoing.caught_up(caught.position, self.room.durable().0);
        Ok(())
    }

    async fn update(&mut self, update: &[u8], whole: bool) -> Result<(), End> {
        if self.member.versioned && !self.outgoing.has_caught_up() {
            let detail = "The first frame is `join`.".to_owned();
            return Err(Refusal::FrameMalformed { detail }.into());
        }
        let update = Bytes::copy_from_slice(update);
        Ok(self.room.send(ToRoom::Update { member: self.member.clone(), update, whole }).await?)
    }

    async fn watch(&mut self, run: RunId, cursor: RunCursor) -> Result<(), End> {
        let limit = self.app.settings.limits.watched_runs as usize;
        if self.outgoing.watching() >= limit && !self.outgoing.watches(run) {
            self.refuse(&Refusal::WatchesTooMany { limit });
            return Ok(());
        }
        match self.app.runs.tape(self.room.prompt, run).await {
            Ok(tape) => self.outgoing.watch(tape.read_from(cursor, self.member.bell())),
            Err(refusal) => self.refuse(&refusal),
        }
        Ok(())
    }

    async fn command(&mut self, command: Command) -> Result<(), End> {
        let member = self.member.clone();
        if !member.take_command() {
            self.reply(&command, &Refusal::CommandsTooMany { limit: COMMANDS_MAX as usize });
            return Ok(());
        }
        // A stop does not queue behind edits: it concerns a run, not the draft.
        if let Action::Cancel { run } = command.action
            && member.rights().run
        {
            self.app.runs.cancel_for(&self.room, member, command.id, run);
            return Ok(());
        }
        Ok(self.room.send(ToRoom::Command { member, command }).await?)
    }

    /// A refusal that costs the socket nothing else.
    fn refuse(&self, refusal: &Refusal) {
        self.member.send(ServerFrame::Problem(Box::new(refusal.problem(None))).encode());
    }

    fn reply(&self, command: &Command, refusal: &Refusal) {
        let body = ReplyBody::Error(Box::new(refusal.problem(None)));
        self.member.send(ServerFrame::Reply(Box::new(Reply { id: command.id, body })).encode());
    }
}
