//! Runs: started once, admitted once, each attempt settled once.

use super::*;
use promptroom_protocol::{Epoch, Nanodollars, Offset, RunState, Usage};

pub(super) fn usage(input_tokens: u64, output_tokens: u64, estimated: bool) -> Usage {
    Usage { input_tokens, output_tokens, estimated, ..Usage::default() }
}

pub(super) fn attempt(run: &RunSummary, node: NodeId) -> NewAttempt {
    NewAttempt {
        id: AttemptId(Uuid::new_v4()),
        run: run.id,
        epoch: run.epoch,
        node,
        price_json: "{}".to_owned(),
        input_tokens: 10,
        now_ms: 5_000,
    }
}

#[tokio::test]
async fn a_repeated_command_finds_the_run_that_it_started() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Editor).await;
        let bob = add_person(&store, "Bob", Role::Editor).await;
        let prompt = add_prompt(&store, &ada, "one").await;
        let first = new_run(&prompt, &ada, node());
        let StartOutcome::Started(run) = store.start_run(&first).await.unwrap() else {
            panic!("not started")
        };
        assert_eq!((run.number, run.state, run.epoch), (1, RunState::Queued, Epoch(1)));
        assert_eq!((run.by.name.as_str(), run.parameters["temperature"].as_f64()), ("Ada", Some(0.5)));
        let repeat = NewRun { id: RunId(Uuid::new_v4()), hash: "later text".to_owned(), ..first.clone() };
        assert_eq!(store.start_run(&repeat).await.unwrap(), StartOutcome::Repeated(run.clone()));
        assert_eq!(store.run_by_command(ada.id, first.command).await.unwrap(), Some(run.clone()));
        assert_eq!(store.run_by_command(bob.id, first.command).await.unwrap(), None);
        let others = NewRun { id: RunId(Uuid::new_v4()), by: bob.id, ..first };
        let StartOutcome::Started(second) = store.start_run(&others).await.unwrap() else {
            panic!("one command")
        };
        assert_eq!(second.number, 2);
        assert_eq!(store.runs(prompt.id, None, 10).await.unwrap(), [second.clone(), run.clone()]);
        assert_eq!(store.runs(prompt.id, Some(2), 10).await.unwrap(), std::slice::from_ref(&run));
        assert_eq!(store.runs(prompt.id, None, 1).await.unwrap(), [second]);
        assert_eq!(store.run(run.id).await.unwrap(), Some(run.clone()));
        let detail = store.run_detail(run.id).await.unwrap().unwrap();
        assert_eq!(
            (detail.request_json.as_str(), detail.source_json.as_str()),
            ("{\"request\":1}", "{\"source\":1}")
        );
    })
    .await;
}

#[tokio::test]
async fn each_change_of_a_runs_state_moves_the_rooms_revision() {
    on_each_database(async |store| {
        let me = node();
        let run = start_run(&store, me).await;
        let revision = async || store.prompt(run.prompt).await.unwrap().unwrap().revision;
        let started = revision().await;
        store.admit_run(&attempt(&run, me)).await.unwrap();
        let admitted = revision().await;
        store.request_cancel(run.id, run.by.id).await.unwrap();
        let cancelled = revision().await;
        store.request_cancel(run.id, run.by.id).await.unwrap();
        assert_eq!(revision().await, cancelled);
        assert!(started < admitted && admitted < cancelled);
    })
    .await;
}

#[tokio::test]
async fn an_admission_is_written_once_however_often_it_is_sent() {
    on_each_database(async |store| {
        let me = node();
        let run = start_run(&store, me).await;
        let attempt = attempt(&run, me);
        for _ in 0..2 {
            assert_eq!(store.admit_run(&attempt).await.unwrap(), AdmitOutcome::Admitted);
        }
        let run = store.run(run.id).await.unwrap().unwrap();
        assert_eq!((run.state, run.attempts, run.admitted_at_ms), (RunState::Admitted, 1, Some(5_000)));
        assert_eq!((run.usage, run.cost), (Some(usage(10, 0, true)), None));
        store.request_cancel(run.id, run.by.id).await.unwrap();
        assert_eq!(store.admit_run(&attempt).await.unwrap(), AdmitOutcome::Admitted);
    })
    .await;
}

#[tokio::test]
async fn a_run_that_was_cancelled_while_it_waited_makes_no_attempt() {
    on_each_database(async |store| {
        let me = node();
        let run = start_run(&store, me).await;
        let bob = add_person(&store, "Bob", Role::Editor).await;
        store.request_cancel(run.id, bob.id).await.unwrap();
        store.request_cancel(run.id, run.by.id).await.unwrap();
        let outcome = store.admit_run(&attempt(&run, me)).await.unwrap();
        assert_eq!(outcome, AdmitOutcome::CancelRequested { by: bob.id });
        assert_eq!(store.run(run.id).await.unwrap().unwrap().attempts, 0);
        assert_eq!(store.request_cancel(RunId(Uuid::new_v4()), bob.id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn an_attempt_is_settled_exactly_once() {
    on_each_database(async |store| {
        let me = node();
        let run = start_run(&store, me).await;
        let attempt = attempt(&run, me);
        store.admit_run(&attempt).await.unwrap();
        let bill = Bill { usage: usage(12, 34, false), cost: Some(Nanodollars(56)) };
        let other = Bill { usage: usage(99, 99, true), cost: Some(Nanodollars(99)) };
        assert!(store.settle_attempt(attempt.id, &bill, 1).await.unwrap());
        assert!(!store.settle_attempt(attempt.id, &other, 2).await.unwrap());
        let run = store.run(run.id).await.unwrap().unwrap();
        assert_eq!((run.usage, run.cost), (Some(bill.usage), bill.cost));
    })
    .await;
}

#[tokio::test]
async fn a_run_costs_what_all_its_attempts_cost() {
    on_each_database(async |store| {
        let me = node();
        let run = start_run(&store, me).await;
        let sum = async || {
            let run = store.run(run.id).await.unwrap().unwrap();
            (run.attempts, run.usage.unwrap(), run.cost)
        };
        for cost in [Some(Nanodollars(5)), Some(Nanodollars(0)), None] {
            let attempt = attempt(&run, me);
            store.admit_run(&attempt).await.unwrap();
            store
                .settle_attempt(attempt.id, &Bill { usage: usage(1, 2, cost.is_none()), cost }, 1)
                .await
                .unwrap();
            if cost == Some(Nanodollars(0)) {
                assert_eq!(sum().await, (2, usage(2, 4, false), Some(Nanodollars(5))));
            }
        }
        assert_eq!(sum().await, (3, usage(3, 6, true), None));
    })
    .await;
}

#[tokio::test]
async fn a_new_run_has_no_output_and_began_at_nothing() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        let output = store.run_output(run.id).await.unwrap().unwrap();
        assert_eq!(output, StoredOutput { epoch: Epoch(1), stored: Offset(0), records: Vec::new() });
        let claims = store.run_claims(run.id).await.unwrap();
        assert_eq!(claims, [RunClaim { epoch: Epoch(1), start: Offset(0) }]);
        let unknown = RunId(Uuid::new_v4());
        assert_eq!(store.run_output(unknown).await.unwrap(), None);
        assert_eq!(store.run_detail(unknown).await.unwrap(), None);
    })
    .await;
}
