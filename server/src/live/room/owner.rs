//! The task that owns a room's document: mailbox in, log out. What is allowed and what fits is the domain's word.

mod content;
mod elsewhere;
mod follow;
mod seats;

use super::{Reached, Room, RoomLimits, ToRoom, behind::Behind, known_runs::KnownRuns};
use crate::bus::Bus;
use crate::domain::{
    document::{Broken, Document, Sleeper},
    log::{Log, Position, SocketId},
    presence::Presence,
    prompt::shown_title,
    refusal::Refusal,
};
use crate::live::{clock::now_ms, keeper::Keeper, member::Member, runs::Runs, tasks::Tasks};
use crate::store::Store;
use bytes::Bytes;
use follow::Follow;
use parking_lot::Mutex;
use promptroom_protocol::{LineageId, PromptId, Seq};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
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
/// And to other nodes.
const SHARE_PACE: Duration = Duration::from_millis(50);

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

/// What a room needs of the node.
#[derive(Clone)]
pub struct Around {
    pub store: Arc<Store>,
    pub keeper: Arc<Keeper>,
    pub runs: Arc<Runs>,
    pub bus: Bus,
    pub tasks: Tasks,
}

pub struct Owner {
    room: Arc<Room>,
    mailbox: mpsc::Receiver<ToRoom>,
    document: Sleeper,
    around: Around,
    seats: BTreeMap<SocketId, Seat>,
    title: String,
    /// Another node has changed the title, and the library's copy may be that of neither.
    title_heard: bool,
    follow: Follow,
    /// The whole document encoded, as of a position of the log.
    whole: Option<(Position, Bytes)>,
    edited: Option<Authors>,
    /// Whether the turn brought rows of other nodes.
    heard_rows: bool,
    presence_told_at: Instant,
    presence_waits: bool,
    shared_at: Instant,
    /// Other nodes are to be told who is here.
    share_waits: bool,
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
    pub fn new(start: RoomStart, around: Around) -> (Arc<Room>, Owner) {
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
            runs: KnownRuns::default(),
            behind: Behind::default(),
            unsaved: Mutex::default(),
            rights_epoch: Mutex::new(start.rights_epoch),
            title: Mutex::new(None),
            unwritten: AtomicBool::new(false),
            skips: AtomicU32::new(0),
            reached: watch::Sender::new(Reached { durable: Position(0), head: start.head }),
            ended: OnceLock::new(),
            ending: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        let now = Instant::now();
        let owner = Owner {
            room: room.clone(),
            mailbox,
            title: start.title,
            document: Sleeper::new(start.document),
            around,
            seats: BTreeMap::new(),
            title_heard: false,
            follow: Follow::default(),
            whole: None,
            edited: None,
            heard_rows: false,
            presence_told_at: now,
            presence_waits: false,
            shared_at: now,
            share_waits: false,
            idle_since: now,
        };
        (room, owner)
    }

    /// Serves the room until its life ends; afterwards the keeper holds nothing of it.
    pub async fn serve(mut self) {
        let pace = Duration::from_millis(self.room.limits.look_ms);
        let mut expire_at = Instant::now() + pace;
        self.look_at_title();
        loop {
            let wake_at = self.wake_at(expire_at);
            tokio::select! {
                biased;
                // It is rung when this life has ended, too.
                () = self.room.behind.rung() => self.follow.stir(),
                message = self.mailbox.recv() => {
                    let Some(message) = message else { break };
                    self.take(message);
                    self.take_more();
                }
                () = tokio::time::sleep_until(wake_at) => {
                    if Instant::now() >= expire_at {
                        expire_at = Instant::now() + pace;
                        if self.expire() {
                            break;
                        }
                    }
                }
            }
            if self.room.is_ended() {
                break;
            }
            self.keep_up();
            self.tell();
            self.wait_while_full().await;
        }
        self.share();
        // What still waits in the mailbox is not taken: whoever asked asks the next life.
        self.room.end(Refusal::RoomRestarted);
        drop(self.mailbox);
        self.around.keeper.settled(self.room.prompt).await;
        self.room.mark_gone();
    }

