//! One socket in its room: the loop that reads and writes until it ends.
//!
//! Decisions are the room's. Here frames are decoded and bounded, and what the socket lacks is sent.

use crate::domain::{log::SocketId, refusal::Refusal};
use crate::edge::{
    admission::{self, Ticket},
    outgoing::Outgoing,
    seat::{Counted, Seat},
    socket::{Incoming, Socket, Stopped},
    state::App,
};
use crate::live::{
    member::{COMMANDS_MAX, Member},
    room::{Brings, Entered, Room, ToRoom},
};
use crate::store::RowsAfter;
use bytes::Bytes;
use promptroom_protocol::{
    Action, ClientFrame, Command, Hello, LineageId, Reply, ReplyBody, RunCursor, RunId, Seq, ServerFrame,
    SyncStep, VERSION,
};
use std::{
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

const ENTER_LIMIT: Duration = Duration::from_secs(10);
/// A socket that says nothing for this long is asked for a sign of life.
const PING_AFTER: Duration = Duration::from_secs(25);
const DEAD_AFTER: Duration = Duration::from_secs(60);
/// A room that takes nothing finds the empty seat by itself.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// Rows that a reader is sent one by one; who lacks more gets the difference as one.
const ROWS_BYTES_MAX: usize = 256 << 10;
/// Frames that may come at once before the rate counts.
const BURST: u32 = 200;

pub struct Session {
    app: App,
    socket: Socket,
    room: Arc<Room>,
    member: Arc<Member>,
    outgoing: Outgoing,
    heard_at: Instant,
    pinged: bool,
    /// When the frames so far would have come at the allowed rate.
    paced_at: Instant,
    _seat: Seat,
    _counted: Counted,
}

/// A socket that has its seat, and the first frame for it.
pub type Seated = Option<(Box<Session>, Bytes)>;

/// Leads an accepted socket to its seat; whoever may not have one is told why.
pub async fn enter(app: App, socket: Socket, ticket: Ticket) -> Seated {
    let counted = Counted::new(&app.sockets);
    let number = SocketId(app.next_socket.fetch_add(1, Ordering::Relaxed));
    let Ticket { rights, versioned, request_id, session, .. } = ticket;
    let member = Arc::new(Member::new(number, &ticket.person, rights, versioned, session, request_id));
    let seat = Seat(member.clone());
    let entered = timeout(ENTER_LIMIT, app.hub.enter(ticket.prompt, &member)).await;
    let (room, entered) = match entered.unwrap_or(Err(Refusal::StoreUnavailable)) {
        Ok(entered) => entered,
        Err(refusal) => {
            socket.close(&refusal, request_id, versioned).await;
            return None;
        }
    };
    if let Err(refusal) = admission::check_again(&app, &ticket, entered.rights_epoch).await {
        // Nothing that it has sent is read, and it is told nothing of the room.
        let _ended = timeout(LEAVE_LIMIT, room.send(ToRoom::Leave { member })).await;
        socket.close(&refusal, request_id, versioned).await;
        return None;
    }
    let now = Instant::now();
    let outgoing = Outgoing::new(room.clone(), member.clone(), entered.head);
    let greeting = greeting(&app, &room, ticket, entered);
    let session = Session {
        app,
        socket,
        room,
        member,
        outgoing,
        heard_at: now,
        pinged: false,
        paced_at: now,
        _seat: seat,
        _counted: counted,
    };
    Some((Box::new(session), greeting))
}

/// A socket's life. What happens once, or seldom, is boxed: this future lives as long as the socket and is as
/// large as its largest wait.
pub async fn live(entering: Pin<Box<impl Future<Output = Seated>>>) {
    let Some((mut session, greeting)) = entering.await else { return };
    let ended = session.run(greeting).await;
    Box::pin(session.leave(ended)).await;
}

/// The first frame: our `hello`, or the plain protocol's question for what the client has.
fn greeting(app: &App, room: &Room, ticket: Ticket, entered: Entered) -> Bytes {
    if !ticket.versioned {
        return ServerFrame::Sync(SyncStep::Step1(&entered.state_vector)).encode();
    }
    let hello = Hello {
        version: VERSION,
        prompt: ticket.prompt,
        slug: ticket.slug,
        lineage: room.lineage,
        head: entered.head,
        me: ticket.person,
        rights: ticket.rights,
        request_id: ticket.request_id,
        limits: app.settings.limits,
        runs: entered.runs,
    };
    ServerFrame::Hello(Box::new(hello)).encode()
}

enum End {
    Left,
    Refused(Refusal),
}

impl From<Stopped> for End {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Gone => End::Left,
            Stopped::Stuck => End::Refused(Refusal::ReaderTooSlow),
        }
    }
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        End::Refused(refusal)
    }
}

