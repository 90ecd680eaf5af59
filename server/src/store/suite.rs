//! What the store promises, asked of every database that it runs on.

mod people;
mod prompts;
mod rooms;
mod snapshots;
mod runs;
pub(super) mod progress;
pub(super) mod claims;
mod nodes;
mod followed;
mod databases;

use super::*;
use crate::domain::rights::Visibility;
use bytes::Bytes;
pub(super) use databases::{on_each_database, open_in, postgres, url_in};
use promptroom_protocol::{
    CommandId, LineageId, MemberId, PromptId, Role, RunId, RunOrigin, RunSummary, Seq,
};

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
        base: Seq(1),
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

pub(super) async fn start_run(store: &Store, node: NodeId) -> RunSummary {
    let person = add_person(store, "Ada", Role::Editor).await;
    let prompt = add_prompt(store, &person, &Uuid::new_v4().to_string()).await;
    match store.start_run(&new_run(&prompt, &person, node)).await.unwrap() {
        StartOutcome::Started(run) => run,
        other => panic!("not started: {other:?}"),
    }
}

/// Something in every table that a room alone does not fill.
pub(super) async fn fill(store: &Store, person: &Principal, prompt: &PromptRow) {
    use promptroom_protocol::{Epoch, Offset, RunState, Seq};
    let hash = |byte| SecretHash([byte; 32]);
    store.add_sign_in_link(hash(1), LinkFor::Principal(person.id), 10).await.unwrap();
    store.add_sign_in_link(hash(2), LinkFor::Principal(person.id), 10).await.unwrap();
    store.use_sign_in_link(hash(2), hash(3), 1).await.unwrap().unwrap();
    let invite = NewInvite {
        id: Uuid::new_v4(),
        hash: hash(4),
        role: Role::Viewer,
        by: person.id,
        now_ms: 1,
        expires_at_ms: 10,
    };
    store.add_invite(&invite).await.unwrap();
    let snapshot = bytes("snapshot");
    let digest: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&snapshot).into();
    assert!(store.put_snapshot(prompt.id, prompt.lineage, Seq(2), snapshot, digest, None).await.unwrap());
    let me = node();
    store.add_node(me, 1).await.unwrap();
    let mut parent = None;
    for ends in [true, false] {
        let new = NewRun { parent, ..new_run(prompt, person, me) };
        let StartOutcome::Started(run) = store.start_run(&new).await.unwrap() else { panic!("not started") };
        store.admit_run(&runs::attempt(&run, me)).await.unwrap();
        store.progress(&[progress::progress(&run, 0, progress::text(0, "out"))]).await.unwrap();
        if ends {
            let end = RunEnd { state: RunState::Completed, ..claims::end(&run, 3, Vec::new()) };
            store.end_run(&end).await.unwrap();
        }
        assert_eq!((run.epoch, run.bytes), (Epoch(1), Offset(0)));
        parent = Some(run.id);
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
            STATEMENTS,
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
            super::nodes::STATEMENTS,
            super::followed::STATEMENTS,
        ];
        for statement in all.into_iter().flatten() {
            let prepared = connection.prepare(statement).await;
            assert!(prepared.is_ok(), "{statement}: {:?}", prepared.err());
        }
    })
    .await;
}
