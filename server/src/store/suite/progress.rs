//! Checkpoints: bytes move once, a repeat adopts, a second driver is fenced.

use super::runs::{attempt, usage};
use super::*;
use promptroom_protocol::{BlockKind, Epoch, Offset, RunState};

pub(super) fn records(from: u64, parts: &[(u32, BlockKind, &str)]) -> Vec<Record> {
    let mut offset = Offset(from);
    let mut records = Vec::new();
    for (block, kind, text) in parts {
        records.push(Record { offset, block: *block, kind: *kind, bytes: bytes(text) });
        offset.0 += text.len() as u64;
    }
    records
}

pub(super) fn text(from: u64, text: &str) -> Vec<Record> {
    records(from, &[(0, BlockKind::Text, text)])
}

pub(in crate::store) fn progress(run: &RunSummary, from: u64, records: Vec<Record>) -> Progress {
    let (run, epoch, from) = (run.id, run.epoch, Offset(from));
    Progress { run, epoch, from, records, first_token_at_ms: Some(6_000), usage: None, now_ms: 6_100 }
}

async fn result(store: &Store, progress: Progress) -> ProgressResult {
    store.progress(&[progress]).await.unwrap()[0].result
}

#[tokio::test]
async fn output_is_read_back_in_order_of_arrival_with_its_blocks() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        let (thought, said, tool) = (BlockKind::Reasoning, BlockKind::Text, BlockKind::ToolCall);
        let first = records(0, &[(0, thought, "hm"), (0, thought, "m… "), (1, said, "né")]);
        assert_eq!(result(&store, progress(&run, 0, first)).await, ProgressResult::Moved);
        let second = records(10, &[(1, said, "e"), (2, tool, "{}\n"), (1, said, "🙂")]);
        assert_eq!(result(&store, progress(&run, 10, second)).await, ProgressResult::Moved);
        let output = store.run_output(run.id).await.unwrap().unwrap();
        let joined: Vec<(u32, BlockKind, &[u8])> =
            output.records.iter().map(|record| (record.block, record.kind, record.bytes.as_ref())).collect();
        assert_eq!(
            joined,
            [
                (0, thought, "hmm… ".as_bytes()),
                (1, said, "né".as_bytes()),
                (1, said, b"e"),
                (2, tool, b"{}\n"),
                (1, said, "🙂".as_bytes()),
            ]
        );
        assert_eq!(output.stored, Offset(18));
        let run = store.run(run.id).await.unwrap().unwrap();
        assert_eq!(
            (run.state, run.bytes, run.first_token_at_ms),
            (RunState::Streaming, Offset(18), Some(6_000))
        );
    })
    .await;
}

#[tokio::test]
async fn a_repeated_checkpoint_adopts_what_was_stored() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        let stored = progress(&run, 0, text(0, "hello"));
        assert_eq!(result(&store, stored.clone()).await, ProgressResult::Moved);
        assert_eq!(result(&store, stored).await, ProgressResult::Adopted(Offset(5)));
        let longer = progress(&run, 0, text(0, "hello world"));
        assert_eq!(result(&store, longer).await, ProgressResult::Adopted(Offset(5)));
        assert_eq!(result(&store, progress(&run, 5, text(5, " world"))).await, ProgressResult::Moved);
        assert_eq!(store.run_output(run.id).await.unwrap().unwrap().stored, Offset(11));
    })
    .await;
}

#[tokio::test]
async fn a_second_driver_of_one_epoch_is_fenced() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        assert_eq!(result(&store, progress(&run, 0, text(0, "hello world"))).await, ProgressResult::Moved);
        assert_eq!(result(&store, progress(&run, 0, text(0, "hey"))).await, ProgressResult::Fenced);
        assert_eq!(result(&store, progress(&run, 20, text(20, "x"))).await, ProgressResult::Fenced);
        assert_eq!(result(&store, progress(&run, 0, Vec::new())).await, ProgressResult::Fenced);
        let mut later = run.clone();
        later.epoch = Epoch(2);
        assert_eq!(result(&store, progress(&later, 11, text(11, "x"))).await, ProgressResult::Fenced);
        let mut unknown = run.clone();
        unknown.id = RunId(Uuid::new_v4());
        assert_eq!(result(&store, progress(&unknown, 0, Vec::new())).await, ProgressResult::Fenced);
        assert_eq!(store.run_output(run.id).await.unwrap().unwrap().stored, Offset(11));
    })
    .await;
}

#[tokio::test]
async fn every_run_of_a_node_learns_its_own_fate_in_one_call() {
    on_each_database(async |store| {
        let me = node();
        let (silent, loud, fenced) =
            (start_run(&store, me).await, start_run(&store, me).await, start_run(&store, me).await);
        store.request_cancel(silent.id, loud.by.id).await.unwrap();
        let mut stale = progress(&fenced, 0, text(0, "lost"));
        stale.epoch = Epoch(7);
        let batch = [progress(&silent, 0, Vec::new()), stale, progress(&loud, 0, text(0, "kept"))];
        let outcomes = store.progress(&batch).await.unwrap();
        let ids: Vec<RunId> = outcomes.iter().map(|outcome| outcome.run).collect();
        assert_eq!(ids, [silent.id, fenced.id, loud.id]);
        let results = [outcomes[0].result, outcomes[1].result, outcomes[2].result];
        assert_eq!(results, [ProgressResult::Moved, ProgressResult::Fenced, ProgressResult::Moved]);
        assert_eq!(outcomes[0].cancel, Some(loud.by.id));
        assert_eq!((outcomes[1].cancel, outcomes[2].cancel), (None, None));
        assert_eq!(store.run_output(fenced.id).await.unwrap().unwrap().stored, Offset(0));
        assert_eq!(store.run_output(loud.id).await.unwrap().unwrap().stored, Offset(4));
        assert_eq!(store.progress(&[]).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn the_first_bytes_move_the_rooms_revision_and_later_ones_do_not() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        let revision = async || store.prompt(run.prompt).await.unwrap().unwrap().revision;
        let before = revision().await;
        result(&store, progress(&run, 0, text(0, "a"))).await;
        let first = revision().await;
        result(&store, progress(&run, 1, text(1, "b"))).await;
        assert_eq!((first, revision().await), (before + 1, before + 1));
    })
    .await;
}

#[tokio::test]
async fn usage_is_shown_while_the_run_goes_on() {
    on_each_database(async |store| {
        let me = node();
        let run = start_run(&store, me).await;
        store.admit_run(&attempt(&run, me)).await.unwrap();
        let mut silent = progress(&run, 0, Vec::new());
        silent.usage = Some(usage(77, 5, false));
        assert_eq!(result(&store, silent).await, ProgressResult::Moved);
        let run = store.run(run.id).await.unwrap().unwrap();
        assert_eq!((run.usage, run.cost), (Some(usage(77, 5, false)), None));
    })
    .await;
}
