//! One life of a room, as sockets, the keeper and the runs hold it: the log, the presence and the members.
//!
//! The document itself is not here: its owner task has it alone (`room/owner.rs`) and takes frames and commands
//! from a bounded mailbox, in their order. Locks here are held for a few lookups and never across an await.

mod behind;
mod known_runs;
mod mail;
pub mod owner;

pub use mail::{Brings, Caught, CutAsk, Edit, Entered, Fetched, ToRoom};

use crate::domain::{
    log::{Audience, Gap, Log, LogLimits, Position, SocketId, TooFarAhead},
    presence::{Presence, PresenceVersion},
    refusal::Refusal,
};
use crate::live::member::Member;
use behind::Behind;
use bytes::Bytes;
use known_runs::KnownRuns;
use parking_lot::{Mutex, MutexGuard};
use promptroom_protocol::{LineageId, MemberId, PromptId, Seq};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot, watch,
};
use tokio_util::sync::CancellationToken;

/// Frames that one socket takes from the log at a time.
const FRAMES_TAKEN: usize = 64;

/// Bounds of one room, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct RoomLimits {
    pub log: LogLimits,
    pub members: usize,
    pub document_bytes: usize,
    pub awareness_bytes: usize,
    pub idle_ms: u64,
    /// How often it is looked over: a document that nobody needed meanwhile is kept as its bytes.
    pub look_ms: u64,
}

/// A piece of the log as one reader gets it.
pub struct Piece {
    pub frames: Vec<Bytes>,
    pub next: Position,
    /// There may be more than was taken.
    pub more: bool,
    pub durable: Position,
    /// Whoever has everything up to `head_position` has every row up to `head`.
    pub head: Seq,
    pub head_position: Position,
    pub has_unwritten: bool,
}

/// How far a room's log is durable, and up to which row it has all.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    durable: Position,
    head: Seq,
}

pub struct Room {
    pub prompt: PromptId,
    pub lineage: LineageId,
    pub limits: RoomLimits,
    mailbox: mpsc::Sender<ToRoom>,
    log: Mutex<Log>,
    presence: Mutex<Presence>,
    /// Changes up to here may be told; moved a few dozen times a second at most.
    presence_shown: AtomicU64,
    members: Mutex<BTreeMap<SocketId, Arc<Member>>>,
    /// Those that have frames which are not durable yet.
    unsaved: Mutex<BTreeMap<SocketId, Arc<Member>>>,
    runs: KnownRuns,
    behind: Behind,
    /// The epoch under which frames are checked now. Held while a frame is checked and taken, and while rights
    /// change, so that a frame counts wholly under the old ones or wholly under the new ones.
    rights_epoch: Mutex<u64>,
    /// The title, as long as the store has another one.
    title: Mutex<Option<String>>,
    /// Whether the keeper knows that there is something to write.
    unwritten: AtomicBool,
    /// Times in a row that somebody else held the room's row when it was to be written.
    skips: AtomicU32,
    reached: watch::Sender<Reached>,
    ended: OnceLock<Refusal>,
    ending: CancellationToken,
    /// The owner is done and the keeper holds nothing of this life: the next one may begin.
    gone: CancellationToken,
}

impl Room {
    pub fn rights_epoch(&self) -> u64 {
        *self.rights_epoch.lock()
    }

