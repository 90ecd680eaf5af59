//! What is particular to SQLite: opening it so that what is saved is saved, its one writer, and its error codes.

use super::database::Row;
use super::query::{Query, Value};
use super::{Result, StoreError};
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _, SqlSafeStr as _};
use std::borrow::Cow;
use std::time::Duration;

/// How long a lock held by another process is waited for, before the call fails as busy.
const LOCK_WAIT_MS_MAX: u64 = 2_000;
/// How long a call waits for its turn behind others of this process.
const TURN_WAIT_MS_MAX: u64 = 10_000;
const READERS: u32 = 4;
/// Negative: KiB. What the readers look at is in the operating system's cache as well, which all of them share.
const READER_CACHE: &str = "-256";
const CACHED_STATEMENTS: usize = 200;
/// The write-ahead log is cut back to this after a checkpoint.
const LOG_BYTES_KEPT: &str = "67108864";
/// Pages of log between checkpoints. The same few pages are written again and again while people type, so a longer
/// log means that each is copied into the file more seldom; 8,000 pages are 32 MiB.
const LOG_PAGES_CHECKPOINT: &str = "8000";

/// One connection that writes, several that read at the same time.
#[derive(Clone)]
pub(super) struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
}

/// What a transaction holds of SQLite.
pub(super) enum Transaction {
    Whole(sqlx::Transaction<'static, sqlx::Sqlite>),
    /// For one statement, which is a transaction by itself.
    Single(PoolConnection<sqlx::Sqlite>),
}

impl Sqlite {
    pub(super) async fn open(url: &str) -> Result<Sqlite> {
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
        let reading = options.pragma("query_only", "ON").pragma("cache_size", READER_CACHE);
        let readers = pool(READERS).connect_with(reading).await?;
        Ok(Sqlite { writer, readers })
    }

    pub(super) async fn migrate(&self) -> Result<()> {
        let mut migrations = migrations();
        migrations.set_ignore_missing(true);
        migrations.run(&self.writer).await?;
        Ok(())
    }

    pub(super) async fn write(&self) -> Result<Transaction> {
        begin(&self.writer, "BEGIN IMMEDIATE").await
    }

    pub(super) async fn read(&self) -> Result<Transaction> {
        begin(&self.readers, "BEGIN").await
    }

    pub(super) async fn read_once(&self) -> Result<Transaction> {
        Ok(Transaction::Single(self.readers.acquire().await?))
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

pub(super) fn migrations() -> Migrator {
    sqlx::migrate!("../migrations/sqlite")
}

/// After a full disk SQLite rolls back by itself, which the driver does not notice: it refuses every later transaction
/// on that connection. Such a one is closed, and another is opened.
async fn begin(pool: &SqlitePool, statement: &'static str) -> Result<Transaction> {
    let mut left = pool.options().get_max_connections();
    loop {
        match pool.begin_with(statement).await {
            Err(sqlx::Error::InvalidSavePointStatement) if left > 0 => {
                left -= 1;
                pool.acquire().await?.close().await?;
            }
            begun => return Ok(Transaction::Whole(begun?)),
        }
    }
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<()> {
        match self {
            Transaction::Whole(transaction) => Ok(transaction.commit().await?),
            Transaction::Single(_) => Ok(()),
        }
    }

    pub(super) async fn fetch_all(&mut self, query: Query<'_>) -> Result<Vec<Row>> {
        let rows = prepared(query)?.fetch_all(self.connection()).await?;
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }

    pub(super) async fn fetch_optional(&mut self, query: Query<'_>) -> Result<Option<Row>> {
        Ok(prepared(query)?.fetch_optional(self.connection()).await?.map(Row::Sqlite))
    }

    pub(super) async fn execute(&mut self, query: Query<'_>) -> Result<u64> {
        Ok(prepared(query)?.execute(self.connection()).await?.rows_affected())
    }

    #[cfg(test)]
    pub(super) async fn prepare(&mut self, sql: &'static str) -> Result<()> {
        sqlx::Executor::prepare(self.connection(), sql.into_sql_str()).await?;
        Ok(())
    }

    fn connection(&mut self) -> &mut SqliteConnection {
        match self {
            Transaction::Whole(transaction) => transaction,
            Transaction::Single(connection) => connection,
        }
    }
}

fn prepared(query: Query<'_>) -> Result<sqlx::query::Query<'static, sqlx::Sqlite, SqliteArguments>> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(query.values.len(), 0);
    for value in query.values {
        add(&mut arguments, value).map_err(sqlx::Error::Encode)?;
    }
    let sql = match query.sql {
        Cow::Borrowed(sql) => sql.into_sql_str(),
        Cow::Owned(sql) => AssertSqlSafe(sql).into_sql_str(),
    };
    Ok(sqlx::query_with(sql, arguments).persistent(query.persistent))
}

fn add(arguments: &mut SqliteArguments, value: Value<'_>) -> Result<(), sqlx::error::BoxDynError> {
    match value {
        Value::Uuid(value) => arguments.add(value),
        Value::Int(value) => arguments.add(value),
        Value::Text(value) => arguments.add(value.map(Cow::into_owned)),
        Value::Bytes(value) => arguments.add(value.map(Cow::into_owned)),
        Value::Uuids(_) | Value::Ints(_) | Value::Texts(_) | Value::Blobs(_) => {
            unreachable!("SQLite is not asked with whole columns")
        }
    }
}

/// <https://www.sqlite.org/rescode.html>: the low byte says what, the others say where.
pub(super) fn classify(code: i32) -> fn(sqlx::Error) -> StoreError {
    match code & 0xff {
        5 | 6 => |_| StoreError::Busy,
        13 => |_| StoreError::Full,
        // I/O error, cannot open.
        10 | 14 => StoreError::Unavailable,
        // Malformed, not a database.
        11 | 26 => |error| StoreError::Corrupt(error.to_string()),
        _ => StoreError::Other,
    }
}

pub(super) fn path(url: &str) -> Result<&str> {
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
        .after_connect(|connection, _| Box::pin(assert_settings(connection)))
}

/// No kill of a process shows whether the disk was really written to: only these settings do.
async fn assert_settings(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
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
