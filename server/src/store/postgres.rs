//! What is particular to Postgres: sessions that write through, limits on every wait, and its error codes.
//!
//! A server that is stopped, or a link that is cut in silence, answers nothing at all: so no call waits for an answer
//! for longer than its transaction's limit, and a connection that did not answer is closed instead of used again.

use super::database::Row;
use super::query::{Query, Value};
use super::{Result, StoreError};
use futures_util::future::join_all;
use sqlx::error::DatabaseError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgDatabaseError, PgPool, PgPoolOptions};
use sqlx::{Arguments as _, AssertSqlSafe, Connection as _, Row as _, SqlSafeStr as _};
use std::borrow::Cow;
use std::io;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Connections of one node. Reads have their own, so that many of them never keep an edit from being saved.
const WRITERS: u32 = 6;
const READERS: u32 = 6;
/// What shows that this node lives waits behind nothing else.
const VITAL: u32 = 1;
/// What takes long keeps nothing else waiting.
const LARGE: u32 = 2;
/// From asking for a connection to having one that answers.
const TURN_WAIT_MAX: Duration = Duration::from_secs(4);
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// From the beginning of a transaction to its end.
const TRANSACTION_MAX: Duration = Duration::from_secs(5);
/// The same for one that carries the whole output of a run.
const LARGE_TRANSACTION_MAX: Duration = Duration::from_secs(60);
/// The same for what is done seldom and concerns everything.
const LONG_TRANSACTION_MAX: Duration = Duration::from_secs(60 * 60);
/// To end what is open, when a connection is given back.
const RELEASE_MAX: Duration = Duration::from_secs(1);
const WRITE: &str = "BEGIN";
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const CACHED_STATEMENTS: usize = 200;
const CONNECTION_LIFE_MAX: Duration = Duration::from_secs(30 * 60);
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(5 * 60);

/// What the server holds every session to.
const SETTINGS: [(&str, &str); 9] = [
    // Said to be committed means: on disk.
    ("synchronous_commit", "on"),
    // A row that somebody else has.
    ("lock_timeout", "1s"),
    ("statement_timeout", "4s"),
    // A node that is frozen in the middle of a transaction holds nobody else up for longer.
    ("idle_in_transaction_session_timeout", "750ms"),
    // One that vanished without a word is noticed.
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20s"),
    ("default_transaction_isolation", "read committed"),
];
/// For what carries a run's whole output: sending it takes a while, and so does putting it together between two
/// statements. A node that is frozen is cut off all the same.
const LARGE_SETTINGS: [(&str, &str); 2] =
    [("statement_timeout", "60s"), ("idle_in_transaction_session_timeout", "5s")];
/// For migrations, and for copying everything.
const PATIENT_SETTINGS: [(&str, &str); 3] =
    [("lock_timeout", "60s"), ("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")];

#[derive(Clone)]
pub(super) struct Postgres {
    writers: PgPool,
    readers: PgPool,
    vital: PgPool,
    large: PgPool,
    /// With the patient settings.
    options: Arc<PgConnectOptions>,
}

/// What a transaction holds of Postgres.
pub(super) struct Transaction {
    held: Held,
    deadline: Instant,
}

