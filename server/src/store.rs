//! The database behind one type; its rows are the truth, everything in memory is a copy.
//!
//! Times come in as milliseconds, ids and hashed secrets come in ready. A call that fails or is dropped in its
//! middle has done all of it or nothing, and which of both is not known: every change here may be repeated.

#[macro_use]
mod statements;
mod sqlite;
mod column;
mod people;
mod access;
mod prompts;
mod rooms;
mod commit;
mod snapshots;
mod runs;
mod summary;
mod progress;
mod claims;
mod attempts;
#[cfg(test)]
mod suite;

pub use access::{Invite, LinkFor, NewInvite};
pub use attempts::{AdmitOutcome, Bill, NewAttempt, OpenAttempt};
pub use claims::{Claim, ClaimOutcome, EndOutcome, RunEnd};
pub use commit::{CommitOutcome, RoomRows};
pub use people::{NewPrincipal, Principal, PrincipalKind, RightsOutcome, Workspace};
pub use progress::{Progress, ProgressOutcome, ProgressResult, Record};
pub use prompts::{ChangeOutcome, CreateOutcome, LibraryEntry, NewPrompt, Owner, PromptRow};
pub use rooms::{Generation, RoomHead, RoomImage, RowsAfter};
pub use runs::{NewRun, RunClaim, RunDetail, StartOutcome, StoredOutput, StoredRecord};

use sqlite::Database;
use std::sync::Arc;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Everything that outlives a process. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Database,
    workspace: Arc<OnceCell<WorkspaceId>>,
    seen: Arc<access::Seen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkspaceId(pub Uuid);

/// SHA-256 of a secret that only its holder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

/// One life of a server process: each start is a new node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub Uuid);

/// One request to a provider, paid for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptId(pub Uuid);

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the lock, or too many calls wait: nothing was changed, try again.
    #[error("the database is busy")]
    Busy,
    #[error("the database's disk is full")]
    Full,
    /// The disk or the connection failed: what was asked for may or may not have been done.
    #[error("the database cannot be reached")]
    Unavailable(#[source] sqlx::Error),
    /// What is stored cannot be right; nothing may be built on it.
    #[error("the database holds something that cannot be right: {0}")]
    Corrupt(String),
    /// The configuration names a database that cannot be used, in words for the operator.
    #[error("{0}")]
    Unusable(String),
    #[error("the database refused a statement")]
    Other(#[source] sqlx::Error),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody mending anything in the program.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Busy | StoreError::Full | StoreError::Unavailable(_))
    }
}

type Result<T, E = StoreError> = std::result::Result<T, E>;