    fn hold_rights(&self) -> MutexGuard<'_, u64> {
        self.rights_epoch.lock()
    }

    /// Changes rights, unless those of a newer epoch are already in force.
    pub fn change_rights(&self, epoch: u64, change: impl FnOnce()) {
        let mut known = self.rights_epoch.lock();
        if epoch > *known {
            change();
            *known = epoch;
        }
    }

    /// Puts a message into the mailbox, in order, waiting while it is full.
    pub async fn send(&self, message: ToRoom) -> Result<(), Refusal> {
        self.mailbox.send(message).await.map_err(|_| self.end_reason())
    }

    /// Puts a message into the mailbox unless it is full; gives it back then.
    pub fn try_send(&self, message: ToRoom) -> Result<Option<ToRoom>, Refusal> {
        match self.mailbox.try_send(message) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(message)) => Ok(Some(message)),
            Err(TrySendError::Closed(_)) => Err(self.end_reason()),
        }
    }

    /// Asks the owner something and waits for the answer.
    pub async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> ToRoom) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(message(reply)).await?;
        answer.await.map_err(|_| self.end_reason())
    }

    pub fn members(&self) -> Vec<Arc<Member>> {
        self.members.lock().values().cloned().collect()
    }

    /// Whose rights count here: its members, and authors of edits that are not durable.
    pub fn concerned(&self) -> Vec<Arc<Member>> {
        let mut concerned = self.members.lock().clone();
        concerned.extend(self.unsaved.lock().iter().map(|(socket, member)| (*socket, member.clone())));
        concerned.into_values().collect()
    }

    /// How many people are in it, on whichever node.
    pub fn people(&self) -> usize {
        let mut ids: Vec<MemberId> = self.members.lock().values().map(|member| member.id).collect();
        ids.extend(self.presence.lock().elsewhere().map(|person| person.id));
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    }

    /// One of our own frames for all sockets that asked for such.
    pub fn tell(&self, frame: Bytes) {
        self.log.lock().append_frame(frame);
        for member in self.members.lock().values().filter(|member| member.versioned) {
            member.ring();
        }
    }

    /// Rings every member but one.
    pub fn ring(&self, except: Option<SocketId>) {
        for (socket, member) in &*self.members.lock() {
            if Some(*socket) != except {
                member.ring();
            }
        }
    }

    /// What comes after `cursor` for this member.
    pub fn since(&self, cursor: Position, member: &Member) -> Result<Piece, Gap> {
        let log = self.log.lock();
        let mut frames = Vec::new();
        let mut next = cursor;
        let mut taken = 0;
        for (position, entry) in log.since(cursor, !member.versioned, FRAMES_TAKEN)? {
            next = position;
            taken += 1;
            let wanted = match entry.audience {
                Audience::AllBut(author) => author != Some(member.socket),
                Audience::Versioned => member.versioned,
            };
            if wanted {
                frames.push(entry.frame.clone());
            }
        }
        Ok(Piece {
            frames,
            next,
            more: taken == FRAMES_TAKEN,
            durable: log.durable(),
            head: log.head_seq(),
            head_position: log.head_position(),
            has_unwritten: log.has_unwritten(),
        })
    }

    /// Whether the log still has every row after `seq` that is known here.
    pub fn reaches(&self, seq: Seq) -> bool {
        self.log.lock().reaches(seq)
    }

    /// What changed in the room's presence, if anything may be told: a frame, unless nothing is left to tell.
    pub fn presence_since(&self, version: PresenceVersion) -> Option<(Option<Bytes>, PresenceVersion)> {
        if self.presence_shown.load(Ordering::Acquire) <= version.0 {
            return None;
        }
        let mut presence = self.presence.lock();
        Some((presence.since(version), presence.newest()))
    }

    /// Every row up to this one is here.
    pub fn head_seq(&self) -> Seq {
        self.log.lock().head_seq()
    }

    pub fn head(&self) -> Position {
        self.log.lock().head()
    }

    /// Resolves when everything up to `position` is durable; fails when this life ends before.
    pub async fn until_durable(&self, position: Position) -> Result<(), Refusal> {
        let mut reached = self.reached.subscribe();
        // What needs no writing is durable without a commit that would move the mark.
        if self.log.lock().durable() >= position {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.until_ended() => Err(self.end_reason()),
            reached = reached.wait_for(|now| now.durable >= position) => match reached {
                Ok(_) => Ok(()),
                Err(_) => Err(self.end_reason()),
            },
        }
    }

    /// For the keeper: what is to be written, with the title if it changed.
    pub fn take_unwritten(&self, bytes_max: usize) -> Option<Unwritten> {
        self.unwritten.store(false, Ordering::Release);
        if self.is_ended() {
            return None;
        }
        let title = self.title.lock().clone();
        let (unwritten, durable, base) = {
            let log = self.log.lock();
            (log.unwritten(bytes_max), log.durable(), log.head_seq())
        };
        let (rows, last) = match unwritten {
            Some(unwritten) => unwritten,
            None if title.is_some() => (Vec::new(), durable),
            None => return None,
        };
        Some(Unwritten { rows, last, base, title })
    }

    /// For the keeper: the rows up to `last` are in the database, from `first` on. Rows of others may lie before them.
    pub fn written(&self, last: Position, first: Seq, title: Option<&String>) -> Result<(), TooFarAhead> {
        self.log.lock().written(last, first)?;
        let mut pending = self.title.lock();
        if pending.as_ref() == title {
            *pending = None;
        }
        drop(pending);
        let reached = self.show_reached();
        self.unsaved.lock().retain(|_, member| member.ring_if_saved(reached.durable));
        // All rows before ours are there. What waits for ours may come next.
        self.behind.learn(Seq(first.0 - 1));
        if self.behind.is_so(reached.head) {
            self.behind.ring();
        }
        Ok(())
    }

    /// Tells whoever waits for it how far the log has come.
    fn show_reached(&self) -> Reached {
        let (durable, head) = {
            let log = self.log.lock();
            (log.durable(), log.head_seq())
        };
        // Others may show what they saw before or after.
        self.reached.send_modify(|shown| {
            shown.durable = shown.durable.max(durable);
            shown.head = shown.head.max(head);
        });
        Reached { durable, head }
    }

    /// Whether there are edits that are not durable.
    pub fn has_unwritten(&self) -> bool {
        self.log.lock().has_unwritten()
    }

    /// Whether the keeper has anything to do for this room.
    pub fn has_work(&self) -> bool {
        self.has_unwritten() || self.title.lock().is_some()
    }

    /// Ends this life: unwritten rows are dropped, all sockets close, and their authors send again what they hold.
    pub fn end(&self, reason: Refusal) {
        if self.ended.set(reason.clone()).is_ok() {
            self.ending.cancel();
            self.behind.ring();
            for member in self.members.lock().values() {
                member.close(reason.clone());
            }
        }
    }

    pub fn is_ended(&self) -> bool {
        self.ending.is_cancelled()
    }

    pub async fn until_ended(&self) {
        self.ending.cancelled().await;
    }

    pub async fn until_gone(&self) {
        self.gone.cancelled().await;
    }

    pub fn mark_gone(&self) {
        self.gone.cancel();
    }

    /// Whether the keeper has yet to be told of unwritten rows; asking marks it as told.
    pub fn claim_for_keeper(&self) -> bool {
        !self.unwritten.swap(true, Ordering::AcqRel)
    }

    /// The keeper does not have the room in its list any more.
    pub fn unclaim(&self) {
        self.unwritten.store(false, Ordering::Release);
    }

    pub fn skip(&self) {
        self.skips.fetch_add(1, Ordering::Relaxed);
    }

    pub fn forget_skips(&self) {
        self.skips.store(0, Ordering::Relaxed);
    }

    pub fn skips(&self) -> u32 {
        self.skips.load(Ordering::Relaxed)
    }

    fn end_reason(&self) -> Refusal {
        self.ended.get().cloned().unwrap_or(Refusal::RoomRestarted)
    }
}

/// Updates that wait for the database.
pub struct Unwritten {
    pub rows: Vec<Bytes>,
    pub last: Position,
    /// Every row up to this one is in the document that they were made on.
    pub base: Seq,
    pub title: Option<String>,
}
