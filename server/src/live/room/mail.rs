//! What a room is asked and what it answers.

use crate::bus::Present;
use crate::domain::{
    log::Position,
    prompt::{ContentPatch, Cut, PromptContent},
    refusal::Refusal,
};
use crate::live::member::Member;
use bytes::Bytes;
use promptroom_protocol::{Command, LineageId, Overrides, RunSummary, Seq};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What the mailbox of a room takes. Small, because a mailbox has room for dozens of them even when it is empty.
pub enum ToRoom {
    Enter {
        member: Arc<Member>,
        reply: oneshot::Sender<Result<Entered, Refusal>>,
    },
    Join {
        member: Arc<Member>,
        brings: Box<Brings>,
        reply: oneshot::Sender<Result<Caught, Refusal>>,
    },
    /// A stock client's SyncStep1.
    Ask {
        member: Arc<Member>,
        state_vector: Box<[u8]>,
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
        command: Box<Command>,
    },
    Leave {
        member: Arc<Member>,
    },
    Edit {
        edit: Box<Edit>,
        reply: oneshot::Sender<Result<Position, Refusal>>,
    },
    Read {
        reply: oneshot::Sender<Result<PromptContent, Refusal>>,
    },
    Cut {
        ask: Box<CutAsk>,
        reply: oneshot::Sender<Result<Cut, Refusal>>,
    },
    /// Rows that another node has written, without a gap from `first` on.
    Rows {
        lineage: LineageId,
        first: Seq,
        rows: Vec<Bytes>,
    },
    /// What the store had after the newest row that was here.
    Fetched(Fetched),
    /// Who is in the room on another node.
    Elsewhere {
        present: Vec<Present>,
    },
    /// Another node has opened the room, or may have missed who is here.
    WhoIsHere,
}

/// What somebody has who comes in, or comes back.
pub struct Brings {
    /// The newest row that it will have once it has taken `rows`.
    pub have: Option<Seq>,
    /// Frames of rows that the log does not have any more, from the store.
    pub rows: Vec<Bytes>,
    pub state_vector: Bytes,
}

/// What came of looking for rows in the store.
pub enum Fetched {
    /// In order, none where there are no more.
    Rows(Vec<(Seq, Bytes)>),
    /// They cannot be had: this life has come too far from the store.
    Gone,
    /// The store did not answer.
    Failed,
}

/// A change that comes by no socket.
#[derive(Clone)]
pub struct Edit {
    pub patch: ContentPatch,
    /// Who makes it, with the rights that they have.
    pub author: Arc<Member>,
    /// The room's rights epoch before those rights were read.
    pub checked_under: u64,
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
    /// Under which its rights hold from now on; rights that were read under an older one must be read again.
    pub rights_epoch: u64,
    pub runs: Vec<RunSummary>,
    pub state_vector: Bytes,
}

/// What a socket lacked, in frames, and where it reads on.
pub struct Caught {
    pub frames: Vec<Bytes>,
    pub position: Position,
    /// The newest durable row at that position.
    pub head: Seq,
    /// Whether the frames are the rows after what the reader has, and not the difference to its state vector.
    pub are_rows: bool,
    /// The server's state vector, to be answered with what the client has and we do not.
    pub state_vector: Bytes,
    /// Our own frames since the reader came in, which it was not sent yet.
    pub told: Vec<Bytes>,
    /// A *person* frame for everybody whose client id is known.
    pub people: Vec<Bytes>,
}
