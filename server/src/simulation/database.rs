//! The one database of all nodes, with triggers that watch what no statement of ours may ever do.

use super::{faults::Link, replica::Replica};
use crate::domain::{document::first_state, prompt::ContentPatch, rights::Visibility};
use crate::store::{
    NewPrincipal, NewPrompt, PrincipalKind, Store,
    plain::{Hook, Shared, Step, Verdict},
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use promptroom_protocol::{CommandId, LineageId, MemberId, PromptId, Role, RunId, RunState};
use rusqlite::{Connection, Row};
use std::{cell::RefCell, sync::Arc};
use uuid::Uuid;

const PEOPLE: u128 = 4;
const PROMPT: PromptId = PromptId(Uuid::from_u128(100));
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
    /// A database with one prompt and some people.
    pub async fn fresh() -> (Database, Vec<MemberId>, PromptId) {
        if let Some(shared) = USED.take() {
            shared.with(|connection| connection.execute_batch(&refurnish())).expect("a database as it was");
            return (Database(shared), people(), PROMPT);
        }
        let shared = Shared::new();
        furnish(&Store::plain(&shared, Arc::new(NoFaults))).await;
        shared.with(|connection| connection.execute_batch(&keep())).expect("copies of all tables");
        shared.with(|connection| connection.execute_batch(TRIGGERS)).expect("triggers");
        (Database(shared), people(), PROMPT)
    }

    /// The next schedule of this thread may have it.
    pub fn leave(&self) {
        USED.set(Some(self.0.clone()));
    }

    /// One node's way to it.
    pub fn store(&self, link: Link) -> Store {
        Store::plain(&self.0, Arc::new(link))
    }

    fn with<T>(&self, ask: impl FnOnce(&Connection) -> T) -> T {
        self.0.with(ask)
    }

    /// Runs that go on, and attempts that are not settled.
    pub fn open_runs(&self, prompt: PromptId) -> u64 {
        let sql = "SELECT (SELECT COUNT(*) FROM runs WHERE prompt_id = ?1 AND ended_at_ms IS NULL)
            + (SELECT COUNT(*) FROM run_attempts WHERE settled_at_ms IS NULL)";
        let open: Vec<i64> = self.with(|connection| all(connection, sql, prompt.0, |row| row.get(0)));
        open.iter().sum::<i64>().cast_unsigned()
    }

    /// The rows of a room's document, in order.
    pub fn rows(&self, prompt: PromptId) -> Vec<Vec<u8>> {
        self.with(|connection| {
            let sql = "SELECT bytes FROM room_updates WHERE prompt_id = ?1 ORDER BY seq";
            all(connection, sql, prompt.0, |row| row.get(0))
        })
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

/// The room's document as the database has it, followed row by row.
pub struct Stored {
    database: Arc<Database>,
    prompt: PromptId,
    followed: Mutex<(i64, Replica)>,
}

impl Stored {
    pub fn new(database: Arc<Database>, prompt: PromptId) -> Stored {
        Stored { database, prompt, followed: Mutex::new((0, Replica::new(1))) }
    }

    /// Nothing while somebody is in the middle of a transaction, whose rows may yet be none.
    pub fn text(&self) -> Option<String> {
        let (seen, replica) = &mut *self.followed.lock();
        let rows: Option<Vec<Vec<u8>>> = self.database.with(|connection| {
            let sql = "SELECT bytes FROM room_updates WHERE prompt_id = ?1 AND seq > ?2 ORDER BY seq";
            connection.is_autocommit().then(|| {
                let mut statement = connection.prepare_cached(sql).expect("a statement of the simulation");
                let rows = statement.query_map((&self.prompt.0.as_bytes()[..], *seen), |row| row.get(0));
                rows.expect("rows").collect::<rusqlite::Result<_>>().expect("readable rows")
            })
        });
        for row in rows? {
            *seen += 1;
            // One that does not fit is told of at the end.
            let _fits = replica.apply(&row);
        }
        Some(replica.text())
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
fn refurnish() -> String {
    let empty = TABLES.iter().rev().map(|table| format!("DELETE FROM main.{table};"));
    let fill =
        TABLES.iter().map(|table| format!("INSERT INTO main.{table} SELECT * FROM temp.kept_{table};"));
    let body: String = empty.chain(fill).collect();
    format!("BEGIN; {body} DELETE FROM seen; COMMIT;")
}

fn people() -> Vec<MemberId> {
    (1..=PEOPLE).map(|number| MemberId(Uuid::from_u128(number))).collect()
}

/// People who may edit, and a prompt of the workspace's.
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
    let new = NewPrompt {
        id: PROMPT,
        lineage: LineageId(Uuid::from_u128(101)),
        slug: "room".to_owned(),
        owner: people()[0],
        visibility: Visibility::Workspace,
        title: "Room".to_owned(),
        first_row: first_state(1, &ContentPatch::default(), "stops/markdown").expect("a first state").into(),
        now_ms: 2,
    };
    store.create_prompt(&new).await.expect("a prompt");
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
