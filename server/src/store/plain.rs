//! SQLite in memory, asked from the caller's own thread: the database of a simulation, which decides at every step
//! whether it goes on, waits or fails.

use super::database::Database;
use super::query::{Query, Value};
use super::{Result, Store, StoreError, sqlite};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rusqlite::types::{FromSql, ToSql, ToSqlOutput, Value as Stored, ValueRef};
use std::io;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use uuid::Uuid;

const CACHED_STATEMENTS: usize = 200;
/// Whoever does nothing in a transaction for this long, while another waits, is cut off.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// The same in every database: nothing in a simulation is left to chance.
const WORKSPACE: Uuid = Uuid::from_u128(1);

/// What a store is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin a transaction, or wait for its turn.
    Begin {
        writes: bool,
    },
    Statement,
    /// Make all of it durable.
    Commit,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    Go,
    Fail(StoreError),
    /// It is done, and told as if it might not be.
    DoneThenFail,
}

/// What may happen to one node's calls. A step takes as long as the answer does; one whose caller is dropped
/// meanwhile is rolled back.
pub(crate) trait Hook: Send + Sync {
    fn before(&self, step: Step) -> BoxFuture<'_, Verdict>;
}

/// The database of one simulation, shared by the stores of all its nodes.
#[derive(Clone)]
pub(crate) struct Shared {
    connection: Arc<Mutex<rusqlite::Connection>>,
    /// Whose turn it is: first come, first served.
    turn: Arc<tokio::sync::Mutex<()>>,
    holder: Arc<Mutex<Weak<Hold>>>,
}

#[derive(Clone)]
pub(super) struct Plain {
    shared: Shared,
    hook: Arc<dyn Hook>,
}

/// One at a time, readers too: so each of them sees one moment.
pub(super) struct Transaction {
    hold: Arc<Hold>,
    hook: Arc<dyn Hook>,
    writes: bool,
}

struct Hold {
    connection: Arc<Mutex<rusqlite::Connection>>,
    turn: Mutex<Option<Turn>>,
}

/// Gone once the transaction was committed or cut off.
struct Turn {
    _held: OwnedMutexGuard<()>,
    last_step_at: Instant,
}

pub(super) struct Row {
    names: Arc<[String]>,
    values: Vec<Stored>,
}

/// A migrated database without anything in it, made once and copied each time.
static TEMPLATE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch("PRAGMA page_size = 1024").unwrap();
    for migration in sqlite::migrations().iter() {
        connection.execute_batch(migration.sql.as_str()).unwrap();
    }
    let workspace = rusqlite::params![WORKSPACE.as_bytes(), "Workspace"];
    connection.execute("INSERT INTO workspaces (id, name) VALUES (?1, ?2)", workspace).unwrap();
    connection.serialize("main").unwrap().to_vec()
});

impl Shared {
    /// An empty, migrated database of its own.
    pub(crate) fn new() -> Shared {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        let template = TEMPLATE.as_slice();
        connection.deserialize_read_exact("main", template, template.len(), false).unwrap();
        connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA journal_mode = MEMORY").unwrap();
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        let connection = Arc::new(Mutex::new(connection));
        Shared { connection, turn: Arc::default(), holder: Arc::default() }
    }

    /// Looks at the database past all transactions: what is not committed yet is seen too.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        look(&self.connection.lock())
    }

    /// Ends the transaction that goes on now, if there is one, as a database ends one that is idle for too long:
    /// it is rolled back, and whoever had it learns of it with its next step.
    pub(crate) fn cut_off(&self) {
        let holder = self.holder.lock().upgrade();
        if let Some(holder) = holder {
            holder.roll_back();
        }
    }

    async fn take_turn(&self) -> Arc<Hold> {
        let mut waiting = pin!(self.turn.clone().lock_owned());
        let held = loop {
            match tokio::time::timeout(IDLE_MAX, &mut waiting).await {
                Ok(held) => break held,
                Err(_) => self.cut_off_if_idle(),
            }
        };
        let turn = Mutex::new(Some(Turn { _held: held, last_step_at: Instant::now() }));
        let hold = Arc::new(Hold { connection: self.connection.clone(), turn });
        *self.holder.lock() = Arc::downgrade(&hold);
        hold
    }

    fn cut_off_if_idle(&self) {
        let holder = self.holder.lock().upgrade();
        if let Some(holder) = holder.filter(|holder| holder.is_idle()) {
            holder.roll_back();
        }
    }
}

impl Store {
    /// A node's store in a simulation, migrated.
    pub(crate) fn plain(shared: &Shared, hook: Arc<dyn Hook>) -> Store {
        Store::on(Database::Plain(Plain { shared: shared.clone(), hook }))
    }
}

