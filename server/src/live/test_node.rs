//! Nodes without any edge, for tests: alone with their database, or several over one.

use super::{
    checkpoint::Checkpoint,
    reaper::Reaper,
    runs::{Runs, RunsParts},
    start::{Start, new_run},
    tape::{Next, Reader},
    tasks::Tasks,
    test_faults::{Life, Line},
    upkeep::SnapshotPace,
};
use crate::bus::{Bus, Ears, Heard, Local, Note};
use crate::domain::{
    gate::GateLimits,
    prompt::{ChatMessage, Cut, MessageRole, ModelRequest, Parameters, PromptContent},
    rights::Visibility,
};
use crate::model::{Models, ModelsConfig};
use crate::store::{CreateOutcome, NewPrincipal, NewPrompt, NodeId, PrincipalKind, Store, plain::Shared};
use bytes::Bytes;
use promptroom_protocol::{
    CommandId, LineageId, MemberId, Person, PromptId, Role, RunCursor, RunId, RunSummary, ServerFrame,
};
use sqlx::{Connection as _, SqliteConnection};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Notify;
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(120);

/// A node with the demo models, one person and one prompt.
pub struct Node {
    pub runs: Arc<Runs>,
    pub store: Arc<Store>,
    pub tasks: Tasks,
    pub ann: Person,
    pub prompt: PromptId,
    pub life: Life,
    /// Of its heartbeat alone, and of what it does about the death of others.
    pub pulse: Life,
    /// Between it and the database.
    pub line: Arc<Line>,
    database: Database,
    local: Arc<Local>,
    pace_ms: u64,
}

#[derive(Clone)]
enum Database {
    /// Of a node that is alone.
    File(Arc<tempfile::TempDir>),
    /// Of several nodes, on the clock of the test.
    Memory(Shared),
}

/// Whether a node listens to what others tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    Good,
    /// Every note is lost.
    Deaf,
}

impl Node {
    /// Alone with its database, which is a file.
    pub async fn start(pace_ms: u64) -> Node {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let store = Arc::new(Store::open(&url(&directory)).await.unwrap());
        store.migrate().await.unwrap();
        let known = populate(&store).await;
        let (local, _ears) = Local::alone();
        Node::open(Database::File(directory), store, Arc::default(), known, local, pace_ms)
    }

    /// The first of several nodes over one database in memory.
    pub async fn first(pace_ms: u64, hearing: Hearing) -> Node {
        let (shared, line) = (Shared::new(), Arc::<Line>::default());
        let store = Arc::new(Store::plain(&shared, line.clone()));
        let known = populate(&store).await;
        let (local, ears) = Local::alone();
        let node = Node::open(Database::Memory(shared), store, line, known, local, pace_ms);
        node.begin(ears, hearing).await
    }

    /// One more of them.
    pub async fn beside(&self, hearing: Hearing) -> Node {
        let Database::Memory(shared) = &self.database else { panic!("a file is for one node") };
        let (local, ears) = self.local.join();
        let line = Arc::<Line>::default();
        let store = Arc::new(Store::plain(shared, line.clone()));
        let known = (self.ann.clone(), self.prompt);
        let node = Node::open(self.database.clone(), store, line, known, local, self.pace_ms);
        node.begin(ears, hearing).await
    }

    fn open(
        database: Database,
        store: Arc<Store>,
        line: Arc<Line>,
        (ann, prompt): (Person, PromptId),
        local: Arc<Local>,
        pace_ms: u64,
    ) -> Node {
        let config = ModelsConfig { demo: true, demo_pace_ms: Some(pace_ms), ..ModelsConfig::default() };
        let (life, pulse) = (Life::default(), Life::default());
        let tasks = Tasks::governed(Arc::new(life.clone()));
        let runs = Runs::new(RunsParts {
            store: store.clone(),
            models: Arc::new(Models::open(config).unwrap()),
            checkpoint: Checkpoint::start(store.clone(), &tasks),
            bus: Bus::Local(local.clone()),
            limits: GateLimits::default(),
            node: NodeId(Uuid::new_v4()),
            alone: matches!(database, Database::File(_)),
            tasks: tasks.clone(),
        });
        Node { runs, store, tasks, ann, prompt, life, pulse, line, database, local, pace_ms }
    }

