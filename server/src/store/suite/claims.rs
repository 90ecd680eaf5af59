//! Takeover and end: one driver at a time, the first end stays, nothing is paid for twice.

use super::progress::{progress, records, text};
use super::runs::{attempt, usage};
use super::*;
use promptroom_protocol::{BlockKind, Epoch, Nanodollars, Offset, RunState, Seam, StopReason};

/// As a driver might: a token for four bytes.
pub(super) fn estimate(open: &OpenAttempt) -> Bill {
    let mut usage = open.usage;
    usage.output_tokens = open.received_bytes.div_ceil(4);
    usage.estimated = true;
    Bill { usage, cost: Some(Nanodollars(100)) }
}

pub(super) fn claim(run: &RunSummary, node: NodeId) -> Claim {
    Claim { run: run.id, seen: run.epoch, node, trim_to: None, now_ms: 8_000 }
}

pub(in crate::store) fn end(run: &RunSummary, from: u64, records: Vec<Record>) -> RunEnd {
    RunEnd {
        run: run.id,
        epoch: run.epoch,
        from: Offset(from),
        records,
        first_token_at_ms: None,
        state: RunState::Completed,
        stop_reason: Some(StopReason::StopSequence),
        stop_sequence: Some("END".to_owned()),
        stopped_by: None,
        problem_json: None,
        settles: None,
        ended_at_ms: 9_000,
    }
}

/// A run of node `me` with an open attempt and these bytes on disk.
async fn streaming(store: &Store, me: NodeId, output: &str) -> (RunSummary, AttemptId) {
    let run = start_run(store, me).await;
    let attempt = attempt(&run, me);
    store.admit_run(&attempt).await.unwrap();
    store.progress(&[progress(&run, 0, text(0, output))]).await.unwrap();
    (store.run(run.id).await.unwrap().unwrap(), attempt.id)
}

async fn output(store: &Store, run: &RunSummary) -> String {
    let output = store.run_output(run.id).await.unwrap().unwrap();
    output.records.iter().map(|record| String::from_utf8_lossy(&record.bytes)).collect()
}

#[tokio::test]
async fn a_claim_fences_the_old_driver_and_settles_its_attempt_as_an_estimate() {
    on_each_database(async |store| {
        let (old, new) = (node(), node());
        let (run, attempt_id) = streaming(&store, old, "hello wor").await;
        let claimed = store.claim_run(&claim(&run, new), estimate).await.unwrap();
        assert_eq!(claimed, ClaimOutcome::Claimed { epoch: Epoch(2), stored: Offset(9), cancel: None });
        let fenced = store.progress(&[progress(&run, 9, text(9, "ld"))]).await.unwrap();
        assert_eq!(fenced[0].result, ProgressResult::Fenced);
        assert_eq!(store.end_run(&end(&run, 9, Vec::new())).await.unwrap(), EndOutcome::Fenced);
        assert_eq!(store.admit_run(&attempt(&run, old)).await.unwrap(), AdmitOutcome::Fenced);
        let bill = Bill { usage: usage(1, 1, false), cost: None };
        assert!(!store.settle_attempt(attempt_id, &bill, 1).await.unwrap());
        let now = store.run(run.id).await.unwrap().unwrap();
        assert_eq!((now.state, now.epoch), (RunState::Recovering, Epoch(2)));
        assert_eq!((now.usage, now.cost), (Some(usage(10, 3, true)), Some(Nanodollars(100))));
        assert_eq!(now.seams, [], "nothing has gone on yet");
    })
    .await;
}

