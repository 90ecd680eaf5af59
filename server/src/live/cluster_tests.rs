//! Runs on several nodes over one database, whether or not the nodes hear each other. All of it on a clock of its own.

use super::test_node::{Hearing, Node, PATIENCE, cut};
use promptroom_protocol::{CommandId, Epoch, Offset, RunCursor, RunId, RunState};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

const BOTH: [Hearing; 2] = [Hearing::Good, Hearing::Deaf];
/// From a node's death to the moment at which another one drives its runs.
const TAKE_OVER: Duration = Duration::from_secs(8);

async fn two(pace_ms: u64, hearing: Hearing) -> (Node, Node) {
    let first = Node::first(pace_ms, hearing).await;
    let second = first.beside(hearing).await;
    (first, second)
}

fn at(epoch: u32, offset: usize) -> RunCursor {
    RunCursor { epoch: Epoch(epoch), offset: Offset(offset as u64) }
}

/// So many attempts were made, and all are settled.
async fn assert_settled(node: &Node, run: RunId, attempts: i64) {
    let settled = async {
        while node.attempts(run).1 > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("in time");
    assert_eq!(node.attempts(run), (attempts, 0));
}

#[tokio::test(start_paused = true)]
async fn viewers_on_every_node_get_the_same_bytes() {
    for hearing in BOTH {
        let (first, second) = two(1, hearing).await;
        for model in ["demo/markdown", "demo/tools", "demo/long"] {
            let run = first.run(model).await.id;
            let (here, there) =
                tokio::join!(first.view(run, RunCursor::START, ""), second.view(run, RunCursor::START, ""));
            let stored = first.stored(run).await;
            assert!(here.is_told_the_end && here.rewinds.is_empty() && here.text == stored, "{model}");
            assert!(there == here, "{model}: {} bytes of {}", there.text.len(), stored.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_joiner_on_another_node_gets_all_from_wherever_it_was() {
    for hearing in BOTH {
        let (first, second) = two(20, hearing).await;
        let run = first.run("demo/markdown").await.id;
        first.until(run, |run| run.bytes.0 > 40).await;
        let begun = first.stored(run).await;
        let ahead = begun.len() + 20;
        let (whole, rest, later) = tokio::join!(
            second.view(run, RunCursor::START, ""),
            second.view(run, at(1, begun.len()), &begun),
            // It was at a node that is faster: it waits, and nothing is sent twice.
            async {
                let text = first.view(run, RunCursor::START, "").await.text;
                second.view(run, at(1, ahead), &text[..ahead]).await
            },
        );
        let stored = first.stored(run).await;
        for seen in [whole, rest, later] {
            assert!(seen.is_told_the_end && seen.rewinds.is_empty());
            assert_eq!(seen.text, stored);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_reach_another_node_at_once_where_it_hears_and_soon_where_it_does_not() {
    for (hearing, limit) in [(Hearing::Good, 40), (Hearing::Deaf, 1_000)] {
        let (first, second) = two(20, hearing).await;
        let run = first.run("demo/markdown").await.id;
        let (here, there) = (
            first.runs.tape(first.prompt, run).await.unwrap(),
            second.runs.tape(second.prompt, run).await.unwrap(),
        );
        let until = |tape: std::sync::Arc<super::tape::Tape>, bytes: u64| async move {
            while tape.cursor().offset.0 < bytes {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, until(here, 100)).await.unwrap();
        let began = Instant::now();
        timeout(PATIENCE, until(there, 100)).await.unwrap();
        assert!(began.elapsed() <= Duration::from_millis(limit), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_on_another_node_reaches_the_driver_with_and_without_being_heard() {
    for (hearing, limit) in [(Hearing::Good, 10), (Hearing::Deaf, 1_000)] {
        let (first, second) = two(50, hearing).await;
        let run = first.run("demo/slow").await.id;
        first.until(run, |run| run.bytes.0 > 0).await;
        second.runs.cancel(second.prompt, run, second.ann.id).await.unwrap();
        let asked = Instant::now();
        let over = first.until_over(run).await;
        assert!(asked.elapsed() <= Duration::from_millis(limit), "{:?}", asked.elapsed());
        assert_eq!(over.state, RunState::Cancelled);
        assert_eq!(over.stopped_by.map(|by| by.id), Some(second.ann.id));
        assert_settled(&first, run, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_is_repeated_on_another_node_neither_runs_twice_nor_takes_the_run_away() {
    let (first, second) = two(20, Hearing::Good).await;
    let command = CommandId(Uuid::new_v4());
    let run = first.run_as(command, "demo/markdown").await.id;
    assert_eq!(second.run_as(command, "demo/markdown").await.id, run);
    let over = first.until_over(run).await;
    assert_eq!((over.state, over.epoch, over.attempts), (RunState::Completed, Epoch(1), 1));
    // The id belongs to another command, wherever it is used again.
    let refused = second.runs.regenerate(second.prompt, run, command, second.ann.clone()).await;
    assert_eq!(refused.unwrap_err().code(), "request.idempotency_conflict");
    let again = CommandId(Uuid::new_v4());
    let child = second.runs.regenerate(second.prompt, run, again, second.ann.clone()).await.unwrap();
    let repeated = first.runs.regenerate(first.prompt, run, again, first.ann.clone()).await.unwrap();
    assert_eq!((repeated.id, repeated.parent), (child.id, Some(run)));
    assert_eq!(first.until_over(child.id).await.epoch, Epoch(1));
}

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

#[tokio::test(start_paused = true)]
async fn how_a_run_stands_is_told_on_every_node() {
    for hearing in BOTH {
        let (first, second) = two(20, hearing).await;
        let run = first.run("demo/markdown").await;
        let tape = second.runs.tape(second.prompt, run.id).await.unwrap();
        let mut told = vec![run.state];
        let telling = async {
            while !tape.is_ended() {
                let state = tape.summary().state;
                if told.last() != Some(&state) {
                    told.push(state);
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, telling).await.unwrap();
        assert_eq!(tape.summary().state, RunState::Completed, "the summary is there before the end");
        assert!(told.contains(&RunState::Streaming), "{told:?}");
        // Nobody reads it any more: nothing is kept of it.
        drop(tape);
        assert!(second.runs.known_tape(run.id).is_none());
    }
}
