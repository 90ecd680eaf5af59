//! That the simulated database freezes, fails and forgets exactly where it is told to.

use super::*;
use crate::store::query::query;
use crate::store::suite::{add_person, add_prompt, new_prompt, progress::progress, rows_for, start_run};
use crate::store::{
    CommitOutcome, CreateOutcome, Generation, LinkFor, NewInvite, NodeId, Progress, ProgressResult, Record,
    SecretHash,
};
use bytes::Bytes;
use promptroom_protocol::{BlockKind, Offset, Role, Seq};
use std::collections::VecDeque;
use std::future::pending;
use std::task::{Context, Poll, Waker};

/// Lets everything pass but the named steps, one after the other.
#[derive(Default)]
struct Script(Mutex<VecDeque<(Step, Option<Verdict>)>>);

impl Hook for Script {
    fn before(&self, step: Step) -> BoxFuture<'_, Verdict> {
        let mut script = self.0.lock();
        let is_next = script.front().is_some_and(|(next, _)| *next == step);
        let verdict = if is_next { script.pop_front().map(|(_, verdict)| verdict) } else { None };
        Box::pin(async move {
            match verdict {
                None => Verdict::Go,
                Some(Some(verdict)) => verdict,
                Some(None) => pending().await,
            }
        })
    }
}

async fn stage() -> (Shared, Arc<Script>, Store, crate::store::RoomRows) {
    let (shared, script) = (Shared::new(), Arc::new(Script::default()));
    let store = Store::plain(&shared, script.clone());
    let ada = add_person(&store, "Ada", Role::Owner).await;
    let prompt = add_prompt(&store, &ada, "one").await;
    let rows = rows_for(&store, &prompt, &["x"]).await;
    (shared, script, store, rows)
}

async fn head(store: &Store, rows: &crate::store::RoomRows) -> Seq {
    store.load_room(rows.prompt, Generation::Newest).await.unwrap().unwrap().head
}

#[tokio::test]
async fn what_fails_before_the_commit_changes_nothing_and_what_fails_after_it_is_there() {
    let (_shared, script, store, rows) = stage().await;
    for (step, verdict, after) in [
        (Step::Begin { writes: true }, Verdict::Fail(StoreError::Busy), 1),
        (Step::Statement, Verdict::Fail(unavailable("gone")), 1),
        (Step::Commit, Verdict::Fail(unavailable("gone")), 1),
        (Step::Commit, Verdict::DoneThenFail, 2),
    ] {
        script.0.lock().push_back((step, Some(verdict)));
        let error = store.commit(std::slice::from_ref(&rows)).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(head(&store, &rows).await, Seq(after), "{step:?}");
    }
    assert!(matches!(store.commit(&[rows]).await.unwrap()[..], [CommitOutcome::Committed { .. }]));
}

