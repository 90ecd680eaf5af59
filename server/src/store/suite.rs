//! What the store promises, asked of every database that it runs on.

mod people;
mod prompts;
mod rooms;
mod snapshots;
mod runs;
mod progress;
mod claims;

use super::*;
use crate::domain::rights::Visibility;
use bytes::Bytes;
use promptroom_protocol::{CommandId, LineageId, MemberId, PromptId, Role, RunId, RunOrigin, RunSummary};
use sqlx::{Executor as _, SqlSafeStr as _};

/// Runs a test on an empty, migrated store of each kind.
async fn on_each_database(test: impl AsyncFn(Store)) {
    let directory = tempfile::tempdir().unwrap();
    let store = open_in(&directory).await;
    test(store.clone()).await;
    store.close().await;
}

pub(super) async fn open_in(directory: &tempfile::TempDir) -> Store {
    let store = Store::open(&url_in(directory)).await.unwrap();
    store.migrate().await.unwrap();
    store
}

pub(super) fn url_in(directory: &tempfile::TempDir) -> String {
    format!("sqlite://{}", directory.path().join("promptroom.db").display())
}

pub(super) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) async fn add_person(store: &Store, name: &str, role: Role) -> Principal {
    let new = NewPrincipal {
        id: MemberId(Uuid::new_v4()),
        kind: PrincipalKind::Person,
        name: name.to_owned(),
        role,
        token: None,
        now_ms: 1_000,
    };
    store.add_principal(&new).await.unwrap()
}

pub(super) fn new_prompt(owner: &Principal, slug: &str) -> NewPrompt {
    NewPrompt {
        id: PromptId(Uuid::new_v4()),
        lineage: LineageId(Uuid::new_v4()),
        slug: slug.to_owned(),
        owner: owner.id,
        visibility: Visibility::Workspace,
        title: "First".to_owned(),
        first_row: bytes("row 1"),
        now_ms: 2_000,
    }
}

pub(super) async fn add_prompt(store: &Store, owner: &Principal, slug: &str) -> PromptRow {
    match store.create_prompt(&new_prompt(owner, slug)).await.unwrap() {
        CreateOutcome::Created(prompt) => prompt,
        other => panic!("not created: {other:?}"),
    }
}

/// Rows for a room as it is now.
pub(super) async fn rows_for(store: &Store, prompt: &PromptRow, rows: &[&str]) -> RoomRows {
    RoomRows {
        prompt: prompt.id,
        lineage: prompt.lineage,
        rights_epoch: store.workspace().await.unwrap().rights_epoch,
        rows: rows.iter().map(|row| bytes(row)).collect(),
        title: None,
        now_ms: 3_000,
    }
}

fn new_run(prompt: &PromptRow, by: &Principal, node: NodeId) -> NewRun {
    NewRun {
        id: RunId(Uuid::new_v4()),
        prompt: prompt.id,
        command: CommandId(Uuid::new_v4()),
        by: by.id,
        node,
        origin: RunOrigin::Run,
        parent: None,
        variant: "main".to_owned(),
        model: "demo/markdown".to_owned(),
        parameters: serde_json::json!({"temperature": 0.5}),
        request_json: "{\"request\":1}".to_owned(),
        source_json: "{\"source\":1}".to_owned(),
        hash: "abc".to_owned(),
        now_ms: 4_000,
    }
}

async fn start_run(store: &Store, node: NodeId) -> RunSummary {
    let person = add_person(store, "Ada", Role::Editor).await;
    let prompt = add_prompt(store, &person, &Uuid::new_v4().to_string()).await;
    match store.start_run(&new_run(&prompt, &person, node)).await.unwrap() {
        StartOutcome::Started(run) => run,
        other => panic!("not started: {other:?}"),
    }
}

fn node() -> NodeId {
    NodeId(Uuid::new_v4())
}

#[tokio::test]
async fn every_statement_is_accepted_by_the_database() {
    on_each_database(async |store| {
        let mut connection = store.db.read().await.unwrap();
        let all = [
            access::STATEMENTS,
            attempts::STATEMENTS,
            super::claims::STATEMENTS,
            commit::STATEMENTS,
            super::people::STATEMENTS,
            super::prompts::STATEMENTS,
            super::rooms::STATEMENTS,
            super::runs::STATEMENTS,
            super::snapshots::STATEMENTS,
            summary::STATEMENTS,
        ];
        for statement in all.into_iter().flatten() {
            let prepared = (&mut *connection).prepare(statement.into_sql_str()).await;
            assert!(prepared.is_ok(), "{statement}: {:?}", prepared.err());
        }
    })
    .await;
}