enum Held {
    Whole(sqlx::Transaction<'static, sqlx::Postgres>),
    /// For one statement, which is a transaction by itself.
    Single(PoolConnection<sqlx::Postgres>),
}

impl Postgres {
    pub(super) async fn open(url: &str) -> Result<Postgres> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| StoreError::Unusable(format!("the database URL cannot be used: {error}")))?
            .application_name("promptroom")
            .statement_cache_capacity(CACHED_STATEMENTS)
            .options(SETTINGS);
        look(&options).await?;
        let writers = pool(WRITERS).connect_with(options.clone()).await.map_err(unreached)?;
        // A single read is not repeated, so one that died while it lay idle, as all do when the server restarts, must
        // be found out before. A write begins a transaction, which finds it out, or is repeated by whoever wanted it.
        let readers = pool(READERS).test_before_acquire(true).connect_lazy_with(options.clone());
        let vital = pool(VITAL).test_before_acquire(true).connect_lazy_with(options.clone());
        let large = pool(LARGE).connect_lazy_with(options.clone().options(LARGE_SETTINGS));
        let options = Arc::new(options.options(PATIENT_SETTINGS));
        Ok(Postgres { writers, readers, vital, large, options })
    }

    /// Two nodes at once do it one after the other: the migrations take a lock.
    pub(super) async fn migrate(&self) -> Result<()> {
        let mut migrations = sqlx::migrate!("../migrations/postgres");
        migrations.set_ignore_missing(true);
        let mut connection = PgConnection::connect_with(&self.options).await?;
        migrations.run(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }

    pub(super) async fn write(&self) -> Result<Transaction> {
        begin(&self.writers, WRITE).await
    }

    pub(super) async fn read(&self) -> Result<Transaction> {
        begin(&self.readers, READ).await
    }

    pub(super) async fn write_once(&self) -> Result<Transaction> {
        Self::single(&self.writers).await
    }

    pub(super) async fn read_once(&self) -> Result<Transaction> {
        Self::single(&self.readers).await
    }

    /// For a single statement that writes, and for reading, without waiting behind what anybody else does.
    pub(super) async fn write_vital(&self) -> Result<Transaction> {
        Self::single(&self.vital).await
    }

    pub(super) async fn read_vital(&self) -> Result<Transaction> {
        begin(&self.vital, READ).await
    }

    pub(super) async fn write_large(&self) -> Result<Transaction> {
        let mut transaction = begin(&self.large, WRITE).await?;
        transaction.deadline = Instant::now() + LARGE_TRANSACTION_MAX;
        Ok(transaction)
    }

    /// Transactions on a connection of their own that may take long.
    pub(super) async fn write_long(&self) -> Result<Transaction> {
        self.begin_long(WRITE).await
    }

    pub(super) async fn read_long(&self) -> Result<Transaction> {
        self.begin_long(READ).await
    }

    async fn begin_long(&self, statement: &'static str) -> Result<Transaction> {
        let pool = pool(1).connect_with((*self.options).clone()).await.map_err(unreached)?;
        let mut transaction = begin(&pool, statement).await?;
        transaction.deadline = Instant::now() + LONG_TRANSACTION_MAX;
        Ok(transaction)
    }

    async fn single(pool: &PgPool) -> Result<Transaction> {
        let deadline = Instant::now() + TRANSACTION_MAX;
        let connection = Box::pin(pool.acquire()).await.map_err(unreached)?;
        Ok(Transaction { held: Held::Single(connection), deadline })
    }

    pub(super) async fn close(&self) {
        // What does not answer now is closed by the end of the process.
        let pools = [&self.readers, &self.vital, &self.large, &self.writers];
        let closed = join_all(pools.map(|pool| pool.close()));
        let _ = tokio::time::timeout(TRANSACTION_MAX, closed).await;
    }
}