    async fn begin(self, mut ears: Ears, hearing: Hearing) -> Node {
        let runs = self.runs.clone();
        self.tasks.spawn(async move {
            while let Some(heard) = ears.recv().await {
                match heard {
                    _ if hearing == Hearing::Deaf => {}
                    Heard::Missed => runs.heard_missed(),
                    Heard::Note { note: Note::Run(run), .. } => runs.heard_run(&run),
                    Heard::Note { note: Note::Output { run, epoch, offset, pieces }, .. } => {
                        runs.heard_output(run, epoch, offset, pieces);
                    }
                    Heard::Note { note: Note::Cancel { run, by }, .. } => runs.heard_cancel(run, by),
                    Heard::Note { .. } => {}
                }
            }
        });
        let pulse = Tasks::governed(Arc::new(self.pulse.clone()));
        let ready = Reaper::start(self.store.clone(), self.runs.clone(), SnapshotPace::default(), &pulse);
        tokio::time::timeout(PATIENCE, ready).await.unwrap().unwrap_err();
        self
    }

    pub fn asking(&self, command: CommandId, model: &str) -> Start {
        Start::from_cut(self.prompt, command, self.ann.clone(), cut(model))
    }

    pub async fn run(&self, model: &str) -> RunSummary {
        self.run_as(CommandId(Uuid::new_v4()), model).await
    }

    pub async fn run_as(&self, command: CommandId, model: &str) -> RunSummary {
        self.runs.run(self.prompt, command, self.ann.clone(), Ok(cut(model))).await.unwrap()
    }

    /// A run as a node leaves it that dies at once after the commit.
    pub async fn leave_behind(&self, command: CommandId, driver: NodeId) -> RunId {
        let id = RunId(Uuid::now_v7());
        let model = self.runs.models.find("demo/markdown").unwrap();
        let new = new_run(id, driver, &self.asking(command, "demo/markdown"), &model).unwrap();
        self.store.start_run(&new).await.unwrap();
        id
    }