impl Plain {
    pub(super) async fn begin(&self, writes: bool) -> Result<Transaction> {
        ask(&self.hook, Step::Begin { writes }).await?;
        let hold = self.shared.take_turn().await;
        hold.with(|connection| connection.execute_batch("BEGIN"))?;
        Ok(Transaction { hold, hook: self.hook.clone(), writes })
    }
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<()> {
        let done_then_fails = match self.hook.before(Step::Commit).await {
            Verdict::Go => false,
            Verdict::DoneThenFail => true,
            Verdict::Fail(error) => return Err(error),
        };
        self.hold.with(|connection| connection.execute_batch("COMMIT"))?;
        *self.hold.turn.lock() = None;
        if done_then_fails { Err(unavailable("nobody said that it was committed")) } else { Ok(()) }
    }

    pub(super) async fn fetch_all(&mut self, query: Query<'_>) -> Result<Vec<Row>> {
        ask(&self.hook, Step::Statement).await?;
        self.hold.with(|connection| {
            let mut statement = prepared(connection, &query)?;
            assert!(self.writes || statement.readonly(), "a reader writes: {}", query.sql);
            let names: Arc<[String]> = statement.column_names().into_iter().map(str::to_owned).collect();
            let mut rows = statement.raw_query();
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let values = (0..names.len()).map(|index| row.get(index)).collect::<Result<_, _>>()?;
                found.push(Row { names: names.clone(), values });
            }
            Ok(found)
        })
    }

    pub(super) async fn execute(&mut self, query: Query<'_>) -> Result<u64> {
        assert!(self.writes, "a reader writes: {}", query.sql);
        ask(&self.hook, Step::Statement).await?;
        self.hold.with(|connection| Ok(prepared(connection, &query)?.raw_execute()? as u64))
    }

    pub(super) fn prepare(&mut self, sql: &str) -> Result<()> {
        self.hold.with(|connection| connection.prepare(sql).map(drop))
    }
}

impl Hold {
    fn with<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>) -> Result<T> {
        let mut turn = self.turn.lock();
        let turn = turn.as_mut().ok_or_else(|| unavailable("the transaction was cut off"))?;
        turn.last_step_at = Instant::now();
        work(&self.connection.lock()).map_err(failed)
    }

    fn is_idle(&self) -> bool {
        self.turn.lock().as_ref().is_some_and(|turn| turn.last_step_at.elapsed() >= IDLE_MAX)
    }

    fn roll_back(&self) {
        let mut turn = self.turn.lock();
        if turn.is_some() {
            self.connection.lock().execute_batch("ROLLBACK").unwrap();
        }
        *turn = None;
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.hold.roll_back();
    }
}

impl Row {
    pub(super) fn get<T: FromSql>(&self, name: &str) -> Result<T> {
        let index = self.names.iter().position(|column| column == name);
        let value = index.and_then(|index| self.values.get(index));
        let value = value.unwrap_or_else(|| panic!("no column is called {name}"));
        T::column_result(ValueRef::from(value))
            .map_err(|error| StoreError::Corrupt(format!("column {name}: {error:?}")))
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Uuid(Some(id)) => ValueRef::Blob(id.as_bytes()),
            Value::Int(Some(number)) => ValueRef::Integer(*number),
            Value::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Value::Uuid(None) | Value::Int(None) | Value::Text(None) | Value::Bytes(None) => ValueRef::Null,
            other => unreachable!("SQLite is not asked with whole columns: {other:?}"),
        }))
    }
}

async fn ask(hook: &Arc<dyn Hook>, step: Step) -> Result<()> {
    match hook.before(step).await {
        Verdict::Go => Ok(()),
        Verdict::Fail(error) => Err(error),
        Verdict::DoneThenFail => unreachable!("only a commit can be in doubt, not {step:?}"),
    }
}

fn prepared<'c>(
    connection: &'c rusqlite::Connection,
    query: &Query<'_>,
) -> rusqlite::Result<rusqlite::CachedStatement<'c>> {
    let mut statement = connection.prepare_cached(&query.sql)?;
    for index in 1..=statement.parameter_count() {
        // SQLite numbers `$2` by where it first stands, not by its name.
        let named = statement.parameter_name(index).and_then(|name| name.strip_prefix('$')?.parse().ok());
        statement.raw_bind_parameter(index, &query.values[named.unwrap_or(index) - 1])?;
    }
    Ok(statement)
}

fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Other(sqlx::Error::Protocol(error.to_string()))
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(sqlx::Error::Io(io::Error::other(why.to_owned())))
}

#[cfg(test)]
mod tests;
