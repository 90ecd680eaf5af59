//! The one database of all nodes, with triggers that watch what no statement of ours may ever do.

use super::faults::Link;
use crate::domain::{document::first_state, prompt::ContentPatch, rights::Visibility};
use crate::store::{
    NewPrincipal, NewPrompt, NodeId, PrincipalKind, Store,
    plain::{Hook, Shared, Step, Verdict},
};
use futures_util::future::BoxFuture;
use promptroom_protocol::{CommandId, LineageId, MemberId, PromptId, Role, RunId, RunState};
use rusqlite::{Connection, Row, config::DbConfig};
use std::{cell::RefCell, sync::Arc};
use uuid::Uuid;

const PEOPLE: u128 = 4;
/// Rooms, in which one may be without people.
const ROOMS: u128 = 2;
/// Each writes down what it saw; a transaction that is rolled back has done nothing.
const TRIGGERS: &str = "
CREATE TEMP TABLE seen (statement TEXT NOT NULL);
CREATE TEMP TRIGGER settled_once BEFORE UPDATE ON main.run_attempts
    WHEN OLD.settled_at_ms IS NOT NULL
BEGIN INSERT INTO seen VALUES ('3: a settled attempt changes: ' || hex(OLD.run_id)); END;
CREATE TEMP TRIGGER terminal_absorbs BEFORE UPDATE OF state, stored, epoch, ended_at_ms ON main.runs
    WHEN OLD.ended_at_ms IS NOT NULL
BEGIN INSERT INTO seen VALUES ('2: an ended run changes: ' || hex(OLD.id)); END;
CREATE TEMP TRIGGER epochs_grow BEFORE UPDATE ON main.runs
    WHEN NEW.epoch < OLD.epoch OR NEW.stored < OLD.stored AND NEW.epoch = OLD.epoch
BEGIN INSERT INTO seen VALUES ('2: bytes are withdrawn without a claim: ' || hex(OLD.id)); END;
CREATE TEMP TRIGGER stopped_for_good BEFORE INSERT ON main.run_attempts
    WHEN (SELECT cancel_requested_by FROM main.runs WHERE id = NEW.run_id) IS NOT NULL
BEGIN INSERT INTO seen VALUES ('4: an attempt begins after the run was stopped: ' || hex(NEW.run_id)); END;
CREATE TEMP TRIGGER ended_for_good BEFORE INSERT ON main.run_attempts
    WHEN (SELECT ended_at_ms FROM main.runs WHERE id = NEW.run_id) IS NOT NULL
BEGIN INSERT INTO seen VALUES ('4: an attempt begins after the run has ended: ' || hex(NEW.run_id)); END;
CREATE TEMP TRIGGER rows_stay BEFORE UPDATE ON main.room_updates
BEGIN INSERT INTO seen VALUES ('1: a stored row changes'); END;
CREATE TEMP TRIGGER heads_count BEFORE INSERT ON main.room_updates
    WHEN NEW.seq <> 1 + (SELECT COALESCE(MAX(seq), 0) FROM main.room_updates WHERE prompt_id = NEW.prompt_id)
BEGIN INSERT INTO seen VALUES ('1: rows are not numbered one after the other'); END;
CREATE TEMP TRIGGER pruned_behind_two BEFORE DELETE ON main.room_updates
    WHEN OLD.seq > COALESCE((SELECT snapshot_seq_older FROM prompts WHERE id = OLD.prompt_id), 0)
BEGIN INSERT INTO seen VALUES ('1: a row is deleted that the older snapshot does not hold'); END;
CREATE TEMP TABLE held (prompt_id BLOB NOT NULL);
CREATE TEMP TRIGGER held_rows_are_skipped BEFORE UPDATE OF head ON main.prompts
    WHEN EXISTS (SELECT 1 FROM held WHERE prompt_id = OLD.id)
BEGIN SELECT RAISE(IGNORE); END;
";

pub struct RunRow {
    pub id: RunId,
    pub command: CommandId,
    /// The last message of its request.
    pub asked: String,
    pub source_json: String,
    pub state: RunState,
    pub cancelled: bool,
    pub claims: Vec<(u32, u64)>,
    pub attempts: Vec<Attempted>,
    pub output: Vec<u8>,
}

pub struct Attempted {
    pub epoch: u32,
    pub settled: bool,
    pub estimated: bool,
    pub input: u64,
    pub output: u64,
}

pub struct Database(Shared);