    fn wake_at(&self, expire_at: Instant) -> Instant {
        let presence_at = self.presence_waits.then(|| self.presence_told_at + PRESENCE_PACE);
        let share_at = self.share_waits.then(|| self.shared_at + SHARE_PACE);
        let others = [presence_at, share_at, self.follow.due_at()];
        others.into_iter().flatten().fold(expire_at, Instant::min)
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
            ToRoom::Join { member, brings, reply } => {
                let caught = self.join(&member, &brings);
                let _gone = reply.send(caught);
            }
            ToRoom::Ask { member, state_vector, reply } => {
                let caught = self.catch_up(&member, None, &[], &state_vector);
                let _gone = reply.send(caught);
            }
            ToRoom::Update { member, update, whole } => self.update(&member, &update, whole),
            ToRoom::Awareness { member, update } => self.awareness(&member, &update),
            ToRoom::Command { member, command } => self.command(member, *command),
            ToRoom::Leave { member } => self.leave(&member),
            ToRoom::Edit { edit, reply } => {
                let edited = self.edit(&edit);
                let _gone = reply.send(edited);
            }
            ToRoom::Read { reply } => {
                let content = self.document.wake().and_then(|document| document.content());
                let _gone = reply.send(content.map_err(|broken| self.broken(broken)));
            }
            ToRoom::Cut { ask, reply } => {
                let _gone = reply.send(self.cut(&ask));
            }
            ToRoom::Rows { lineage, first, rows } => self.rows(lineage, first, rows),
            ToRoom::Fetched(fetched) => self.fetched(fetched),
            ToRoom::Elsewhere { present } => self.elsewhere(present),
            ToRoom::WhoIsHere => self.tell_who_is_here(),
        }
    }

    /// Lets everybody know what this turn brought.
    fn tell(&mut self) {
        let edited = self.edited.take();
        let heard_rows = std::mem::take(&mut self.heard_rows);
        if edited.is_some() {
            self.look_at_title();
        }
        if heard_rows {
            self.hear_title();
            self.room.show_reached();
        }
        match edited {
            // A single author already shows all that is new.
            Some(Authors::One(socket)) if !heard_rows => self.room.ring(Some(socket)),
            None if !heard_rows => {}
            _ => self.room.ring(None),
        }
        if edited.is_some() {
            self.around.keeper.hand_over(&self.room);
        }
        self.tell_presence();
    }

    fn tell_presence(&mut self) {
        if !self.presence_waits && !self.share_waits {
            return;
        }
        let now = Instant::now();
        if self.presence_waits && now >= self.presence_told_at + PRESENCE_PACE {
            self.presence_waits = false;
            self.presence_told_at = now;
            let newest = self.room.presence.lock().newest();
            self.room.presence_shown.store(newest.0, Ordering::Release);
            self.room.ring(None);
        }
        if self.share_waits && now >= self.shared_at + SHARE_PACE {
            self.shared_at = now;
            self.share();
        }
    }

    /// The library shows a title that may be older than the document, if a node died between the two.
    fn look_at_title(&mut self) {
        if self.takes_title() {
            self.write_title();
        }
    }

    /// Whoever changed the title writes it with the change; only of two who did so at once the wrong one may be last.
    fn hear_title(&mut self) {
        self.title_heard |= self.takes_title();
    }

    /// Whether the document's title has changed.
    fn takes_title(&mut self) -> bool {
        match self.document.wake().and_then(|document| document.title()).map(|title| shown_title(&title)) {
            Ok(title) if title != self.title => {
                self.title = title;
                true
            }
            Ok(_) => false,
            Err(broken) => {
                self.broken(broken);
                false
            }
        }
    }

    fn write_title(&mut self) {
        self.title_heard = false;
        *self.room.title.lock() = Some(self.title.clone());
        self.around.keeper.hand_over(&self.room);
    }

    /// A room in which nothing happens keeps no more of its document than its bytes.
    fn let_rest(&mut self) {
        if self.document.rest() {
            self.whole = None;
        }
    }

    /// Forgets who is gone; whether the room itself may go.
    fn expire(&mut self) -> bool {
        self.clear_seats();
        self.let_rest();
        let expired = self.room.presence.lock().expire(now_ms());
        if expired {
            self.presence_changed();
        }
        if self.title_heard {
            self.write_title();
        }
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
            let mut moved = self.room.reached.subscribe();
            tokio::select! {
                biased;
                () = self.room.until_ended() => return,
                _ = moved.wait_for(|now| now.durable > durable) => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F>(_serve: impl FnOnce(Owner) -> F) -> usize {
        size_of::<F>()
    }

    /// Most open rooms are at rest; each has these, and a mailbox that is never smaller than 32 messages.
    #[test]
    fn what_an_open_room_keeps_is_small() {
        assert!(size_of_future(Owner::serve) <= 1_152, "{}", size_of_future(Owner::serve));
        assert!(size_of::<Room>() <= 672, "{}", size_of::<Room>());
        assert!(size_of::<ToRoom>() <= 56, "{}", size_of::<ToRoom>());
    }
}
