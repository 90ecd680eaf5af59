//! Runs without any edge: what becomes of them when the store, their driver or the model does not do as it should.

use super::{
    clock::now_ms,
    reaper::Reaper,
    test_node::{Node, PATIENCE, cut, other_node},
    upkeep::SnapshotPace,
};
use crate::domain::refusal::Refusal;
use crate::store::{Claim, ClaimOutcome, NodeId};
use promptroom_protocol::{CommandId, PromptId, RunId, RunState, RunSummary, Usage};
use uuid::Uuid;

/// Takes over what any node but this one owns.
async fn recover(node: &Node, run: RunId) {
    let own = node.runs.node;
    node.runs.recover(run, |owner: NodeId| owner != own).await.unwrap();
}

#[tokio::test]
async fn a_run_that_nobody_drives_is_waited_for() {
    let node = Node::start(0).await;
    let run = node.leave_behind(CommandId(Uuid::new_v4()), other_node()).await;
    let (told_the_end, ()) = tokio::join!(node.read_to_the_end(run), recover(&node, run));
    assert!(told_the_end);
    assert_eq!(node.until_over(run).await.state, RunState::Completed);
}

#[tokio::test]
async fn the_readers_of_a_run_that_another_driver_has_stay_and_see_what_is_withdrawn() {
    let node = Node::start(20).await;
    let run = node.run("demo/markdown").await;
    let reading = node.view(run.id, promptroom_protocol::RunCursor::START, "");
    let claiming = async {
        node.until(run.id, |run| run.bytes.0 > 0).await;
        let claim =
            Claim { run: run.id, seen: run.epoch, node: other_node(), trim_to: None, now_ms: now_ms() };
        let claimed = node.store.claim_run(&claim, super::billing::estimate).await.unwrap();
        assert!(matches!(claimed, ClaimOutcome::Claimed { .. }));
        node.until_idle().await;
        // Nobody drives it now: it is taken over, and shows what both attempts used.
        recover(&node, run.id).await;
    };
    let (seen, ()) = tokio::join!(reading, claiming);
    assert!(seen.is_told_the_end && !seen.rewinds.is_empty());
    assert_eq!(seen.text, node.stored(run.id).await);
    let over = node.until_over(run.id).await;
    assert_eq!((over.state, over.attempts, over.epoch.0), (RunState::Completed, 2, 3));
}

#[tokio::test]
async fn a_damaged_run_does_not_keep_the_others_from_being_taken_over() {
    let node = Node::start(0).await;
    let bad = node.leave_behind(CommandId(Uuid::new_v4()), other_node()).await;
    let good = node.leave_behind(CommandId(Uuid::new_v4()), other_node()).await;
    node.damage("UPDATE runs SET stored = 5 WHERE id = $1", bad).await;
    let taken_over =
        Reaper::start(node.store.clone(), node.runs.clone(), SnapshotPace::default(), &node.tasks);
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
    recover(&node, run).await;
    let over = node.until_over(run).await;
    assert_eq!(
        (over.state, over.problem.map(|problem| problem.code)),
        (RunState::Failed, Some("internal".to_owned()))
    );
    node.until_idle().await;
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