#[tokio::test]
async fn a_run_that_goes_on_in_a_new_epoch_shows_a_seam() {
    on_each_database(async |store| {
        let (old, new) = (node(), node());
        let (run, _) = streaming(&store, old, "hello \n").await;
        let trimmed = Claim { trim_to: Some(Offset(5)), ..claim(&run, new) };
        let claimed = store.claim_run(&trimmed, estimate).await.unwrap();
        assert_eq!(claimed, ClaimOutcome::Claimed { epoch: Epoch(2), stored: Offset(5), cancel: None });
        assert_eq!(output(&store, &run).await, "hello");
        let run = store.run(run.id).await.unwrap().unwrap();
        store.admit_run(&NewAttempt { now_ms: 8_500, ..attempt(&run, new) }).await.unwrap();
        store.progress(&[progress(&run, 5, text(5, " world"))]).await.unwrap();
        assert_eq!(output(&store, &run).await, "hello world");
        let run = store.run(run.id).await.unwrap().unwrap();
        assert_eq!(run.seams, [Seam { epoch: Epoch(2), offset: Offset(5), at_ms: 8_500, gap_ms: 2_400 }]);
        assert_eq!((run.state, run.attempts), (RunState::Streaming, 2));
        let claims = store.run_claims(run.id).await.unwrap();
        let second = RunClaim { epoch: Epoch(2), start: Offset(5) };
        assert_eq!(claims, [RunClaim { epoch: Epoch(1), start: Offset(0) }, second]);
    })
    .await;
}

#[tokio::test]
async fn trimming_cuts_within_a_chunk_and_drops_those_behind_it() {
    on_each_database(async |store| {
        let me = node();
        let (run, _) = streaming(&store, me, "aaa").await;
        store.progress(&[progress(&run, 3, text(3, "bbb"))]).await.unwrap();
        store.progress(&[progress(&run, 6, text(6, "ccc"))]).await.unwrap();
        let mut seen = run.clone();
        for (trim_to, left) in [(7, "aaabbbc"), (6, "aaabbb"), (4, "aaab"), (0, "")] {
            let trimmed = Claim { trim_to: Some(Offset(trim_to)), ..claim(&seen, me) };
            store.claim_run(&trimmed, estimate).await.unwrap();
            assert_eq!(output(&store, &run).await, left);
            seen.epoch = seen.epoch.next();
        }
        let beyond = Claim { trim_to: Some(Offset(50)), ..claim(&seen, me) };
        let claimed = store.claim_run(&beyond, estimate).await.unwrap();
        assert!(matches!(claimed, ClaimOutcome::Claimed { stored: Offset(0), .. }));
    })
    .await;
}

