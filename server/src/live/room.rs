//! One life of a room, as sockets, the keeper and the runs hold it: the log, the presence and the members.
//!
//! The document itself is not here: its owner task has it alone (`room/owner.rs`) and takes frames and commands
//! from a bounded mailbox, in their order. Locks here are held for a few lookups and never across an await.

mod mail;
pub mod owner;

pub use mail::{Caught, CutAsk, Entered, ToRoom};

use crate::domain::{
    log::{Audience, Gap, Log, LogLimits, Position, SocketId},
    presence::{Presence, PresenceVersion},
    refusal::Refusal,
};
use crate::live::member::Member;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use promptroom_protocol::{LineageId, MemberId, PromptId, RunSummary, Seq, ServerFrame};
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot, watch,
};
use tokio_util::sync::CancellationToken;

/// Runs that a newcomer is told of.
const RUNS_TOLD: usize = 50;
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
}

/// A piece of the log as one reader gets it.
pub struct Piece {
    pub frames: Vec<Bytes>,
    pub next: Position,
    /// There may be more than was taken.
    pub more: bool,
    pub durable: Position,
    /// The newest durable row.
    pub head: Seq,
    pub has_unwritten: bool,
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
    members: Mutex<HashMap<SocketId, Arc<Member>>>,
    /// Those that have frames which are not durable yet.
    unsaved: Mutex<HashMap<SocketId, Arc<Member>>>,
    runs: Mutex<Vec<RunSummary>>,
    /// The epoch under which frames are checked now. Held while a frame is checked and taken, and while rights
    /// change, so that a frame counts wholly under the old ones or wholly under the new ones.
    rights_epoch: Mutex<u64>,
    /// The title, as long as the store has another one.
    title: Mutex<Option<String>>,
    /// Whether the keeper knows that there is something to write.
    unwritten: AtomicBool,
    durable: watch::Sender<Position>,
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

    pub fn people(&self) -> usize {
        let mut ids: Vec<MemberId> = self.members.lock().values().map(|member| member.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    }

    pub fn runs(&self) -> Vec<RunSummary> {
        self.runs.lock().clone()
    }

    /// Runs as the store knows them; what was announced since is newer.
    pub fn know_runs(&self, stored: Vec<RunSummary>) {
        let mut runs = self.runs.lock();
        for run in stored {
            if runs.iter().all(|known| known.id != run.id) {
                runs.push(run);
            }
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.number));
        runs.truncate(RUNS_TOLD);
    }

    /// Tells everybody in the room how a run stands.
    pub fn announce(&self, run: &RunSummary) {
        {
            let mut runs = self.runs.lock();
            match runs.iter_mut().find(|known| known.id == run.id) {
                // What it came to may be known later than its end.
                Some(known) if known.state.is_terminal() && known.state != run.state => return,
                Some(known) => *known = run.clone(),
                None => {
                    runs.insert(0, run.clone());
                    runs.truncate(RUNS_TOLD);
                }
            }
        }
        self.tell(ServerFrame::Run(Box::new(run.clone())).encode());
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
        let (durable, head, has_unwritten) = (log.durable(), log.head_seq(), log.has_unwritten());
        Ok(Piece { frames, next, more: taken == FRAMES_TAKEN, durable, head, has_unwritten })
    }

    /// Whether the log still has every row after `seq`.
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

    pub fn head(&self) -> Position {
        self.log.lock().head()
    }

    /// Resolves when everything up to `position` is durable; fails when this life ends before.
    pub async fn until_durable(&self, position: Position) -> Result<(), Refusal> {
        let mut durable = self.durable.subscribe();
        // What needs no writing is durable without a commit that would move the mark.
        if self.log.lock().durable() >= position {
            return Ok(());
        }
        tokio::select! {
            reached = durable.wait_for(|at| *at >= position) => match reached {
                Ok(_) => Ok(()),
                Err(_) => Err(self.end_reason()),
            },
            () = self.until_ended() => Err(self.end_reason()),
        }
    }

    /// For the keeper: what is to be written, with the title if it changed.
    pub fn take_unwritten(&self, bytes_max: usize) -> Option<Unwritten> {
        self.unwritten.store(false, Ordering::Release);
        if self.is_ended() {
            return None;
        }
        let title = self.title.lock().clone();
        let (unwritten, durable) = {
            let log = self.log.lock();
            (log.unwritten(bytes_max), log.durable())
        };
        let (rows, last) = match unwritten {
            Some(unwritten) => unwritten,
            None if title.is_some() => (Vec::new(), durable),
            None => return None,
        };
        Some(Unwritten { rows, last, title })
    }

    /// For the keeper: the rows up to `last` are in the database, from `first` on.
    pub fn written(&self, last: Position, first: Seq, title: Option<&String>) -> Result<(), Gap> {
        let durable = {
            let mut log = self.log.lock();
            if first.0 != log.head_seq().0 + 1 {
                return Err(Gap);
            }
            log.written(last, first);
            log.durable()
        };
        let mut pending = self.title.lock();
        if pending.as_ref() == title {
            *pending = None;
        }
        drop(pending);
        self.durable.send_replace(durable);
        self.unsaved.lock().retain(|_, member| member.ring_if_saved(durable));
        Ok(())
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

    fn end_reason(&self) -> Refusal {
        self.ended.get().cloned().unwrap_or(Refusal::RoomRestarted)
    }
}

/// Updates that wait for the database.
pub struct Unwritten {
    pub rows: Vec<Bytes>,
    pub last: Position,
    pub title: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_to_a_room_is_small() {
        assert!(size_of::<ToRoom>() <= 80, "{} bytes", size_of::<ToRoom>());
    }
}