impl Session {
    async fn run(&mut self, greeting: Bytes) -> End {
        if let Err(stopped) = self.send(greeting).await {
            return stopped.into();
        }
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    async fn leave(self, ended: End) {
        let Session { socket, room, member, outgoing, .. } = self;
        drop(outgoing);
        let (versioned, request_id) = (member.versioned, member.request_id);
        // A room that has ended has no seat to give back.
        let _ended = timeout(LEAVE_LIMIT, room.send(ToRoom::Leave { member })).await;
        if let End::Refused(refusal) = ended {
            tracing::debug!(request.id = %request_id, code = refusal.code(), "socket closed");
            socket.close(&refusal, request_id, versioned).await;
        }
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
            biased;
            incoming = self.socket.next(), if read_at <= now => {
                self.heard_at = Instant::now();
                self.pinged = false;
                match incoming {
                    Ok(Incoming::Frame(message)) => self.take(&message).await?,
                    Ok(Incoming::Life) => {}
                    Ok(Incoming::Text) => {
                        return Err(malformed("Text messages are not part of this protocol."));
                    }
                    Err(None) => return Err(End::Left),
                    Err(Some(refusal)) => return Err(refusal.into()),
                }
            }
            () = self.member.rung() => {}
            () = tokio::time::sleep_until(wake_at) => Box::pin(self.keep_alive(silence_ends)).await?,
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

    async fn send(&mut self, frame: Bytes) -> Result<(), Stopped> {
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
            ClientFrame::Sync(SyncStep::Step1(state_vector)) => Box::pin(self.answer(state_vector)).await,
            ClientFrame::Sync(SyncStep::Step2(update)) => self.update(update, true).await,
            ClientFrame::Sync(SyncStep::Update(update)) => self.update(update, false).await,
            ClientFrame::Awareness(update) => {
                let update = Bytes::copy_from_slice(update);
                self.put(ToRoom::Awareness { member, update }).await
            }
            ClientFrame::QueryAwareness => {
                self.outgoing.tell_presence_again();
                Ok(())
            }
            _ if !self.member.versioned => Err(malformed("This frame is only for sockets opened with ?v=1.")),
            ClientFrame::Join { lineage, have, state_vector } => {
                Box::pin(self.join(lineage, have, state_vector)).await
            }
            ClientFrame::Watch { run, cursor } => Box::pin(self.watch(run, cursor)).await,
            ClientFrame::Unwatch { run } => {
                self.outgoing.unwatch(run);
                Ok(())
            }
            ClientFrame::Command(command) => Box::pin(self.command(command)).await,
        }
    }

    /// Sends what the socket lacks; from then on it reads the log.
    async fn join(&mut self, lineage: LineageId, have: Option<Seq>, state_vector: &[u8]) -> Result<(), End> {
        if self.outgoing.has_caught_up() {
            return Err(malformed("`join` is sent once."));
        }
        if lineage != self.room.lineage {
            return Err(Refusal::LineageChanged.into());
        }
        let (rows, have) = self.stored_rows(have).await;
        let (member, state_vector) = (self.member.clone(), Bytes::copy_from_slice(state_vector));
        let brings = Box::new(Brings { have, rows: rows.clone(), state_vector });
        let caught = self.ask(|reply| ToRoom::Join { member, brings, reply }).await?;
        self.outgoing.caught_up(caught.position, caught.head);
        let rows = if caught.are_rows { rows } else { Vec::new() };
        for frame in rows.into_iter().chain(caught.frames).chain(caught.told) {
            self.socket.feed(frame).await?;
        }
        self.socket.feed(ServerFrame::Sync(SyncStep::Step1(&caught.state_vector)).encode()).await?;
        for frame in caught.people.into_iter().chain(self.outgoing.presence()) {
            self.socket.feed(frame).await?;
        }
        let saved = ServerFrame::Saved { frames: self.member.saved_so_far(), head: caught.head };
        Ok(self.socket.feed(saved.encode()).await?)
    }

    /// Rows after `have` that the room's log no longer has, and the newest row that the socket then holds.
    async fn stored_rows(&mut self, have: Option<Seq>) -> (Vec<Bytes>, Option<Seq>) {
        let Some(seq) = have.filter(|seq| !self.room.reaches(*seq)) else { return (Vec::new(), have) };
        let Room { prompt, lineage, .. } = *self.room;
        match self.app.store.rows_after(prompt, lineage, seq, ROWS_BYTES_MAX).await {
            Ok(RowsAfter::Rows(rows)) => {
                let newest = rows.last().map(|(seq, _)| *seq);
                if let Some(newest) = newest {
                    self.room.learn_head(newest);
                }
                let frame = |row: &Bytes| ServerFrame::Sync(SyncStep::Update(row)).encode();
                (rows.iter().map(|(_, row)| frame(row)).collect(), newest.or(have))
            }
            // The room answers with the difference to the state vector.
            Ok(RowsAfter::Gone) | Err(_) => (Vec::new(), have),
        }
    }

    /// A state vector: whoever sends one gets what they lack, and a stock client the log from there on.
    async fn answer(&mut self, state_vector: &[u8]) -> Result<(), End> {
        self.check_joined()?;
        let (member, state_vector) = (self.member.clone(), Box::from(state_vector));
        let caught = self.ask(|reply| ToRoom::Ask { member, state_vector, reply }).await?;
        self.outgoing.caught_up(caught.position, caught.head);
        for frame in caught.frames {
            self.socket.feed(frame).await?;
        }
        Ok(())
    }

    async fn update(&mut self, update: &[u8], whole: bool) -> Result<(), End> {
        self.check_joined()?;
        let update = Bytes::copy_from_slice(update);
        self.put(ToRoom::Update { member: self.member.clone(), update, whole }).await
    }

    fn check_joined(&self) -> Result<(), End> {
        let may = !self.member.versioned || self.outgoing.has_caught_up();
        if may { Ok(()) } else { Err(malformed("The first document frame is `join`.")) }
    }

    /// Puts a message into the room's mailbox.
    async fn put(&mut self, message: ToRoom) -> Result<(), End> {
        let Some(message) = self.room.try_send(message)? else { return Ok(()) };
        let room = self.room.clone();
        Box::pin(self.meanwhile(async move { room.send(message).await })).await
    }

    async fn ask<T>(
        &mut self,
        message: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> ToRoom,
    ) -> Result<T, End> {
        let room = self.room.clone();
        self.meanwhile(async move { room.ask(message).await? }).await
    }

    /// Waits for the room and goes on sending: a room that takes nothing must not silence this side.
    async fn meanwhile<T>(&mut self, waiting: impl Future<Output = Result<T, Refusal>>) -> Result<T, End> {
        let mut waiting = pin!(waiting);
        let member = self.member.clone();
        let done = loop {
            tokio::select! {
                biased;
                done = waiting.as_mut() => break done?,
                () = member.rung() => self.tell().await?,
            }
        };
        // It was us who did not listen.
        self.heard_at = Instant::now();
        Ok(done)
    }

    async fn watch(&mut self, run: RunId, cursor: RunCursor) -> Result<(), End> {
        let limit = self.app.settings.limits.watched_runs as usize;
        if self.outgoing.watching() >= limit && !self.outgoing.watches(run) {
            self.refuse(&Refusal::WatchesTooMany { limit });
            return Ok(());
        }
        match self.app.runs.tape(self.room.prompt, run).await {
            Ok(tape) => self.outgoing.watch(tape.read_from(cursor, self.member.bell())),
            // The run is between two drivers: the page comes back with its cursor.
            Err(refusal @ Refusal::StoreUnavailable) => return Err(refusal.into()),
            Err(refusal) => self.refuse(&refusal),
        }
        Ok(())
    }

    async fn command(&mut self, command: Box<Command>) -> Result<(), End> {
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
        self.put(ToRoom::Command { member, command }).await
    }

    /// A refusal that costs the socket nothing else.
    fn refuse(&self, refusal: &Refusal) {
        self.member
            .send(ServerFrame::Problem(Box::new(refusal.problem(Some(self.member.request_id)))).encode());
    }

    fn reply(&self, command: &Command, refusal: &Refusal) {
        let body = ReplyBody::Error(Box::new(refusal.problem(Some(self.member.request_id))));
        self.member.send(ServerFrame::Reply(Box::new(Reply { id: command.id, body })).encode());
    }
}

fn malformed(detail: &str) -> End {
    Refusal::FrameMalformed { detail: detail.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Ready;

    fn size_of_output<F>(_live: impl FnOnce(Pin<Box<Ready<Seated>>>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_socket_is_small() {
        let bytes = size_of_output(live) + size_of::<Session>() + size_of::<Member>();
        assert!(bytes <= 2_048, "{bytes} bytes");
    }
}