#[tokio::test]
async fn of_two_claimers_one_gets_the_run() {
    on_each_database(async |store| {
        let (run, _) = streaming(&store, node(), "x").await;
        store.request_cancel(run.id, run.by.id).await.unwrap();
        let (claim_one, claim_two) = (claim(&run, node()), claim(&run, node()));
        let (one, two) =
            tokio::join!(store.claim_run(&claim_one, estimate), store.claim_run(&claim_two, estimate));
        let (epoch, stored, cancel) = (Epoch(2), Offset(1), Some(run.by.id));
        let won = ClaimOutcome::Claimed { epoch, stored, cancel };
        let outcomes = [one.unwrap(), two.unwrap()];
        assert!(
            outcomes == [won, ClaimOutcome::Moved] || outcomes == [ClaimOutcome::Moved, won],
            "{outcomes:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_queued_run_that_is_claimed_goes_on_waiting() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        store.claim_run(&claim(&run, node()), estimate).await.unwrap();
        let run = store.run(run.id).await.unwrap().unwrap();
        assert_eq!((run.state, run.usage, run.seams.len()), (RunState::Queued, None, 0));
    })
    .await;
}

#[tokio::test]
async fn the_end_stores_the_rest_folds_the_output_and_settles() {
    on_each_database(async |store| {
        let (run, attempt) = streaming(&store, node(), "hello ").await;
        store.progress(&[progress(&run, 6, text(6, "wor"))]).await.unwrap();
        let bill = Bill { usage: usage(7, 8, false), cost: Some(Nanodollars(9)) };
        let rest = records(9, &[(0, BlockKind::Text, "ld"), (1, BlockKind::ToolCall, "{}")]);
        let ending = RunEnd { settles: Some((attempt, bill)), ..end(&run, 9, rest) };
        let EndOutcome::Ended(ended) = store.end_run(&ending).await.unwrap() else { panic!("not ended") };
        assert_eq!((ended.state, ended.bytes), (RunState::Completed, Offset(13)));
        assert_eq!((ended.usage, ended.cost), (Some(bill.usage), bill.cost));
        assert_eq!(
            (ended.stop_reason, ended.stop_sequence.as_deref()),
            (Some(StopReason::StopSequence), Some("END"))
        );
        assert_eq!(ended.ended_at_ms, Some(9_000));
        let stored = store.run_output(run.id).await.unwrap().unwrap();
        let folded: Vec<(u32, &[u8])> =
            stored.records.iter().map(|record| (record.block, record.bytes.as_ref())).collect();
        assert_eq!(folded, [(0, &b"hello world"[..]), (1, b"{}")]);
        assert_eq!(store.runs_to_take_over(&[], 10).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn the_first_terminal_state_stays() {
    on_each_database(async |store| {
        let me = node();
        let (run, _) = streaming(&store, me, "partial").await;
        let stopped = RunEnd {
            state: RunState::Cancelled,
            stopped_by: Some(run.by.id),
            stop_reason: None,
            ..end(&run, 7, Vec::new())
        };
        let EndOutcome::Ended(ended) = store.end_run(&stopped).await.unwrap() else { panic!("not ended") };
        assert_eq!(ended.stopped_by.as_ref().map(|by| by.id), Some(run.by.id));
        let late = store.end_run(&end(&run, 7, text(7, " more"))).await.unwrap();
        assert_eq!(late, EndOutcome::AlreadyEnded(ended.clone()));
        assert_eq!(output(&store, &run).await, "partial");
        assert_eq!(store.request_cancel(run.id, run.by.id).await.unwrap(), Some(ended));
        assert_eq!(store.claim_run(&claim(&run, me), estimate).await.unwrap(), ClaimOutcome::Ended);
        assert_eq!(store.admit_run(&attempt(&run, me)).await.unwrap(), AdmitOutcome::Fenced);
        let after = store.progress(&[progress(&run, 7, text(7, "x"))]).await.unwrap();
        assert_eq!(after[0].result, ProgressResult::Fenced);
    })
    .await;
}

#[tokio::test]
async fn an_end_that_finds_its_bytes_stored_stores_only_the_others() {
    on_each_database(async |store| {
        let (run, _) = streaming(&store, node(), "hello").await;
        let in_doubt = records(
            0,
            &[(0, BlockKind::Text, "hel"), (0, BlockKind::Text, "lo wor"), (1, BlockKind::Text, "ld")],
        );
        let EndOutcome::Ended(ended) = store.end_run(&end(&run, 0, in_doubt)).await.unwrap() else {
            panic!("not ended")
        };
        assert_eq!(ended.bytes, Offset(11));
        assert_eq!(output(&store, &run).await, "hello world");
    })
    .await;
}

#[tokio::test]
async fn a_rejected_run_keeps_its_problem() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        let problem = serde_json::json!({"type": "about:blank", "title": "Full", "status": 429,
            "code": "run.queue_full", "detail": "The queue is full."});
        let rejected = RunEnd {
            state: RunState::Rejected,
            stop_reason: None,
            stop_sequence: None,
            problem_json: Some(problem.to_string()),
            ..end(&run, 0, Vec::new())
        };
        let EndOutcome::Ended(ended) = store.end_run(&rejected).await.unwrap() else { panic!("not ended") };
        assert_eq!((ended.state, ended.attempts, ended.cost), (RunState::Rejected, 0, None));
        assert_eq!(ended.problem.unwrap().code, "run.queue_full");
    })
    .await;
}

#[tokio::test]
async fn attempts_that_a_dead_node_left_on_ended_runs_are_settled_once() {
    on_each_database(async |store| {
        let (dead, me) = (node(), node());
        let (ended, _) = streaming(&store, dead, "12345678").await;
        let (mine, _) = streaming(&store, me, "12345678").await;
        let (open, _) = streaming(&store, dead, "12345678").await;
        for run in [&ended, &mine] {
            store.end_run(&end(run, 8, Vec::new())).await.unwrap();
        }
        assert_eq!(store.settle_orphans(&[dead], estimate, 1).await.unwrap(), 1);
        assert_eq!(store.settle_orphans(&[dead], estimate, 1).await.unwrap(), 0);
        let settled = store.run(ended.id).await.unwrap().unwrap();
        assert_eq!((settled.usage, settled.cost), (Some(usage(10, 2, true)), Some(Nanodollars(100))));
        for run in [mine, open] {
            assert_eq!(store.run(run.id).await.unwrap().unwrap().cost, None);
        }
    })
    .await;
}
