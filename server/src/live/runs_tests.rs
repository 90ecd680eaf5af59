//! Runs without any edge: what becomes of them when the store, their driver or the model does not do as it should.

use super::{
    checkpoint::Checkpoint,
    clock::now_ms,
    reaper::Reaper,
    runs::{Runs, Start, new_run},
    tape::{Next, Reader},
    tasks::Tasks,
};
use crate::domain::{
    gate::GateLimits,
    prompt::{ChatMessage, Cut, MessageRole, ModelRequest, Parameters, PromptContent},
    refusal::Refusal,
    rights::Visibility,
};
use crate::model::{Models, ModelsConfig};
use crate::store::{
    Claim, ClaimOutcome, CreateOutcome, NewPrincipal, NewPrompt, NodeId, PrincipalKind, Store,
};
use bytes::Bytes;
use promptroom_protocol::{
    CommandId, LineageId, MemberId, Person, PromptId, Role, RunCursor, RunId, RunState, RunSummary, Usage,
};
use sqlx::{Connection as _, SqliteConnection};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::Notify;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(20);

/// A node with the demo models, one person and one prompt.
struct Node {
    runs: Arc<Runs>,
    store: Arc<Store>,
    tasks: Tasks,
    ann: Person,
    prompt: PromptId,
    directory: tempfile::TempDir,
}

