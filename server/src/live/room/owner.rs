//! The task that owns a room's document: mailbox in, log out. What is allowed and what fits is the domain's word.

mod content;
mod seats;

use super::{Room, RoomLimits, ToRoom};
use crate::domain::{
    document::{Broken, Document},
    log::{Log, Position, SocketId},
    presence::Presence,
    prompt::shown_title,
    refusal::Refusal,
};
use crate::live::{clock::now_ms, keeper::Keeper, member::Member, runs::Runs};
use bytes::Bytes;
use parking_lot::Mutex;
use promptroom_protocol::{LineageId, PromptId, Seq};
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

const MAILBOX: usize = 128;
/// Messages handled before the members are rung.
const TURN: usize = 64;
/// Carets are told at most this often.
const PRESENCE_PACE: Duration = Duration::from_millis(33);
const EXPIRE_PACE: Duration = Duration::from_secs(5);

/// What a room starts from.
pub struct RoomStart {
    pub prompt: PromptId,
    pub lineage: LineageId,
    pub head: Seq,
    pub rights_epoch: u64,
    pub document: Document,
    pub title: String,
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
    /// What the log held when it came in.
    entered_at: Position,
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
            runs: Mutex::default(),
            unsaved: Mutex::default(),
            rights_epoch: Mutex::new(start.rights_epoch),
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
        self.look_at_title();
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
                        if self.expire() {
                            break;
                        }
                    }
                }
            }
            self.tell();
            self.wait_while_full().await;
        }
        // What still waits in the mailbox is not taken: whoever asked asks the next life.
        self.room.end(Refusal::RoomRestarted);
        drop(self.mailbox);
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
                let entered = self.enter(member.clone());
                if reply.send(entered).is_err() {
                    self.leave(&member);
                }
            }
            ToRoom::Join { member, have, state_vector, reply } => {
                let caught = self.join(&member, have, &state_vector);
                let _gone = reply.send(caught);
            }
            ToRoom::Ask { member, state_vector, reply } => {
                let caught = self.catch_up(&member, None, &state_vector);
                let _gone = reply.send(caught);
            }
            ToRoom::Update { member, update, whole } => self.update(&member, &update, whole),
            ToRoom::Awareness { member, update } => self.awareness(&member, &update),
            ToRoom::Command { member, command } => self.command(member, *command),
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

    /// Lets everybody know what this turn brought.
    fn tell(&mut self) {
        if let Some(authors) = self.edited.take() {
            self.look_at_title();
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

    /// The library shows a title that may be older than the document, if a node died between the two.
    fn look_at_title(&mut self) {
        match self.document.title().map(|title| shown_title(&title)) {
            Ok(title) if title != self.title => {
                self.title.clone_from(&title);
                *self.room.title.lock() = Some(title);
                self.keeper.hand_over(&self.room);
            }
            Ok(_) => {}
            Err(broken) => drop(self.broken(broken)),
        }
    }

    /// Forgets who is gone; whether the room itself may go.
    fn expire(&mut self) -> bool {
        self.clear_seats();
        self.presence_waits |= self.room.presence.lock().expire(now_ms());
        let idle = Duration::from_millis(self.room.limits.idle_ms);
        self.seats.is_empty() && self.idle_since.elapsed() >= idle && !self.room.has_work()
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
}
