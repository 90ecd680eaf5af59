//! The database behind one type; its rows are the truth, everything in memory is a copy.
//!
//! Times come in as milliseconds, ids and hashed secrets come in ready. A call that fails or is dropped in its
//! middle has done all of it or nothing, and which of both is not known: every change here may be repeated.

#[macro_use]
mod statements;
mod query;
mod database;
mod sqlite;
mod postgres;
mod column;
mod people;
mod access;
mod seen;
mod prompts;
mod rooms;
mod commit;
mod snapshots;
mod runs;
mod summary;
mod progress;
mod claims;
mod nodes;
mod followed;
mod copy;
mod attempts;
#[cfg(test)]
pub(crate) mod plain;
#[cfg(test)]
mod suite;

pub use access::{Invite, LinkFor, NewInvite};
pub use attempts::{AdmitOutcome, Bill, NewAttempt, OpenAttempt};
pub use claims::{Claim, ClaimOutcome, EndOutcome, RunEnd};
pub use commit::{CommitOutcome, RoomRows};
pub use copy::{CopiedTable, CopyReport, copy};
pub use followed::{FollowedRun, Following};
pub use nodes::{NodeReading, NodesSeen, RunDriver};
pub use people::{NewPrincipal, Principal, PrincipalKind, RightsOutcome, Workspace};
pub use progress::{Progress, ProgressOutcome, ProgressResult, Record};
pub use prompts::{ChangeOutcome, CreateOutcome, LibraryEntry, NewPrompt, Owner, PromptRow};
pub use rooms::{Generation, RoomHead, RoomImage, RowsAfter};
pub use runs::{NewRun, RunClaim, RunDetail, StartOutcome, StoredOutput, StoredRecord};

use database::Database;
use postgres::Postgres;
use query::query;
use sqlite::Sqlite;
use sqlx::migrate::MigrateError;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::OnceCell;
use uuid::Uuid;

statements! {
    PING = "SELECT COUNT(*) AS workspaces FROM workspaces";
}

/// Everything that outlives a process. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    db: Database,
    workspace: Arc<OnceCell<WorkspaceId>>,
    seen: Arc<seen::Seen>,
    due: Arc<snapshots::Due>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkspaceId(pub Uuid);

/// SHA-256 of a secret that only its holder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretHash(pub [u8; 32]);

/// One life of a server process: each start is a new node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    #[error("the database cannot be reached: {0}")]
    Unavailable(sqlx::Error),
    /// What is stored cannot be right; nothing may be built on it.
    #[error("the database holds something that cannot be right: {0}")]
    Corrupt(String),
    /// The configuration names a database that cannot be used, in words for the operator.
    #[error("{0}")]
    Unusable(String),
    #[error("the database refused a statement: {0}")]
    Other(sqlx::Error),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody mending anything in the program.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Busy | StoreError::Full | StoreError::Unavailable(_))
    }
}

impl Store {
    /// Opens `postgres://…`, or `sqlite://path` (or `sqlite:path`), making the file if there is none. Does not migrate.
    pub async fn open(url: &str) -> Result<Store> {
        if Store::is_shared(url) {
            return Ok(Store::on(Database::Postgres(Box::pin(Postgres::open(url)).await?)));
        }
        Ok(Store::on(Database::Sqlite(Sqlite::open(url).await?)))
    }

    /// The database file that a URL names.
    pub fn file(url: &str) -> Result<&Path> {
        sqlite::path(url).map(Path::new)
    }

    /// Whether other processes may use the database of this URL as well: a server, and no file.
    pub fn is_shared(url: &str) -> bool {
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }

    /// Brings the schema up to this build's; a schema one release ahead is accepted as it is.
    pub async fn migrate(&self) -> Result<()> {
        self.db.migrate().await?;
        self.ensure_workspace().await
    }

    pub async fn ping(&self) -> Result<()> {
        query(PING).fetch_one(&mut self.db.read_once().await?).await?;
        Ok(())
    }

    /// Waits for calls under way, then closes the files.
    pub async fn close(&self) {
        self.db.close().await;
    }

    /// A change of which nobody knows whether it was made is made once more: it must be one that does nothing twice.
    async fn repeated<T, F: Future<Output = Result<T>>>(change: impl Fn() -> F) -> Result<T> {
        match change().await {
            // Who had no turn has not begun.
            Err(StoreError::Unavailable(error)) if !matches!(error, sqlx::Error::PoolTimedOut) => {
                tracing::debug!(%error, "a change is in doubt and made again");
                change().await
            }
            done => done,
        }
    }

    fn on(db: Database) -> Store {
        Store { db, workspace: Arc::new(OnceCell::new()), seen: Arc::default(), due: Arc::default() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        match &error {
            sqlx::Error::PoolTimedOut => StoreError::Busy,
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                StoreError::Unavailable(error)
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                StoreError::Corrupt(error.to_string())
            }
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                let classified = match postgres::is_from(database.as_ref()) {
                    true => postgres::classify(&code),
                    false => sqlite::classify(code.parse().unwrap_or_default()),
                };
                classified(error)
            }
            _ => StoreError::Other(error),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> StoreError {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => StoreError::Unusable(format!("the database's schema does not fit this build: {other}")),
        }
    }
}

type Result<T, E = StoreError> = std::result::Result<T, E>;