impl Node {
    async fn start(pace_ms: u64) -> Node {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&url(&directory)).await.unwrap());
        store.migrate().await.unwrap();
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
        let config = ModelsConfig { demo: true, demo_pace_ms: Some(pace_ms), ..ModelsConfig::default() };
        let models = Arc::new(Models::open(config).unwrap());
        let tasks = Tasks::default();
        let checkpoint = Checkpoint::start(store.clone(), &tasks);
        let node = NodeId(Uuid::new_v4());
        let runs = Runs::new(store.clone(), models, checkpoint, GateLimits::default(), node, tasks.clone());
        let ann = Person { id: ann.id, name: ann.name, role: ann.role, client: None };
        Node { runs, store, tasks, ann, prompt: prompt.id, directory }
    }

    fn asking(&self, command: CommandId, model: &str) -> Start {
        Start::from_cut(self.prompt, command, self.ann.clone(), cut(model))
    }

    async fn run(&self, model: &str) -> RunSummary {
        let command = CommandId(Uuid::new_v4());
        self.runs.run(self.prompt, command, self.ann.clone(), Ok(cut(model))).await.unwrap()
    }

    /// A run as a node leaves it that dies at once after the commit.
    async fn leave_behind(&self, command: CommandId, driver: NodeId) -> RunId {
        let id = RunId(Uuid::now_v7());
        let model = self.runs.models.find("demo/markdown").unwrap();
        let new = new_run(id, driver, &self.asking(command, "demo/markdown"), &model).unwrap();
        self.store.start_run(&new).await.unwrap();
        id
    }

    async fn until_over(&self, run: RunId) -> RunSummary {
        self.until(run, |run| run.state.is_terminal()).await
    }

    async fn until(&self, run: RunId, wanted: impl Fn(&RunSummary) -> bool) -> RunSummary {
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

    /// Does to the database what no statement of ours does.
    async fn damage(&self, statement: &'static str, run: RunId) {
        let mut connection = SqliteConnection::connect(&url(&self.directory)).await.unwrap();
        sqlx::query(statement).bind(run.0).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn read_to_the_end(&self, run: RunId) -> bool {
        let bell = Arc::new(Notify::new());
        let tape = self.runs.tape(self.prompt, run).await.unwrap();
        let reader = tape.read_from(RunCursor::START, &bell);
        drop(tape);
        last(reader, &bell).await
    }
}

fn url(directory: &tempfile::TempDir) -> String {
    format!("sqlite://{}", directory.path().join("promptroom.db").display())
}

fn cut(model: &str) -> Cut {
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

/// Whether the reader is told the end; false if it is sent away.
async fn last(mut reader: Reader, bell: &Notify) -> bool {
    let reading = async {
        loop {
            match reader.next_frame() {
                Next::Frame(_) => {}
                Next::Last(_) => return true,
                Next::Abandoned => return false,
                Next::Wait => bell.notified().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an end or a way to go on")
}

fn other_node() -> NodeId {
    NodeId(Uuid::new_v4())
}

#[tokio::test]
async fn a_run_that_nobody_drives_is_not_shown_as_one_that_goes_on_for_ever() {
    let node = Node::start(0).await;
    let run = node.leave_behind(CommandId(Uuid::new_v4()), other_node()).await;
    let refused = node.runs.tape(node.prompt, run).await.err();
    assert_eq!(refused, Some(Refusal::StoreUnavailable));
    node.runs.recover(run).await.unwrap();
    assert!(node.read_to_the_end(run).await);
    assert_eq!(node.until_over(run).await.state, RunState::Completed);
}

#[tokio::test]
async fn the_readers_of_a_run_that_another_driver_has_are_sent_to_look_for_it_anew() {
    let node = Node::start(20).await;
    let run = node.run("demo/markdown").await;
    let reading = node.read_to_the_end(run.id);
    let claiming = async {
        node.until(run.id, |run| run.bytes.0 > 0).await;
        let claim =
            Claim { run: run.id, seen: run.epoch, node: other_node(), trim_to: None, now_ms: now_ms() };
        let claimed = node.store.claim_run(&claim, super::billing::estimate).await.unwrap();
        assert!(matches!(claimed, ClaimOutcome::Claimed { .. }));
    };
    let (told_the_end, ()) = tokio::join!(reading, claiming);
    assert!(!told_the_end, "it goes on elsewhere");
    assert_eq!(node.runs.going(), 0);
    // Nobody drives it now: it is taken over, and shows what both attempts used.
    node.runs.recover(run.id).await.unwrap();
    assert!(node.read_to_the_end(run.id).await);
    let over = node.until_over(run.id).await;
    assert_eq!((over.state, over.attempts, over.epoch.0), (RunState::Completed, 2, 3));
}

#[tokio::test]
async fn a_damaged_run_does_not_keep_the_others_from_being_taken_over() {
    let node = Node::start(0).await;
    let bad = node.leave_behind(CommandId(Uuid::new_v4()), other_node()).await;
    let good = node.leave_behind(CommandId(Uuid::new_v4()), other_node()).await;
    node.damage("UPDATE runs SET stored = 5 WHERE id = $1", bad).await;
    let taken_over = Reaper::start(node.store.clone(), node.runs.clone(), &node.tasks);
    tokio::time::timeout(PATIENCE, taken_over).await.unwrap().unwrap_err();
    assert_eq!(node.until_over(good).await.state, RunState::Completed);
    assert_eq!(node.store.run(bad).await.unwrap().unwrap().ended_at_ms, None);
}

#[tokio::test]
async fn a_run_that_cannot_be_written_does_not_keep_the_others_from_being_written() {
    let node = Node::start(500).await;
    let (bad, good) = (node.run("demo/markdown").await.id, node.run("demo/markdown").await.id);
    // Before the first token there is nothing yet in its place.
    node.damage(
        "INSERT INTO run_chunks (run_id, start, workspace_id, epoch, block, kind, bytes)
         SELECT id, 0, workspace_id, 1, 0, 0, x'00' FROM runs WHERE id = $1",
        bad,
    )
    .await;
    assert!(!node.read_to_the_end(bad).await, "its readers are sent away");
    node.until(good, |run| run.bytes.0 > 0).await;
}

#[tokio::test]
async fn a_run_whose_start_was_in_doubt_is_driven_when_its_author_asks_again() {
    let node = Node::start(0).await;
    let command = CommandId(Uuid::new_v4());
    let run = node.leave_behind(command, node.runs.node).await;
    let repeat = || node.runs.run(node.prompt, command, node.ann.clone(), Ok(cut("demo/markdown")));
    assert_eq!(repeat().await.unwrap().id, run);
    let over = node.until_over(run).await;
    assert_eq!((over.state, over.attempts), (RunState::Completed, 1));
    assert_eq!(repeat().await.unwrap().id, run);
}

#[tokio::test]
async fn a_repeated_command_is_answered_before_any_refusal_and_only_for_its_own_prompt() {
    let node = Node::start(0).await;
    let command = CommandId(Uuid::new_v4());
    let ask = |prompt, cut| node.runs.run(prompt, command, node.ann.clone(), cut);
    let run = ask(node.prompt, Ok(cut("demo/markdown"))).await.unwrap();
    assert_eq!(ask(node.prompt, Ok(cut("gone/model"))).await.unwrap().id, run.id);
    let refused = || Err(Refusal::RunBadRequest { detail: "This prompt has no such variant.".to_owned() });
    assert_eq!(ask(node.prompt, refused()).await.unwrap().id, run.id);
    assert_eq!(ask(PromptId(Uuid::new_v4()), refused()).await, Err(Refusal::IdempotencyConflict));
    let fresh = CommandId(Uuid::new_v4());
    let refusal = node.runs.run(node.prompt, fresh, node.ann.clone(), refused()).await.unwrap_err();
    assert_eq!(refusal.code(), "run.bad_request");
    node.tasks.drain();
    assert_eq!(ask(node.prompt, Ok(cut("demo/markdown"))).await.unwrap().id, run.id);
}

#[tokio::test]
async fn a_run_that_cannot_be_admitted_ends_as_failed() {
    let node = Node::start(0).await;
    let run = node.leave_behind(CommandId(Uuid::new_v4()), other_node()).await;
    // No attempt can be written for it any more.
    node.damage(
        "CREATE TRIGGER refuse BEFORE INSERT ON run_attempts BEGIN SELECT RAISE(ABORT, 'refused'); END",
        run,
    )
    .await;
    node.runs.recover(run).await.unwrap();
    let over = node.until_over(run).await;
    assert_eq!(
        (over.state, over.problem.map(|problem| problem.code)),
        (RunState::Failed, Some("internal".to_owned()))
    );
    assert_eq!(node.runs.going(), 0);
}

#[tokio::test]
async fn a_stop_in_the_pause_between_two_calls_is_free() {
    let node = Node::start(0).await;
    let run = node.run("demo/overloaded").await;
    // It was refused, and waits.
    let told = async {
        while node.runs.tape(node.prompt, run.id).await.unwrap().summary().problem.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
    node.runs.cancel(node.prompt, run.id, node.ann.id).await.unwrap();
    let over = node.until_over(run.id).await;
    assert_eq!((over.state, over.usage), (RunState::Cancelled, Some(Usage::default())));
}

#[tokio::test]
async fn what_a_stopped_run_came_to_is_told_though_it_is_over() {
    let node = Node::start(20).await;
    let run = node.run("demo/markdown").await;
    let tape = node.runs.tape(node.prompt, run.id).await.unwrap();
    node.runs.cancel(node.prompt, run.id, node.ann.id).await.unwrap();
    let over = node.until_over(run.id).await;
    let settled = RunSummary { usage: Some(Usage { output_tokens: 7, ..Usage::default() }), ..over };
    node.runs.announce(&settled);
    assert_eq!(tape.summary().usage, settled.usage);
}
