//! What is particular to SQLite: opening it so that what is saved is saved, its one writer, and its error codes.

use super::{Result, Store, StoreError};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Connection as _, Row as _, Sqlite, migrate::MigrateError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

pub(super) type Connection = SqliteConnection;
pub(super) type Row = SqliteRow;
pub(super) type Statement = sqlx::QueryBuilder<Sqlite>;
pub(super) type Transaction = sqlx::Transaction<'static, Sqlite>;

/// How long a lock held by another process is waited for, before the call fails as busy.
const LOCK_WAIT_MS_MAX: u64 = 2_000;
/// How long a call waits for its turn behind others of this process.
const TURN_WAIT_MS_MAX: u64 = 10_000;
const READERS: u32 = 4;
const CACHED_STATEMENTS: usize = 200;
/// The write-ahead log is cut back to this after a checkpoint.
const LOG_BYTES_KEPT: &str = "67108864";
/// Pages of log between checkpoints. The same few pages are written again and again while people type, so a longer
/// log means that each is copied into the file more seldom; 8,000 pages are 32 MiB.
const LOG_PAGES_CHECKPOINT: &str = "8000";

/// One connection that writes, several that read at the same time.
#[derive(Clone)]
pub(super) struct Database {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Store {
    /// Opens `sqlite://path` (or `sqlite:path`), making the file if there is none. Does not migrate.
    pub async fn open(url: &str) -> Result<Store> {
        let db = Database::open(url).await?;
        Ok(Store { db, workspace: Arc::new(OnceCell::new()), seen: Arc::default() })
    }

    /// The database file that a URL names.
    pub fn file(url: &str) -> Result<&Path> {
        path(url).map(Path::new)
    }

    /// Brings the schema up to this build's; a schema one release ahead is accepted as it is.
    pub async fn migrate(&self) -> Result<()> {
        let mut migrations = sqlx::migrate!("../migrations/sqlite");
        migrations.set_ignore_missing(true);
        migrations.run(&self.db.writer).await?;
        self.ensure_workspace().await
    }

    pub async fn ping(&self) -> Result<()> {
        let mut connection = self.db.read().await?;
        sqlx::query("SELECT COUNT(*) FROM workspaces").fetch_one(&mut *connection).await?;
        Ok(())
    }

    /// Waits for calls under way, then closes the files.
    pub async fn close(&self) {
        self.db.readers.close().await;
        self.db.writer.close().await;
    }
}

impl Database {
    async fn open(url: &str) -> Result<Database> {
        let options = SqliteConnectOptions::new()
            .filename(path(url)?)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_millis(LOCK_WAIT_MS_MAX))
            .pragma("journal_size_limit", LOG_BYTES_KEPT)
            .pragma("wal_autocheckpoint", LOG_PAGES_CHECKPOINT)
            .statement_cache_capacity(CACHED_STATEMENTS);
        let writer = pool(1).connect_with(options.clone()).await?;
        let readers = pool(READERS).connect_with(options.pragma("query_only", "ON")).await?;
        Ok(Database { writer, readers })
    }

    /// A transaction that holds the write lock from its beginning: what it reads stays true until it commits.
    pub(super) async fn write(&self) -> Result<Transaction> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A transaction that sees one moment of the database, whatever is written meanwhile.
    pub(super) async fn read(&self) -> Result<Transaction> {
        Ok(self.readers.begin().await?)
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
            sqlx::Error::Database(database) => match primary_code(database.as_ref()) {
                5 | 6 => StoreError::Busy,
                13 => StoreError::Full,
                // I/O error, cannot open.
                10 | 14 => StoreError::Unavailable(error),
                // Malformed, not a database.
                11 | 26 => StoreError::Corrupt(error.to_string()),
                _ => StoreError::Other(error),
            },
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

/// <https://www.sqlite.org/rescode.html>: the low byte says what, the others say where.
fn primary_code(error: &dyn sqlx::error::DatabaseError) -> i32 {
    error.code().and_then(|code| code.parse::<i32>().ok()).map_or(0, |code| code & 0xff)
}

fn path(url: &str) -> Result<&str> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Err(StoreError::Unusable("Postgres is not built yet; use sqlite://path".to_owned()));
    }
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
    match path {
        Some(path) if path.contains('?') => {
            Err(StoreError::Unusable("the database URL takes no options after `?`".to_owned()))
        }
        Some("" | ":memory:") => {
            Err(StoreError::Unusable("the database must be a file: sqlite://path".to_owned()))
        }
        Some(path) => Ok(path),
        None => Err(StoreError::Unusable("the database URL must begin with sqlite://".to_owned())),
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_millis(TURN_WAIT_MS_MAX))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(is_out_of_transactions(connection)))
        .after_connect(|connection, _| Box::pin(assert_settings(connection)))
}

/// After a full disk SQLite rolls back by itself, which the driver does not notice: it would refuse every later
/// transaction on that connection. Such a one is closed and opened again.
async fn is_out_of_transactions(connection: &mut Connection) -> Result<bool, sqlx::Error> {
    // A rollback may still wait in the driver's queue; the answer to a ping comes after it.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// No kill of a process shows whether the disk was really written to: only these settings do.
async fn assert_settings(connection: &mut Connection) -> Result<(), sqlx::Error> {
    let journal: String = sqlx::query("PRAGMA journal_mode").fetch_one(&mut *connection).await?.try_get(0)?;
    let synchronous: i64 = sqlx::query("PRAGMA synchronous").fetch_one(&mut *connection).await?.try_get(0)?;
    let foreign_keys: i64 =
        sqlx::query("PRAGMA foreign_keys").fetch_one(&mut *connection).await?.try_get(0)?;
    let lock_wait_ms: i64 =
        sqlx::query("PRAGMA busy_timeout").fetch_one(&mut *connection).await?.try_get(0)?;
    let found = (journal.as_str(), synchronous, foreign_keys, lock_wait_ms);
    if found == ("wal", 2, 1, LOCK_WAIT_MS_MAX.cast_signed()) {
        return Ok(());
    }
    Err(sqlx::Error::Configuration(format!("SQLite did not take its settings: {found:?}").into()))
}

#[cfg(test)]
mod tests;