thread_local! {
    /// Each thread has one, whose statements are prepared already.
    static USED: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

impl Database {
    /// A database with some rooms and some people.
    pub async fn fresh() -> (Database, Vec<MemberId>, Vec<PromptId>) {
        if let Some(shared) = USED.take() {
            shared.with(refurnish).expect("a database as it was");
            return (Database(shared), people(), rooms());
        }
        let shared = Shared::new();
        // Statements are planned once, and not again for each value.
        let qpsg = DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
        shared.with(|connection| connection.set_db_config(qpsg, true)).expect("stable plans");
        furnish(&Store::plain(&shared, Arc::new(NoFaults))).await;
        shared.with(|connection| connection.execute_batch(&keep())).expect("copies of all tables");
        shared.with(|connection| connection.execute_batch(TRIGGERS)).expect("triggers");
        (Database(shared), people(), rooms())
    }

    /// The next schedule of this thread may have it.
    pub fn leave(&self) {
        USED.set(Some(self.0.clone()));
    }

    /// One node's way to it.
    pub fn store(&self, link: Link) -> Store {
        Store::plain(&self.0, Arc::new(link))
    }

    /// Its way for whoever only looks, which nothing disturbs.
    pub fn undisturbed(&self) -> Store {
        Store::plain(&self.0, Arc::new(NoFaults))
    }

    pub fn with<T>(&self, ask: impl FnOnce(&Connection) -> T) -> T {
        self.0.with(ask)
    }

    /// Runs that go on, and attempts that are not settled.
    pub fn open_runs(&self) -> u64 {
        let sql = "SELECT (SELECT COUNT(*) FROM runs WHERE ended_at_ms IS NULL)
            + (SELECT COUNT(*) FROM run_attempts WHERE settled_at_ms IS NULL) WHERE ?1 IS NOT NULL";
        self.number(sql, Uuid::nil())
    }

    /// Runs that go on and that this life of a node drives.
    pub fn driven_by(&self, node: NodeId) -> u64 {
        self.number("SELECT COUNT(*) FROM runs WHERE ended_at_ms IS NULL AND node_id = ?1", node.0)
    }

    /// How far the snapshots of all rooms are, and how many rows they have made unnecessary.
    pub fn snapshots(&self) -> (u64, u64) {
        let snapshots = "SELECT COUNT(*) FROM room_snapshots WHERE ?1 IS NOT NULL";
        let pruned =
            "SELECT SUM(first - 1) FROM (SELECT MIN(seq) AS first FROM room_updates GROUP BY prompt_id)
            WHERE ?1 IS NOT NULL";
        (self.number(snapshots, Uuid::nil()), self.number(pruned, Uuid::nil()))
    }

    /// From now on somebody else holds the room's row, or nobody; false while this cannot be said.
    pub fn hold_row(&self, prompt: PromptId, holds: bool) -> bool {
        let sql =
            if holds { "INSERT INTO held VALUES (?1)" } else { "DELETE FROM held WHERE prompt_id = ?1" };
        self.with(|connection| {
            // What is done in somebody's transaction may be rolled back with it.
            let may = connection.is_autocommit();
            if may {
                connection.execute(sql, [&prompt.0.as_bytes()[..]]).expect("a statement of the simulation");
            }
            may
        })
    }

    fn number(&self, sql: &str, of: Uuid) -> u64 {
        let numbers: Vec<i64> = self.with(|connection| all(connection, sql, of, |row| row.get(0)));
        numbers.iter().sum::<i64>().cast_unsigned()
    }

    pub fn runs(&self, prompt: PromptId) -> Vec<RunRow> {
        self.with(|connection| {
            let sql = "SELECT id, command_id, source_json, state, cancel_requested_by IS NOT NULL FROM runs
                WHERE prompt_id = ?1 ORDER BY number";
            let mut runs = all(connection, sql, prompt.0, |row| {
                let source_json: String = row.get(2)?;
                Ok(RunRow {
                    id: RunId(id(row, 0)?),
                    command: CommandId(id(row, 1)?),
                    asked: asked(&source_json),
                    source_json,
                    state: RunState::parse(&row.get::<_, String>(3)?).unwrap_or(RunState::Rejected),
                    cancelled: row.get(4)?,
                    claims: Vec::new(),
                    attempts: Vec::new(),
                    output: Vec::new(),
                })
            });
            for run in &mut runs {
                run.read_rest(connection);
            }
            runs
        })
    }

    /// What the triggers have seen.
    pub fn watched(&self) -> Result<(), String> {
        let seen: Vec<String> = self.with(|connection| {
            all(connection, "SELECT statement FROM seen WHERE ?1 IS NOT NULL", Uuid::nil(), |row| row.get(0))
        });
        seen.into_iter().next().map_or(Ok(()), Err)
    }

    /// The text that a run asked for, and whether anybody still wants a run of the same text to go on.
    pub fn wanted(&self) -> Vec<(RunId, String, bool)> {
        self.with(|connection| {
            let sql = "SELECT id, source_json, ended_at_ms IS NULL AND cancel_requested_by IS NULL FROM runs
                WHERE ?1 IS NOT NULL";
            all(connection, sql, Uuid::nil(), |row| {
                Ok((RunId(id(row, 0)?), asked(&row.get::<_, String>(1)?), row.get(2)?))
            })
        })
    }

    /// How many attempts at this text are written down.
    pub fn attempts_at(&self, text: &str) -> u64 {
        self.with(|connection| {
            let sql =
                "SELECT source_json FROM run_attempts JOIN runs ON runs.id = run_id WHERE ?1 IS NOT NULL";
            let sources: Vec<String> = all(connection, sql, Uuid::nil(), |row| row.get(0));
            sources.iter().filter(|source| asked(source) == text).count() as u64
        })
    }
}

impl RunRow {
    fn read_rest(&mut self, connection: &Connection) {
        let id = self.id.0;
        self.claims = all(
            connection,
            "SELECT epoch, start FROM run_claims WHERE run_id = ?1 ORDER BY epoch",
            id,
            |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())),
        );
        let sql = "SELECT epoch, settled_at_ms IS NOT NULL, estimated, input_tokens, output_tokens
            FROM run_attempts WHERE run_id = ?1 ORDER BY admitted_at_ms, id";
        self.attempts = all(connection, sql, id, |row| {
            Ok(Attempted {
                epoch: row.get(0)?,
                settled: row.get(1)?,
                estimated: row.get(2)?,
                input: row.get::<_, i64>(3)?.cast_unsigned(),
                output: row.get::<_, i64>(4)?.cast_unsigned(),
            })
        });
        let sql = "SELECT bytes FROM run_outputs WHERE run_id = ?1 ORDER BY start";
        let parts: Vec<Vec<u8>> = all(connection, sql, id, |row| row.get(0));
        self.output = parts.concat();
    }
}