#[tokio::test]
async fn a_frozen_writer_holds_the_others_up_until_it_is_cut_off_or_killed() {
    let (shared, script, store, rows) = stage().await;
    let other = Store::plain(&shared, Arc::new(Script::default()));
    let context = &mut Context::from_waker(Waker::noop());
    for kill in [true, false] {
        script.0.lock().push_back((Step::Commit, None));
        let batch = [rows.clone()];
        let mut frozen = Box::pin(store.commit(&batch));
        assert!(frozen.as_mut().poll(context).is_pending());
        let mut waiting = Box::pin(other.commit(&batch));
        assert!(waiting.as_mut().poll(context).is_pending());
        if kill {
            drop(frozen);
        } else {
            shared.cut_off();
        }
        let Poll::Ready(committed) = waiting.as_mut().poll(context) else { panic!("still held up") };
        assert!(matches!(committed.unwrap()[..], [CommitOutcome::Committed { .. }]));
    }
    assert_eq!(head(&other, &rows).await, Seq(3));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_is_idle_for_a_second_is_cut_off_by_the_one_who_waits() {
    let (shared, script, store, rows) = stage().await;
    let other = Store::plain(&shared, Arc::new(Script::default()));
    script.0.lock().push_back((Step::Commit, None));
    let batch = [rows.clone()];
    let mut frozen = Box::pin(store.commit(&batch));
    assert!(frozen.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let begun = Instant::now();
    assert!(matches!(other.commit(&batch).await.unwrap()[..], [CommitOutcome::Committed { .. }]));
    assert!((IDLE_MAX..IDLE_MAX * 2).contains(&begun.elapsed()));
    assert_eq!(
        shared.with(|db| db.query_row("SELECT head FROM prompts", (), |row| row.get::<_, i64>(0))),
        Ok(2)
    );
}

#[tokio::test]
async fn one_that_was_cut_off_learns_of_it_and_has_done_nothing() {
    let (shared, _script, store, rows) = stage().await;
    let mut transaction = store.db.write().await.unwrap();
    shared.cut_off();
    let statement = query("DELETE FROM room_updates");
    assert!(matches!(statement.execute(&mut transaction).await, Err(StoreError::Unavailable(_))));
    assert!(transaction.commit().await.is_err());
    assert_eq!(head(&store, &rows).await, Seq(1));
}

const LINK: SecretHash = SecretHash([1; 32]);
const SESSION: SecretHash = SecretHash([2; 32]);

/// The next commit is done and told as if it might not be.
fn doubt(script: &Script) {
    script.0.lock().push_back((Step::Commit, Some(Verdict::DoneThenFail)));
}

#[tokio::test]
async fn whoever_signs_in_gets_in_though_it_is_in_doubt_whether_the_link_was_used() {
    let (_shared, script, store, _rows) = stage().await;
    store.add_sign_in_link(LINK, LinkFor::Owner, 100).await.unwrap();
    doubt(&script);
    let owner = store.use_sign_in_link(LINK, SESSION, 50).await.unwrap().unwrap();
    assert!(script.0.lock().is_empty());
    assert_eq!(store.principal_by_session(SESSION, 51).await.unwrap().unwrap().id, owner.id);
    let other = SecretHash([3; 32]);
    assert_eq!(store.use_sign_in_link(LINK, other, 52).await.unwrap(), None, "it is used");
}

#[tokio::test]
async fn an_invite_that_was_in_doubt_makes_one_person() {
    let (_shared, script, store, _rows) = stage().await;
    let by = store.principals().await.unwrap()[0].id;
    let invite =
        NewInvite { id: Uuid::from_u128(7), hash: LINK, role: Role::Viewer, by, now_ms: 1, expires_at_ms: 9 };
    store.add_invite(&invite).await.unwrap();
    doubt(&script);
    let ben = store.use_invite(LINK, "Ben", SESSION, 2).await.unwrap().unwrap();
    assert!(script.0.lock().is_empty());
    let again = store.use_invite(LINK, "Ben", SESSION, 3).await.unwrap();
    assert_eq!(again.map(|person| person.id), Some(ben.id));
    assert_eq!(store.principals().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_prompt_whose_making_was_in_doubt_is_there_once() {
    let (_shared, script, store, _rows) = stage().await;
    let ada = store.principals().await.unwrap().remove(0);
    doubt(&script);
    let made = store.create_prompt(&new_prompt(&ada, "two")).await.unwrap();
    assert!(matches!(made, CreateOutcome::Created(_)) && script.0.lock().is_empty(), "{made:?}");
    assert_eq!(store.prompts_for(ada.id).await.unwrap().len(), 2);
    for _ in 0..2 {
        script.0.lock().push_back((Step::Commit, Some(Verdict::Fail(unavailable("gone")))));
    }
    let refused = store.create_prompt(&new_prompt(&ada, "three")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "once more, not for ever: {refused:?}");
}

#[tokio::test]
async fn a_checkpoint_that_is_too_large_for_one_transaction_is_several_each_whole_or_not_at_all() {
    let (_shared, script, store, _rows) = stage().await;
    let node = NodeId(Uuid::from_u128(8));
    let mut batch = Vec::new();
    for _ in 0..3 {
        let run = start_run(&store, node).await;
        let bytes = Bytes::from(vec![b'x'; 7 << 20]);
        let records = vec![Record { offset: Offset(0), block: 0, kind: BlockKind::Text, bytes }];
        batch.push(Progress { records, ..progress(&run, 0, Vec::new()) });
    }
    for verdict in [Verdict::Go, Verdict::Fail(StoreError::Busy)] {
        script.0.lock().push_back((Step::Commit, Some(verdict)));
    }
    assert!(matches!(store.progress(&batch).await, Err(StoreError::Busy)));
    let outcomes = store.progress(&batch).await.unwrap();
    let results: Vec<ProgressResult> = outcomes.iter().map(|outcome| outcome.result).collect();
    let stored = ProgressResult::Adopted(Offset(7 << 20));
    assert_eq!(results, [stored, stored, ProgressResult::Moved]);
}

#[test]
fn a_database_costs_next_to_nothing() {
    drop(Shared::new());
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        drop(Shared::new());
    }
    let each = begun.elapsed() / 200;
    println!("a database takes {each:?}, its template {} bytes", TEMPLATE.len());
    assert!(each.as_millis() < 5, "{each:?}");
}
