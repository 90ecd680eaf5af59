//! The task that owns a room's document: mailbox in, log out. What is allowed and what fits is the domain's word.

use super::{Access, Caught, CutAsk, Entered, Room, RoomLimits, ToRoom};
use crate::domain::{
    document::{Applied, ApplyError, Broken, Document, FrameRefusal},
    log::{Log, Position, SocketId},
    presence::{Heard, Presence, PresenceError},
    prompt::{self, ContentPatch, Cut},
    refusal::Refusal,
};
use crate::live::{clock::now_ms, keeper::Keeper, member::Member, runs::Runs};
use bytes::Bytes;
use parking_lot::Mutex;
use promptroom_protocol::{
    Action, Command, LineageId, PromptId, Reply, ReplyBody, RunSummary, Seq, ServerFrame, SyncStep,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

const MAILBOX: usize = 256;
/// Messages handled before the members are rung.
const TURN: usize = 64;
/// Carets are told at most this often.
const PRESENCE_PACE: Duration = Duration::from_millis(33);
/// Merging one frame takes microseconds; one that takes this long holds up the room.
const APPLY_LIMIT: Duration = Duration::from_millis(500);
const EXPIRE_PACE: Duration = Duration::from_secs(5);

/// What a room starts from.
pub struct RoomStart {
    pub prompt: PromptId,
    pub lineage: LineageId,
    pub head: Seq,
    pub rights_epoch: u64,
    pub access: Access,
    pub document: Document,
    pub title: String,
    pub runs: Vec<RunSummary>,
    pub limits: RoomLimits,
}

pub struct Owner {
    room: Arc<Room>,
    mailbox: mpsc::Receiver<ToRoom>,
    document: Document,
    keeper: Arc<Keeper>,
    runs: Arc<Runs>,
    seats: HashMap<SocketId, Seat>,
    title: String,
    /// The whole document encoded, as of a position of the log.
    whole: Option<(Position, Bytes)>,
    edited: Option<Authors>,
    presence_told_at: Instant,
    presence_waits: bool,
    idle_since: Instant,
}

/// Whose edits a turn brought.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authors {
    One(SocketId),
    Several,
}

/// What the owner remembers of a member.
struct Seat {
    member: Arc<Member>,
    /// The client id that the socket speaks for.
    client: Option<u64>,
    /// Whether the client has sent what it had when it came.
    synced: bool,
    /// Whether it was asked for that a second time.
    asked_again: bool,
}

