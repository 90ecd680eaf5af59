//! What nodes have to tell each other, and under which topic.

use bytes::Bytes;
use promptroom_protocol::{
    BlockKind, Epoch, LineageId, MemberId, Offset, Person, PromptId, RunId, RunSummary, Seq,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// What concerns everybody, whichever rooms they are in.
    Workspace,
    Room(PromptId),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// Rows of a room's document that are durable now, without a gap from `first` on.
    Rows { lineage: LineageId, first: Seq, rows: Vec<Bytes> },
    /// Who is in the room on the sending node: those whose state changed, or all of them.
    Presence { present: Vec<Present> },
    /// The room was opened on the sending node: the others tell all of theirs.
    WhoIsHere,
    /// A run as its driver, or whoever changed its row, knows it now.
    Run(Box<RunSummary>),
    /// Output of a run, shown to the readers of the sending node from `offset` on.
    Output { run: RunId, epoch: Epoch, offset: Offset, pieces: Vec<Piece> },
    /// Somebody asked the run to stop; its row says so too.
    Cancel { run: RunId, by: MemberId },
    /// Somebody's rights have changed.
    Rights,
}

/// One member's awareness, as the node that has its socket knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Present {
    pub client: u64,
    pub clock: u64,
    /// JSON as the client sent it; `null` says that it has left.
    pub state: Bytes,
    /// Whom the client id belongs to, as its node has checked.
    pub person: Option<Person>,
}

/// A stretch of one block of a run's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    pub block: u32,
    pub kind: BlockKind,
    pub bytes: Bytes,
}