    /// Resolves when this node drives nothing.
    pub async fn until_idle(&self) {
        let waiting = async {
            while self.runs.going() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("in time");
    }

    pub async fn until_over(&self, run: RunId) -> RunSummary {
        self.until(run, |run| run.state.is_terminal()).await
    }

    pub async fn until(&self, run: RunId, wanted: impl Fn(&RunSummary) -> bool) -> RunSummary {
        let waiting = async {
            loop {
                let summary = self.store.run(run).await.unwrap().unwrap();
                if wanted(&summary) {
                    return summary;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("in time")
    }

    /// Does to the file what no statement of ours does.
    pub async fn damage(&self, statement: &'static str, run: RunId) {
        let Database::File(directory) = &self.database else { panic!("only a file is damaged") };
        let mut connection = SqliteConnection::connect(&url(directory)).await.unwrap();
        sqlx::query(statement).bind(run.0).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Attempts of the run, and how many of them nobody has settled.
    pub fn attempts(&self, run: RunId) -> (i64, i64) {
        let Database::Memory(shared) = &self.database else { panic!("only of several nodes") };
        let count = "SELECT COUNT(*), COUNT(*) - COUNT(settled_at_ms) FROM run_attempts WHERE run_id = ?1";
        shared.with(|database| {
            database.query_row(count, [run.0.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
        })
    }

    /// As `SIGKILL` does.
    pub fn kill(&self) {
        self.life.kill();
        self.pulse.kill();
    }

    /// As `SIGSTOP` does: time goes on.
    pub fn pause(&self) {
        self.life.pause();
        self.pulse.pause();
    }

    pub fn go_on(&self) {
        self.life.go_on();
        self.pulse.go_on();
    }

    /// Whether the reader is told the end; false if it is sent away.
    pub async fn read_to_the_end(&self, run: RunId) -> bool {
        self.view(run, RunCursor::START, "").await.is_told_the_end
    }

    /// Reads the run as a viewer does that holds `text` and comes with `cursor`.
    pub async fn view(&self, run: RunId, cursor: RunCursor, text: &str) -> Seen {
        let tape = self.runs.tape(self.prompt, run).await.unwrap();
        let bell = Arc::new(Notify::new());
        let reader = tape.read_from(cursor, &bell);
        drop(tape);
        tokio::time::timeout(PATIENCE, read(reader, &bell, text)).await.expect("an end or a way to go on")
    }

    /// All that the store holds of a run's output.
    pub async fn stored(&self, run: RunId) -> String {
        let output = self.store.run_output(run).await.unwrap().unwrap();
        let bytes: Vec<u8> = output.records.iter().flat_map(|record| record.bytes.to_vec()).collect();
        String::from_utf8(bytes).unwrap()
    }
}

/// What a viewer has seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub text: String,
    pub rewinds: Vec<RunCursor>,
    pub is_told_the_end: bool,
}

async fn read(mut reader: Reader, bell: &Notify, text: &str) -> Seen {
    let mut seen = Seen { text: text.to_owned(), ..Seen::default() };
    loop {
        let frame = match reader.next_frame() {
            Next::Frame(frame) => frame,
            Next::Last(_) => return Seen { is_told_the_end: true, ..seen },
            Next::Abandoned => return seen,
            Next::Wait => {
                bell.notified().await;
                continue;
            }
        };
        match ServerFrame::decode(&frame).unwrap() {
            ServerFrame::Records(records) => {
                assert_eq!(records.offset.0, seen.text.len() as u64, "nothing is left out or sent twice");
                for (_, _, bytes) in records.records {
                    seen.text.push_str(std::str::from_utf8(&bytes).expect("whole characters"));
                }
            }
            ServerFrame::Rewind { epoch, offset, .. } => {
                seen.text.truncate(offset.0 as usize);
                seen.rewinds.push(RunCursor { epoch, offset });
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A person and a prompt.
async fn populate(store: &Store) -> (Person, PromptId) {
    let ann = NewPrincipal {
        id: MemberId(Uuid::new_v4()),
        kind: PrincipalKind::Person,
        name: "Ann".to_owned(),
        role: Role::Editor,
        token: None,
        now_ms: 1,
    };
    store.add_principal(&ann).await.unwrap();
    let new = NewPrompt {
        id: PromptId(Uuid::new_v4()),
        lineage: LineageId(Uuid::new_v4()),
        slug: "tea".to_owned(),
        owner: ann.id,
        visibility: Visibility::Workspace,
        title: "Tea".to_owned(),
        first_row: Bytes::from_static(b"row"),
        now_ms: 2,
    };
    let CreateOutcome::Created(prompt) = store.create_prompt(&new).await.unwrap() else {
        panic!("not created")
    };
    (Person { id: ann.id, name: ann.name, role: ann.role, client: None }, prompt.id)
}

fn url(directory: &tempfile::TempDir) -> String {
    format!("sqlite://{}", directory.path().join("promptroom.db").display())
}

pub fn cut(model: &str) -> Cut {
    let request = ModelRequest {
        model: model.split_once('/').unwrap().1.to_owned(),
        system: None,
        messages: vec![ChatMessage { role: MessageRole::User, text: "Write about tea.".to_owned() }],
        parameters: Parameters {
            temperature: None,
            top_p: None,
            max_tokens: None,
            stop: Vec::new(),
            seed: None,
        },
        prefill: None,
    };
    Cut {
        variant_id: "main".to_owned(),
        model_id: model.to_owned(),
        request,
        values: BTreeMap::new(),
        unset: Vec::new(),
        source: PromptContent::default(),
    }
}

pub fn other_node() -> NodeId {
    NodeId(Uuid::new_v4())
}