impl Owner {
    pub fn new(start: RoomStart, keeper: Arc<Keeper>, runs: Arc<Runs>) -> (Arc<Room>, Owner) {
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let room = Arc::new(Room {
            prompt: start.prompt,
            lineage: start.lineage,
            limits: start.limits,
            mailbox: sender,
            log: Mutex::new(Log::new(start.limits.log, start.head)),
            presence: Mutex::new(Presence::default()),
            presence_shown: AtomicU64::new(0),
            members: Mutex::default(),
            runs: Mutex::new(start.runs),
            access: Mutex::new(start.access),
            rights_epoch: AtomicU64::new(start.rights_epoch),
            title: Mutex::new(None),
            unwritten: AtomicBool::new(false),
            durable: watch::Sender::new(Position(0)),
            ended: OnceLock::new(),
            ending: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        let now = Instant::now();
        let owner = Owner {
            room: room.clone(),
            mailbox,
            title: start.title,
            document: start.document,
            keeper,
            runs,
            seats: HashMap::new(),
            whole: None,
            edited: None,
            presence_told_at: now,
            presence_waits: false,
            idle_since: now,
        };
        (room, owner)
    }

    /// Serves the room until its life ends; afterwards the keeper holds nothing of it.
    pub async fn serve(mut self) {
        let mut expire_at = Instant::now() + EXPIRE_PACE;
        loop {
            let wake_at = self.wake_at(expire_at);
            tokio::select! {
                biased;
                () = self.room.until_ended() => break,
                message = self.mailbox.recv() => {
                    let Some(message) = message else { break };
                    self.take(message);
                    self.take_more();
                }
                () = tokio::time::sleep_until(wake_at) => {
                    if Instant::now() >= expire_at {
                        expire_at = Instant::now() + EXPIRE_PACE;
                        self.expire();
                    }
                }
            }
            self.tell();
            self.wait_while_full().await;
        }
        self.mailbox.close();
        self.room.end(Refusal::RoomRestarted);
        self.keeper.settled().await;
        self.room.mark_gone();
    }

    fn wake_at(&self, expire_at: Instant) -> Instant {
        if self.presence_waits { expire_at.min(self.presence_told_at + PRESENCE_PACE) } else { expire_at }
    }

    fn take_more(&mut self) {
        for _ in 1..TURN {
            let Ok(message) = self.mailbox.try_recv() else { return };
            self.take(message);
            if self.room.is_ended() {
                return;
            }
        }
    }

    fn take(&mut self, message: ToRoom) {
        match message {
            ToRoom::Enter { member, reply } => {
                let entered = self.enter(member);
                let _gone = reply.send(entered);
            }
            ToRoom::Join { member, have, state_vector, reply } => {
                let caught = self.catch_up(&member, have, &state_vector);
                let _gone = reply.send(caught);
            }
            ToRoom::Ask { member, state_vector, reply } => {
                let caught = self.catch_up(&member, None, &state_vector);
                let _gone = reply.send(caught);
            }
            ToRoom::Update { member, update, whole } => self.update(&member, &update, whole),
            ToRoom::Awareness { member, update } => self.awareness(&member, &update),
            ToRoom::Command { member, command } => self.command(member, command),
            ToRoom::Leave { member } => self.leave(&member),
            ToRoom::Edit { patch, reply } => {
                let edited = self.edit(&patch);
                let _gone = reply.send(edited);
            }
            ToRoom::Read { reply } => {
                let _gone = reply.send(self.document.content().map_err(|broken| self.broken(broken)));
            }
            ToRoom::Cut { ask, reply } => {
                let _gone = reply.send(self.cut(&ask));
            }
        }
    }

    fn enter(&mut self, member: Arc<Member>) -> Result<Entered, Refusal> {
        let limit = self.room.limits.members;
        if self.seats.len() >= limit {
            return Err(Refusal::RoomFull { limit });
        }
        if member.versioned {
            for seat in self.seats.values().filter(|seat| seat.client.is_some()) {
                member.send(ServerFrame::Person(Box::new(seat.member.person(seat.client))).encode());
            }
        }
        self.room.members.lock().insert(member.socket, member.clone());
        let seat = Seat { member: member.clone(), client: None, synced: false, asked_again: false };
        self.seats.insert(member.socket, seat);
        let head = self.room.log.lock().head_seq();
        Ok(Entered { head, runs: self.room.runs(), state_vector: self.document.state_vector().into() })
    }

    fn leave(&mut self, member: &Member) {
        self.room.members.lock().remove(&member.socket);
        let Some(seat) = self.seats.remove(&member.socket) else { return };
        if let Some(client) = seat.client
            && self.room.presence.lock().leave(member.socket, client, now_ms())
        {
            self.presence_waits = true;
        }
        if self.seats.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    /// What a reader lacks: the rows after the last one it knows, or the difference to its state vector.
    fn catch_up(
        &mut self,
        member: &Member,
        have: Option<Seq>,
        state_vector: &[u8],
    ) -> Result<Caught, Refusal> {
        let (rows, position) = {
            let log = self.room.log.lock();
            (have.and_then(|seq| log.rows_after(seq)), log.head())
        };
        let frames = match rows {
            Some(rows) => rows,
            None if is_empty_vector(state_vector) => {
                vec![self.whole(position).map_err(|broken| self.broken(broken))?]
            }
            None => {
                let diff = self.document.diff(state_vector).map_err(|error| self.refused(error))?;
                vec![ServerFrame::Sync(SyncStep::Step2(&diff)).encode()]
            }
        };
        tracing::trace!(socket = member.socket.0, frames = frames.len(), "caught up");
        Ok(Caught { frames, position, state_vector: self.document.state_vector().into() })
    }

    /// The whole document as one frame, encoded once for all who come at this position.
    fn whole(&mut self, position: Position) -> Result<Bytes, Broken> {
        if let Some((at, frame)) = &self.whole
            && *at == position
        {
            return Ok(frame.clone());
        }
        let frame = ServerFrame::Sync(SyncStep::Step2(&self.document.encode_all()?)).encode();
        self.whole = Some((position, frame.clone()));
        Ok(frame)
    }

    fn update(&mut self, member: &Member, update: &[u8], whole: bool) {
        if !member.rights().edit {
            // Every stock reader answers the server's SyncStep1; ours is told when it holds what we lack.
            let adds = !is_empty_update(update);
            if adds && (!whole || member.versioned) {
                member.close(Refusal::Forbidden { what: "edit this prompt" });
            } else {
                self.took(member, None, whole);
            }
            return;
        }
        let begun = Instant::now();
        let applied = self.document.apply(update);
        if begun.elapsed() > APPLY_LIMIT {
            // It is in, or was refused; but whoever sends such things does not go on doing so on this socket.
            tracing::warn!(prompt.id = %self.room.prompt, bytes = update.len(), "an edit took too long to merge");
            member.close(Refusal::EditTooCostly);
        }
        match applied {
            Ok(Applied::Changed) => {
                let position = self.room.log.lock().append_update(update, Some(member.socket));
                self.edited_by(Some(member.socket));
                self.took(member, Some(position), whole);
            }
            Ok(Applied::Nothing) => self.took(member, None, whole),
            Err(ApplyError::Refused(FrameRefusal::Missing)) => self.out_of_step(member, whole),
            Err(ApplyError::Refused(refusal)) => member.close(self.refusal(refusal)),
            Err(ApplyError::Broken(broken)) => {
                self.broken(broken);
            }
        }
    }

    /// The frame is taken. One that added nothing may rest on what is in memory only, so it counts from the head.
    fn took(&mut self, member: &Member, position: Option<Position>, whole: bool) {
        let changed = position.is_some();
        let (head, durable) = {
            let log = self.room.log.lock();
            (log.head(), log.durable())
        };
        let position = position.unwrap_or(head);
        member.mark(position);
        if position <= durable {
            member.ring();
        }
        if let Some(seat) = self.seats.get_mut(&member.socket) {
            seat.synced |= whole;
            // Only an answer that brought something mends what it was asked for.
            seat.asked_again &= !changed;
        }
    }

    /// The frame rests on something that we lack. Before the client's SyncStep2 that is usual and the frame comes
    /// again with it; afterwards a stock client is asked once for what it has.
    fn out_of_step(&mut self, member: &Member, whole: bool) {
        let Some(seat) = self.seats.get_mut(&member.socket) else { return };
        if member.versioned || seat.asked_again {
            member.close(Refusal::EditOutOfStep);
        } else if seat.synced || whole {
            seat.asked_again = true;
            member.send(ServerFrame::Sync(SyncStep::Step1(&self.document.state_vector())).encode());
        }
    }

    fn awareness(&mut self, member: &Arc<Member>, update: &[u8]) {
        let Some(seat) = self.seats.get(&member.socket) else { return };
        let seats = &self.seats;
        let same_person =
            |holder: SocketId| seats.get(&holder).is_none_or(|other| other.member.id == member.id);
        let limit_bytes = self.room.limits.awareness_bytes;
        let heard = self.room.presence.lock().hear(
            member.socket,
            seat.client,
            update,
            limit_bytes,
            now_ms(),
            same_person,
        );
        match heard {
            Ok(Heard { changed, named }) => {
                self.presence_waits |= changed;
                if let Some(client) = named {
                    self.named(member, client);
                }
            }
            Err(PresenceError::Malformed) => {
                member.close(Refusal::FrameMalformed { detail: PresenceError::Malformed.to_string() });
            }
            Err(PresenceError::TooLarge { limit_bytes }) => {
                member.close(Refusal::FrameTooLarge { limit_bytes })
            }
        }
    }

    fn named(&mut self, member: &Member, client: u64) {
        for seat in self.seats.values_mut() {
            if seat.member.socket == member.socket {
                seat.client = Some(client);
            } else if seat.client == Some(client) {
                seat.client = None;
            }
        }
        self.room.tell(ServerFrame::Person(Box::new(member.person(Some(client)))).encode());
    }

    /// Cuts the run here, after all that its author sent before; the rest happens outside of the room.
    fn command(&mut self, member: Arc<Member>, command: Command) {
        let Command { id, action } = command;
        let allowed = member.rights().run;
        let refused = |refusal: Refusal| {
            let body = ReplyBody::Error(Box::new(refusal.problem(None)));
            ServerFrame::Reply(Box::new(Reply { id, body })).encode()
        };
        if !allowed {
            member.reply(refused(Refusal::Forbidden { what: "run this prompt" }));
            return;
        }
        match action {
            Action::Run { variant, inputs, overrides } => {
                match self.cut(&CutAsk { variant, inputs, overrides }) {
                    Ok(cut) => self.runs.start_for(&self.room, member, id, cut),
                    Err(refusal) => member.reply(refused(refusal)),
                }
            }
            Action::Cancel { run } => self.runs.cancel_for(&self.room, member, id, run),
            Action::Regenerate { run } => self.runs.regenerate_for(&self.room, member, id, run),
            Action::Continue { run } => self.runs.continue_for(&self.room, member, id, run),
        }
    }

    fn cut(&self, ask: &CutAsk) -> Result<Cut, Refusal> {
        let content = self.document.content().map_err(|broken| self.broken(broken))?;
        prompt::cut(&content, ask.variant.as_deref(), ask.inputs.as_deref(), &ask.overrides)
            .map_err(|refusal| Refusal::RunBadRequest { detail: refusal.to_string() })
    }

    fn edit(&mut self, patch: &ContentPatch) -> Result<Position, Refusal> {
        let update = self
            .document
            .edit(patch)
            .map_err(|refusal| Refusal::BadRequest { detail: refusal.to_string() })?;
        if update.is_empty() {
            return Ok(self.room.log.lock().head());
        }
        self.edited_by(None);
        Ok(self.room.log.lock().append_update(&update, None))
    }

    fn edited_by(&mut self, author: Option<SocketId>) {
        self.edited = Some(match (self.edited, author) {
            (None, Some(socket)) => Authors::One(socket),
            (Some(Authors::One(known)), Some(socket)) if known == socket => Authors::One(known),
            _ => Authors::Several,
        });
    }

    /// Lets everybody know what this turn brought.
    fn tell(&mut self) {
        if let Some(authors) = self.edited.take() {
            match self.document.title() {
                Ok(title) if title != self.title => {
                    self.title.clone_from(&title);
                    *self.room.title.lock() = Some(title);
                }
                Ok(_) => {}
                Err(broken) => drop(self.broken(broken)),
            }
            // A single author already shows all that is new.
            self.room.ring(match authors {
                Authors::One(socket) => Some(socket),
                Authors::Several => None,
            });
            self.keeper.hand_over(&self.room);
        }
        let now = Instant::now();
        if self.presence_waits && now >= self.presence_told_at + PRESENCE_PACE {
            self.presence_waits = false;
            self.presence_told_at = now;
            let newest = self.room.presence.lock().newest();
            self.room.presence_shown.store(newest.0, Ordering::Release);
            self.room.ring(None);
        }
    }

    fn expire(&mut self) {
        self.presence_waits |= self.room.presence.lock().expire(now_ms());
        let idle = Duration::from_millis(self.room.limits.idle_ms);
        if self.seats.is_empty() && self.idle_since.elapsed() >= idle && !self.room.has_unwritten() {
            self.mailbox.close();
        }
    }

    /// Stops taking frames while too much of what was taken is not yet durable.
    async fn wait_while_full(&self) {
        loop {
            let (full, durable) = {
                let log = self.room.log.lock();
                (log.is_full_of_unwritten(), log.durable())
            };
            if !full || self.room.is_ended() {
                return;
            }
            let mut moved = self.room.durable.subscribe();
            tokio::select! {
                _ = moved.wait_for(|at| *at > durable) => {}
                () = self.room.until_ended() => return,
            }
        }
    }

    /// The document cannot be trusted any more: this life ends, the next one begins from the store.
    fn broken(&self, broken: Broken) -> Refusal {
        tracing::error!(prompt.id = %self.room.prompt, %broken, "the room restarts");
        self.room.end(Refusal::RoomRestarted);
        Refusal::RoomRestarted
    }

    fn refused(&self, error: ApplyError) -> Refusal {
        match error {
            ApplyError::Refused(refusal) => self.refusal(refusal),
            ApplyError::Broken(broken) => self.broken(broken),
        }
    }

    fn refusal(&self, refusal: FrameRefusal) -> Refusal {
        match refusal {
            FrameRefusal::Malformed => {
                Refusal::FrameMalformed { detail: "The update cannot be read.".to_owned() }
            }
            FrameRefusal::Unsupported(what) => Refusal::ContentUnsupported { what },
            FrameRefusal::TooLarge => {
                Refusal::DocumentTooLarge { limit_bytes: self.room.limits.document_bytes }
            }
            FrameRefusal::Missing => Refusal::EditOutOfStep,
        }
    }
}

/// No structs and no deletions.
fn is_empty_update(update: &[u8]) -> bool {
    update == [0, 0]
}

fn is_empty_vector(state_vector: &[u8]) -> bool {
    state_vector.is_empty() || state_vector == [0]
}
