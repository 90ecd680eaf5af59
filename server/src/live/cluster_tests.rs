//! Runs on several nodes over one database, whether or not the nodes hear each other. All of it on a clock of its own.

use super::{
    tape::Tape,
    test_node::{Hearing, Node, PATIENCE},
};
use crate::domain::output::Output;
use promptroom_protocol::{BlockKind, CommandId, Epoch, Offset, RunCursor, RunId, RunState};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

pub(super) const BOTH: [Hearing; 2] = [Hearing::Good, Hearing::Deaf];

pub(super) async fn two(pace_ms: u64, hearing: Hearing) -> (Node, Node) {
    let first = Node::first(pace_ms, hearing).await;
    let second = first.beside(hearing).await;
    (first, second)
}

fn at(epoch: u32, offset: usize) -> RunCursor {
    RunCursor { epoch: Epoch(epoch), offset: Offset(offset as u64) }
}

/// So many attempts were made, and all are settled.
pub(super) async fn assert_settled(node: &Node, run: RunId, attempts: i64) {
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
        let until = |tape: std::sync::Arc<Tape>, bytes: u64| async move {
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

#[tokio::test(start_paused = true)]
async fn a_driver_that_was_overtaken_or_let_go_shows_and_stores_nothing_more() {
    let node = Node::first(1, Hearing::Deaf).await;
    let run = node.run("demo/markdown").await;
    let tape = Tape::driven(&run, Output::new(run.id), &node.runs.bus);
    tape.append(Epoch(1), 0, BlockKind::Text, "one");
    tape.flush(Epoch(1));
    tape.append(Epoch(1), 0, BlockKind::Text, " unseen");
    let records = [(0, BlockKind::Text, bytes::Bytes::from_static(b"on"))];
    let claims = vec![(Epoch(2), Offset(2))];
    tape.drive(&run, Output::stored(run.id, Epoch(2), claims, records, false));
    for _late in 0..2 {
        tape.append(Epoch(1), 0, BlockKind::Text, "stale");
        tape.flush(Epoch(1));
        tape.end(Epoch(1));
        assert_eq!(tape.take_from(Epoch(1), Offset(0), u64::MAX), None);
        assert_eq!((tape.cursor(), tape.is_ended()), (at(2, 2), false));
        tape.let_go(Epoch(1));
    }
    tape.append(Epoch(2), 0, BlockKind::Text, "ly");
    assert_eq!(tape.take_from(Epoch(2), Offset(2), u64::MAX).map(|records| records.len()), Some(1));
    tape.let_go(Epoch(2));
    tape.append(Epoch(2), 0, BlockKind::Text, "late");
    tape.flush(Epoch(2));
    assert_eq!(tape.cursor(), at(2, 4));
    // An older claim than what is known does not bring it back.
    tape.drive(&run, Output::new(run.id));
    assert_eq!((tape.cursor(), tape.is_followed()), (at(2, 4), true));
}