/// Whether the database can be used at all. A pool would try until its time is over, and not say why.
async fn look(options: &PgConnectOptions) -> Result<()> {
    let deadline = Instant::now() + TURN_WAIT_MAX;
    let mut connection = loop {
        match in_time(deadline, PgConnection::connect_with(options)).await {
            // It may be starting, as this node is.
            Err(StoreError::Unavailable(_)) if Instant::now() + LOOK_PAUSE < deadline => {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            connected => break connected?,
        }
    };
    let encoding = sqlx::query_scalar("SHOW server_encoding").fetch_one(&mut connection);
    let encoding: String = in_time(deadline, encoding).await?;
    in_time(deadline, connection.close()).await?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(StoreError::Unusable(format!(
        "the database keeps text as {encoding}, which cannot hold all that people write: create it with ENCODING 'UTF8'"
    )))
}

/// Connections that died while they lay idle, as all do when the server restarts, are found out here and left behind.
async fn begin(pool: &PgPool, statement: &'static str) -> Result<Transaction> {
    let deadline = Instant::now() + TRANSACTION_MAX;
    let mut left = pool.options().get_max_connections();
    loop {
        let begun = in_time(deadline, pool.begin_with(statement)).await;
        match begun {
            Err(StoreError::Unavailable(error))
                if !matches!(error, sqlx::Error::PoolTimedOut) && left > 0 && Instant::now() < deadline =>
            {
                left -= 1;
            }
            begun => return Ok(Transaction { held: Held::Whole(begun?), deadline }),
        }
    }
}

async fn in_time<T>(deadline: Instant, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T> {
    // Boxed, or everybody's future would carry the driver's.
    match tokio::time::timeout_at(deadline, Box::pin(work)).await {
        Ok(done) => done.map_err(unreached),
        Err(_) => Err(StoreError::Unavailable(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))),
    }
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<()> {
        match self.held {
            Held::Whole(transaction) => in_time(self.deadline, transaction.commit()).await,
            Held::Single(_) => Ok(()),
        }
    }

    pub(super) async fn fetch_all(&mut self, query: Query<'_>) -> Result<Vec<Row>> {
        let rows = in_time(self.deadline, prepared(query)?.fetch_all(self.connection())).await?;
        Ok(rows.into_iter().map(Row::Postgres).collect())
    }

    pub(super) async fn fetch_optional(&mut self, query: Query<'_>) -> Result<Option<Row>> {
        let row = in_time(self.deadline, prepared(query)?.fetch_optional(self.connection())).await?;
        Ok(row.map(Row::Postgres))
    }

    pub(super) async fn execute(&mut self, query: Query<'_>) -> Result<u64> {
        let done = in_time(self.deadline, prepared(query)?.execute(self.connection())).await?;
        Ok(done.rows_affected())
    }

    #[cfg(test)]
    pub(super) async fn prepare(&mut self, sql: &'static str) -> Result<()> {
        sqlx::Executor::prepare(self.connection(), sql.into_sql_str()).await?;
        Ok(())
    }

    fn connection(&mut self) -> &mut PgConnection {
        match &mut self.held {
            Held::Whole(transaction) => transaction,
            Held::Single(connection) => connection,
        }
    }
}

fn prepared(query: Query<'_>) -> Result<sqlx::query::Query<'static, sqlx::Postgres, PgArguments>> {
    let mut arguments = PgArguments::default();
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

fn add(arguments: &mut PgArguments, value: Value<'_>) -> Result<(), sqlx::error::BoxDynError> {
    match value {
        Value::Uuid(value) => arguments.add(value),
        Value::Int(value) => arguments.add(value),
        Value::Text(value) => arguments.add(value.map(storable)),
        Value::Bytes(value) => arguments.add(value.as_deref()),
        Value::Uuids(values) => arguments.add(values),
        Value::Ints(values) => arguments.add(values),
        Value::Texts(values) => {
            arguments.add(values.into_iter().map(|value| value.map(storable)).collect::<Vec<_>>())
        }
        Value::Blobs(values) => arguments.add(values),
    }
}

/// Postgres has no text with a zero in it. Nobody who types one loses their work for that.
pub(super) fn storable(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { text }
}

fn pool(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(TURN_WAIT_MAX)
        .idle_timeout(CONNECTION_IDLE_MAX)
        .max_lifetime(CONNECTION_LIFE_MAX)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(assert_settings(connection)))
        .after_release(|connection, _| Box::pin(is_clean(connection)))
}

/// Ends whatever is still open: a call that was dropped while its transaction began left one behind of which the driver
/// knows nothing, and what the next one wrote would be lost in it. A connection that does not answer is closed: waiting
/// for it would keep its place in the pool.
async fn is_clean(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let ended = sqlx::raw_sql("BEGIN; ROLLBACK").execute(connection);
    Ok(matches!(tokio::time::timeout(RELEASE_MAX, ended).await, Ok(Ok(_))))
}

static TOLD_OF_FSYNC: AtomicBool = AtomicBool::new(false);

async fn assert_settings(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let row = sqlx::query(
        "SELECT current_setting('synchronous_commit'), current_setting('fsync'), pg_is_in_recovery()",
    )
    .fetch_one(connection)
    .await?;
    let (commit, fsync, standby): (String, String, bool) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if standby {
        let standby = "this Postgres is a standby: it takes no changes";
        return Err(sqlx::Error::Io(io::Error::other(standby)));
    }
    if commit != "on" {
        return Err(sqlx::Error::Configuration(format!("synchronous_commit is {commit}").into()));
    }
    if fsync != "on" && !TOLD_OF_FSYNC.swap(true, Ordering::Relaxed) {
        tracing::warn!("this Postgres has fsync off: what is saved is lost if its machine fails");
    }
    Ok(())
}

/// As any error of the driver, but whatever goes wrong between us and the server is the connection's fault: a server
/// that is killed leaves half a conversation behind.
fn unreached(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Encode(_)
        | sqlx::Error::Configuration(_) => error.into(),
        other => StoreError::Unavailable(other),
    }
}

/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>
pub(super) fn classify(code: &str) -> fn(sqlx::Error) -> StoreError {
    match code {
        // Lock not available, statement cancelled by its time, serialization failure, deadlock.
        "55P03" | "57014" | "40001" | "40P01" => |_| StoreError::Busy,
        "53100" => |_| StoreError::Full,
        // Data or index corrupted.
        "XX001" | "XX002" => |error| StoreError::Corrupt(error.to_string()),
        // Shut down, crashed, starting up; cut off while idle; a standby after a change of roles; out of connections
        // or memory; any trouble of the connection or of its disk.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25006" | "53200" | "53300" => {
            StoreError::Unavailable
        }
        code if code.starts_with("08") || code.starts_with("58") => StoreError::Unavailable,
        _ => StoreError::Other,
    }
}

pub(super) fn is_from(error: &dyn DatabaseError) -> bool {
    error.try_downcast_ref::<PgDatabaseError>().is_some()
}

#[cfg(test)]
mod tests;
