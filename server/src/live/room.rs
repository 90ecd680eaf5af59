//! One life of a room, as sockets, the keeper and the runs hold it: the log, the presence and the members.
//!
//! The document itself is not here: its owner task has it alone (`room/owner.rs`) and takes frames and commands
//! from a bounded mailbox, in their order. Locks here are held for a few lookups and never across an await.

pub mod owner;

use crate::domain::{
    log::{Gap, Log, LogLimits, Position, SocketId},
    presence::{Presence, PresenceVersion},
    prompt::{ContentPatch, PromptContent},
    refusal::Refusal,
    rights::Visibility,
};
use crate::live::member::Member;
use bytes::Bytes;
use parking_lot::Mutex;
use promptroom_protocol::{Command, LineageId, MemberId, Overrides, PromptId, RunSummary, Seq, ServerFrame};
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot, watch};
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

/// What the mailbox of a room takes.
pub enum ToRoom {
    Enter {
        member: Arc<Member>,
        reply: oneshot::Sender<Result<Entered, Refusal>>,
    },
    Join {
        member: Arc<Member>,
        have: Option<Seq>,
        state_vector: Bytes,
        reply: oneshot::Sender<Result<Caught, Refusal>>,
    },
    /// A stock client's SyncStep1.
    Ask {
        member: Arc<Member>,
        state_vector: Bytes,
        reply: oneshot::Sender<Result<Caught, Refusal>>,
    },
    Update {
        member: Arc<Member>,
        update: Bytes,
        whole: bool,
    },
    Awareness {
        member: Arc<Member>,
        update: Bytes,
    },
    Command {
        member: Arc<Member>,
        command: Command,
    },
    Leave {
        member: Arc<Member>,
    },
    Edit {
        patch: ContentPatch,
        reply: oneshot::Sender<Result<Position, Refusal>>,
    },
    Read {
        reply: oneshot::Sender<Result<PromptContent, Refusal>>,
    },
    Cut {
        ask: CutAsk,
        reply: oneshot::Sender<Result<crate::domain::prompt::Cut, Refusal>>,
    },
}

/// Which part of the draft is to run.
#[derive(Clone, Debug, Default)]
pub struct CutAsk {
    pub variant: Option<String>,
    pub inputs: Option<String>,
    pub overrides: Overrides,
}

/// What a socket is told when it comes in.
pub struct Entered {
    pub head: Seq,
    pub runs: Vec<RunSummary>,
    pub state_vector: Bytes,
}

/// What a socket lacked, in frames, and where it reads on.
pub struct Caught {
    pub frames: Vec<Bytes>,
    pub position: Position,
    /// The server's state vector, to be answered with what the client has and we do not.
    pub state_vector: Bytes,
}

/// Who may see and change the prompt; replaced when that changes.
#[derive(Clone, Debug)]
pub struct Access {
    pub owner: MemberId,
    pub visibility: Visibility,
    pub slug: String,
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
    runs: Mutex<Vec<RunSummary>>,
    access: Mutex<Access>,
    /// The rights epoch under which frames are checked now.
    rights_epoch: AtomicU64,
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
    pub fn access(&self) -> Access {
        self.access.lock().clone()
    }

    pub fn set_access(&self, access: Access) {
        *self.access.lock() = access;
    }

    pub fn rights_epoch(&self) -> u64 {
        self.rights_epoch.load(Ordering::Acquire)
    }

    pub fn set_rights_epoch(&self, epoch: u64) {
        self.rights_epoch.store(epoch, Ordering::Release);
    }

    /// Puts a message into the mailbox, in order, waiting while it is full.
    pub async fn send(&self, message: ToRoom) -> Result<(), Refusal> {
        self.mailbox.send(message).await.map_err(|_| self.end_reason())
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

    /// Tells everybody in the room how a run stands.
    pub fn announce(&self, run: &RunSummary) {
        {
            let mut runs = self.runs.lock();
            match runs.iter_mut().find(|known| known.id == run.id) {
                Some(known) if known.state.is_terminal() => return,
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
        self.ring(None);
    }

    /// Rings every member but one.
    pub fn ring(&self, except: Option<SocketId>) {
        for (socket, member) in &*self.members.lock() {
            if Some(*socket) != except {
                member.ring();
            }
        }
    }

    /// Frames after `cursor` for this member, and where it reads on.
    pub fn since(&self, cursor: Position, member: &Member) -> Result<(Vec<Bytes>, Position), Gap> {
        use crate::domain::log::Audience;
        let log = self.log.lock();
        let mut frames = Vec::new();
        let mut next = cursor;
        for entry in log.since(cursor, FRAMES_TAKEN)? {
            next.0 += 1;
            let wanted = match entry.audience {
                Audience::AllBut(author) => author != Some(member.socket),
                Audience::Versioned => member.versioned,
            };
            if wanted {
                frames.push(entry.frame.clone());
            }
        }
        Ok((frames, next))
    }

    /// One frame with what changed in the room's presence, if anything may be told.
    pub fn presence_since(&self, version: PresenceVersion) -> Option<(Bytes, PresenceVersion)> {
        if self.presence_shown.load(Ordering::Acquire) <= version.0 {
            return None;
        }
        let mut presence = self.presence.lock();
        let frame = presence.since(version)?;
        Some((frame, presence.newest()))
    }

    /// Whether there are, or soon will be, durable rows after `head`.
    pub fn has_rows_after(&self, head: Seq) -> bool {
        let log = self.log.lock();
        log.head_seq() > head || log.has_unwritten()
    }

    /// The newest durable row, and up to where in the log everything is durable.
    pub fn durable(&self) -> (Seq, Position) {
        let log = self.log.lock();
        (log.head_seq(), log.durable())
    }

    pub fn head(&self) -> Position {
        self.log.lock().head()
    }

    /// Resolves when everything up to `position` is durable; fails when this life ends before.
    pub async fn until_durable(&self, position: Position) -> Result<(), Refusal> {
        let mut durable = self.durable.subscribe();
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
        let (rows, last) = self.log.lock().unwritten(bytes_max)?;
        Some(Unwritten { rows, last, title: self.title.lock().clone() })
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
        for member in self.members.lock().values().filter(|member| member.awaits(durable)) {
            member.ring();
        }
        Ok(())
    }

    pub fn has_unwritten(&self) -> bool {
        self.log.lock().has_unwritten()
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
