//! What becomes of runs when their node dies, sleeps, is taken for dead or leaves, or when the database is not as it
//! should be. All of it on a clock of its own.

use super::{
    cluster_tests::{BOTH, assert_settled, two},
    test_node::{Hearing, PATIENCE, cut},
};
use promptroom_protocol::{CommandId, Epoch, RunCursor, RunState};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// From a node's death to the moment at which another one drives its runs.
const TAKE_OVER: Duration = Duration::from_secs(8);

#[tokio::test(start_paused = true)]
async fn the_run_of_a_dead_node_goes_on_at_exactly_one_other_within_eight_seconds() {
    for hearing in BOTH {
        let (first, second) = two(100, hearing).await;
        let third = second.beside(hearing).await;
        let run = first.run("demo/slow").await.id;
        let killing = async {
            first.until(run, |run| run.bytes.0 > 20).await;
            first.kill();
            let died = Instant::now();
            second.until(run, |run| run.epoch == Epoch(2)).await;
            assert!(died.elapsed() <= TAKE_OVER, "{:?}", died.elapsed());
        };
        let (seen, also, ()) = tokio::join!(
            second.view(run, RunCursor::START, ""),
            third.view(run, RunCursor::START, ""),
            killing
        );
        let over = second.until_over(run).await;
        assert_eq!((over.state, over.epoch, over.attempts), (RunState::Completed, Epoch(2), 2));
        assert_eq!(over.seams.len(), 1);
        assert_eq!(second.runs.going() + third.runs.going(), 0);
        let stored = second.stored(run).await;
        for seen in [seen, also] {
            assert!(seen.is_told_the_end && seen.rewinds.len() == 1, "{:?}", seen.rewinds);
            assert_eq!(seen.text, stored);
        }
        assert_settled(&second, run, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_run_of_a_dead_node_whose_model_cannot_go_on_is_interrupted_and_kept() {
    let (first, second) = two(20, Hearing::Good).await;
    let run = first.run("demo/tools").await.id;
    first.until(run, |run| run.bytes.0 > 20).await;
    first.kill();
    let seen = second.view(run, RunCursor::START, "").await;
    let over = second.until_over(run).await;
    assert_eq!((over.state, over.attempts), (RunState::Interrupted, 1));
    assert_eq!(over.problem.unwrap().request_id.map(|id| id.0), Some(run.0));
    assert!(seen.is_told_the_end && !seen.text.is_empty());
    assert_eq!(seen.text, second.stored(run).await);
    assert_settled(&second, run, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_commit_is_in_doubt_is_driven_all_the_same() {
    let (first, second) = two(100, Hearing::Good).await;
    let run = first.run("demo/slow").await.id;
    first.until(run, |run| run.bytes.0 > 20).await;
    first.kill();
    // A beat has one statement, a claim several.
    second.line.doubt_commit_of(3);
    let seen = second.view(run, RunCursor::START, "").await;
    assert!(second.line.has_doubted());
    let over = second.until_over(run).await;
    assert_eq!(over.state, RunState::Completed);
    assert!(seen.is_told_the_end);
    assert_eq!(seen.text, second.stored(run).await);
    assert_settled(&second, run, 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_driver_stores_while_it_is_overtaken_is_withdrawn_and_not_mixed_in() {
    let (first, second) = two(20, Hearing::Good).await;
    let alone = first.run("demo/markdown").await.id;
    first.until_over(alone).await;
    let run = first.run("demo/markdown").await.id;
    // It is found with nothing in it, and begun again; only then its first driver stores something.
    second.line.hold_writes(true);
    let storing = async {
        first.until(run, |run| run.bytes.0 > 0).await;
        second.line.hold_writes(false);
    };
    let (seen, there, recovered, ()) = tokio::join!(
        first.view(run, RunCursor::START, ""),
        second.view(run, RunCursor::START, ""),
        second.runs.recover(run, |_| true),
        storing
    );
    recovered.unwrap();
    let over = second.until_over(run).await;
    assert_eq!((over.state, over.epoch, over.attempts), (RunState::Completed, Epoch(2), 2));
    let claims = second.store.run_claims(run).await.unwrap();
    assert_eq!(claims.last().map(|claim| claim.start.0), Some(0), "nothing of the first driver is kept");
    let whole = first.stored(alone).await;
    for seen in [seen, there] {
        assert!(seen.is_told_the_end);
        assert_eq!(seen.text, whole);
    }
    assert_eq!(second.stored(run).await, whole);
    assert_settled(&second, run, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_paused_is_fenced_when_it_wakes_and_its_viewers_move_to_the_truth() {
    for hearing in BOTH {
        let (first, second) = two(100, hearing).await;
        let run = first.run("demo/slow").await.id;
        let pausing = async {
            first.until(run, |run| run.bytes.0 > 20).await;
            first.pause();
            second.until(run, |run| run.epoch == Epoch(2) && run.state == RunState::Streaming).await;
            first.go_on();
            second.until_over(run).await
        };
        let (seen, over) = tokio::join!(first.view(run, RunCursor::START, ""), pausing);
        assert_eq!((over.state, over.epoch, over.attempts), (RunState::Completed, Epoch(2), 2));
        assert_eq!(first.runs.going(), 0);
        assert!(seen.is_told_the_end && seen.rewinds.len() == 1, "{:?}", seen.rewinds);
        assert_eq!(seen.text, second.stored(run).await);
        assert_settled(&second, run, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_taken_for_dead_while_it_streams_is_fenced() {
    for hearing in BOTH {
        let (first, second) = two(100, hearing).await;
        let run = first.run("demo/long").await.id;
        // Its model goes on, and so does it: only nobody hears its heart.
        let pausing = async {
            first.until(run, |run| run.bytes.0 > 20).await;
            first.pulse.kill();
            second.until_over(run).await
        };
        let (seen, there, over) = tokio::join!(
            first.view(run, RunCursor::START, ""),
            second.view(run, RunCursor::START, ""),
            pausing
        );
        assert_eq!((over.state, over.epoch, over.attempts), (RunState::Interrupted, Epoch(2), 1));
        assert_eq!(first.runs.going(), 0);
        let stored = second.stored(run).await;
        for seen in [seen, there] {
            assert!(seen.is_told_the_end && seen.rewinds.len() == 1, "{:?}", seen.rewinds);
            assert!(seen.text == stored, "{} bytes of {}", seen.text.len(), stored.len());
        }
        assert_settled(&second, run, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_database_that_stands_still_for_a_minute_takes_nobodys_run_away() {
    let (first, second) = two(1_000, Hearing::Good).await;
    let run = first.run("demo/slow").await.id;
    first.until(run, |run| run.bytes.0 > 20).await;
    // The last to come back have not counted for a minute.
    for late in [&first, &second] {
        for node in [&first, &second] {
            node.line.freeze();
        }
        sleep(Duration::from_secs(60)).await;
        for node in [&first, &second] {
            if !std::ptr::eq(node, late) {
                node.line.thaw();
            }
        }
        sleep(Duration::from_millis(1_500)).await;
        late.line.thaw();
        sleep(Duration::from_secs(3)).await;
    }
    let over = second.until_over(run).await;
    assert_eq!((over.state, over.epoch, over.attempts), (RunState::Completed, Epoch(1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_database_that_takes_nothing_more_for_a_minute_takes_nobodys_run_away() {
    let (first, second) = two(500, Hearing::Good).await;
    let run = first.run("demo/slow").await.id;
    first.until(run, |run| run.bytes.0 > 20).await;
    for node in [&first, &second] {
        node.line.fill_disk(true);
    }
    sleep(Duration::from_secs(60)).await;
    second.line.fill_disk(false);
    sleep(Duration::from_millis(1_500)).await;
    first.line.fill_disk(false);
    let over = second.until_over(run).await;
    assert_eq!((over.state, over.epoch, over.attempts), (RunState::Completed, Epoch(1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_wakes_from_a_long_sleep_takes_nobodys_run_away() {
    let (first, second) = two(300, Hearing::Good).await;
    let run = first.run("demo/slow").await.id;
    first.until(run, |run| run.bytes.0 > 20).await;
    for _ in 0..4 {
        second.pause();
        sleep(Duration::from_millis(7_300)).await;
        second.go_on();
        sleep(Duration::from_millis(1_700)).await;
    }
    let over = first.until_over(run).await;
    assert_eq!((over.state, over.epoch, over.attempts), (RunState::Completed, Epoch(1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_database_that_refuses_everything_for_a_while_stops_no_run_for_good() {
    for refused_ms in [500, 60_000] {
        let (first, second) = two(100, Hearing::Good).await;
        let run = first.run("demo/slow").await.id;
        first.until(run, |run| run.bytes.0 > 20).await;
        for node in [&first, &second] {
            node.line.refuse(true);
        }
        let command = CommandId(Uuid::new_v4());
        let refused =
            first.runs.run(first.prompt, command, first.ann.clone(), Ok(cut("demo/markdown"))).await;
        assert!(refused.is_err());
        sleep(Duration::from_millis(refused_ms)).await;
        for node in [&first, &second] {
            node.line.refuse(false);
        }
        let over = second.until_over(run).await;
        let drivers = if refused_ms < 2_000 { 1 } else { 2 };
        assert_eq!((over.state, over.epoch), (RunState::Completed, Epoch(drivers)));
        let (here, there) =
            tokio::join!(first.view(run, RunCursor::START, ""), second.view(run, RunCursor::START, ""));
        assert!(here.is_told_the_end && here.text == there.text && here.text == second.stored(run).await);
        assert_settled(&second, run, i64::from(drivers)).await;
        let again = first.run_as(command, "demo/markdown").await;
        assert_eq!(first.until_over(again.id).await.state, RunState::Completed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_start_was_in_doubt_is_driven_once_whether_or_not_its_author_asks_again() {
    let (first, second) = two(20, Hearing::Good).await;
    first.line.doubt_commit_of(3);
    let command = CommandId(Uuid::new_v4());
    let started = first.runs.run(first.prompt, command, first.ann.clone(), Ok(cut("demo/markdown"))).await;
    assert!(first.line.has_doubted());
    let known = second.store.run_by_command(first.ann.id, command).await.unwrap().unwrap();
    assert!(started.is_ok_and(|run| run.id == known.id), "its own command finds it");
    let over = second.until_over(known.id).await;
    assert_eq!(over.state, RunState::Completed);
    assert_eq!(second.run_as(command, "demo/markdown").await.id, known.id);
    assert_settled(&second, known.id, i64::from(over.attempts)).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_hands_its_runs_over_at_once_and_without_a_gap() {
    let (first, second) = two(100, Hearing::Good).await;
    let run = first.run("demo/slow").await.id;
    let leaving = async {
        first.until(run, |run| run.bytes.0 > 20).await;
        first.tasks.drain();
        first.runs.hand_over(PATIENCE).await;
        assert_eq!(first.runs.going(), 0);
        let left = Instant::now();
        second.until(run, |run| run.epoch == Epoch(2)).await;
        assert!(left.elapsed() <= Duration::from_millis(1_500), "{:?}", left.elapsed());
    };
    let (seen, ()) = tokio::join!(second.view(run, RunCursor::START, ""), leaving);
    let over = second.until_over(run).await;
    assert_eq!((over.state, over.epoch, over.attempts), (RunState::Completed, Epoch(2), 2));
    assert!(seen.is_told_the_end);
    assert_eq!(seen.text, second.stored(run).await);
    let command = CommandId(Uuid::new_v4());
    let refused = first.runs.run(first.prompt, command, first.ann.clone(), Ok(cut("demo/slow"))).await;
    assert_eq!(refused.unwrap_err().code(), "node.draining");
    first.tasks.stop();
    first.runs.stopped(PATIENCE).await;
    let seen = second.store.look_at_nodes().await.unwrap();
    assert_eq!(seen.nodes.len(), 1, "it has said that it is no more, and left nothing behind");
    assert_settled(&second, run, 2).await;
}