struct NoFaults;

impl Hook for NoFaults {
    fn before(&self, _step: Step) -> BoxFuture<'_, Verdict> {
        Box::pin(std::future::ready(Verdict::Go))
    }
}

/// What a schedule changes, in an order in which it can be filled.
const TABLES: [&str; 12] = [
    "workspaces",
    "principals",
    "prompts",
    "slugs",
    "room_updates",
    "room_snapshots",
    "runs",
    "run_claims",
    "run_attempts",
    "run_chunks",
    "run_outputs",
    "nodes",
];

/// Remembers how all tables are now.
fn keep() -> String {
    TABLES
        .iter()
        .map(|table| format!("CREATE TEMP TABLE kept_{table} AS SELECT * FROM main.{table};"))
        .collect()
}

/// Makes all tables as they were.
fn refurnish(connection: &Connection) -> rusqlite::Result<()> {
    let run = |sql: &str| connection.prepare_cached(sql)?.raw_execute().map(drop);
    run("BEGIN")?;
    for table in TABLES.iter().rev() {
        run(&format!("DELETE FROM main.{table}"))?;
    }
    for table in TABLES {
        run(&format!("INSERT INTO main.{table} SELECT * FROM temp.kept_{table}"))?;
    }
    run("DELETE FROM seen")?;
    run("DELETE FROM held")?;
    run("COMMIT")
}

fn rooms() -> Vec<PromptId> {
    (0..ROOMS).map(|number| PromptId(Uuid::from_u128(100 + number))).collect()
}

fn people() -> Vec<MemberId> {
    (1..=PEOPLE).map(|number| MemberId(Uuid::from_u128(number))).collect()
}

/// People who may edit, and prompts of the workspace's.
async fn furnish(store: &Store) {
    for id in people() {
        let new = NewPrincipal {
            id,
            kind: PrincipalKind::Person,
            name: format!("Person {}", id.0.as_u128()),
            role: Role::Editor,
            token: None,
            now_ms: 1,
        };
        store.add_principal(&new).await.expect("a person");
    }
    for id in rooms() {
        let number = id.0.as_u128();
        let new = NewPrompt {
            id,
            lineage: LineageId(Uuid::from_u128(number + 100)),
            slug: format!("room-{number}"),
            owner: people()[0],
            visibility: Visibility::Workspace,
            title: "Room".to_owned(),
            first_row: first_state(1, &ContentPatch::default(), "stops/markdown")
                .expect("a first state")
                .into(),
            now_ms: 2,
        };
        store.create_prompt(&new).await.expect("a prompt");
    }
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    of: Uuid,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut statement = connection.prepare_cached(sql).expect("a statement of the simulation");
    let rows = statement.query_map([&of.as_bytes()[..]], read).expect("rows");
    rows.collect::<rusqlite::Result<_>>().expect("readable rows")
}

fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    let bytes: Vec<u8> = row.get(column)?;
    Ok(Uuid::from_slice(&bytes).unwrap_or_default())
}

/// What a run asked the model.
fn asked(source_json: &str) -> String {
    let source: Option<crate::domain::run::Source> = serde_json::from_str(source_json).ok();
    let last = source.and_then(|source| source.request.messages.into_iter().next_back());
    last.map(|message| message.text).unwrap_or_default()
}
