//! Checkpoints: what all live runs of a node received since the last one, in one transaction.

use super::column::{Columns, int, len, maybe_int};
use super::database::{Row, Transaction};
use super::query::Statement;
use super::{Result, Store, StoredRecord, WorkspaceId, runs};
use bytes::{Bytes, BytesMut};
use promptroom_protocol::{BlockKind, Epoch, MemberId, Offset, PromptId, RunId, Usage};
use std::collections::{BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// Seven values at most for each run, or for each chunk, of one statement.
const ROWS_PER_STATEMENT: usize = 4_000;
/// Bytes of output in one transaction: a larger batch is several, each whole or not at all.
const BYTES_PER_TRANSACTION: u64 = 16 << 20;
const SELECT_GUARDS: &str = "SELECT id, epoch, stored, ended_at_ms, cancel_requested_by FROM runs WHERE id";

/// What one live run has to store; a silent one reports too, to learn of a cancel or a claim.
#[derive(Clone, Debug)]
pub struct Progress {
    pub run: RunId,
    pub epoch: Epoch,
    /// What the driver believes to be stored.
    pub from: Offset,
    /// In order and without a gap, beginning at `from`.
    pub records: Vec<Record>,
    pub first_token_at_ms: Option<u64>,
    /// Of the open attempt, so far.
    pub usage: Option<Usage>,
    pub now_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub block: u32,
    pub kind: BlockKind,
    pub bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressOutcome {
    pub run: RunId,
    pub result: ProgressResult,
    /// Who asked for the run to stop.
    pub cancel: Option<MemberId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressResult {
    /// All of it is stored.
    Moved,
    /// An earlier call, thought to have failed, had stored up to here: go on from there.
    Adopted(Offset),
    /// Another driver has the run, or it has ended: stop.
    Fenced,
}

impl Store {
    /// Outcomes in the order of the batch. On an error some of it may be stored: a repeat adopts that.
    ///
    /// # Panics
    /// If a run is named twice or its records do not follow on `from`.
    pub async fn progress(&self, batch: &[Progress]) -> Result<Vec<ProgressOutcome>> {
        check(batch);
        let changes = batch.iter().any(|run| !run.records.is_empty() || run.usage.is_some());
        if !changes {
            let mut transaction = self.db.read().await?;
            let guards = read_guards(&mut transaction, batch).await?;
            return Ok(batch.iter().map(|run| outcome(run, false, guards.get(&run.run))).collect());
        }
        let workspace = self.workspace_id().await?;
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut rest = batch;
        while !rest.is_empty() {
            let (runs, later) = rest.split_at(runs_that_fit(rest));
            let mut transaction = self.db.write().await?;
            let moved = move_all(&mut transaction, workspace, runs).await?;
            let guards = read_guards(&mut transaction, runs).await?;
            transaction.commit().await?;
            let is_moved = |run: &Progress| moved.contains(&run.run.0);
            outcomes.extend(runs.iter().map(|run| outcome(run, is_moved(run), guards.get(&run.run))));
            rest = later;
        }
        Ok(outcomes)
    }
}

/// At least one.
fn runs_that_fit(batch: &[Progress]) -> usize {
    let mut bytes = 0;
    let fitting = batch.iter().take_while(|run| {
        bytes += run.records.iter().map(|record| len(&record.bytes)).sum::<u64>();
        bytes <= BYTES_PER_TRANSACTION
    });
    fitting.count().max(1)
}

fn check(batch: &[Progress]) {
    let runs: HashSet<RunId> = batch.iter().map(|run| run.run).collect();
    assert_eq!(runs.len(), batch.len(), "a run is named twice in one batch");
    for run in batch {
        reached(run.from, &run.records);
    }
}

/// Where the records end.
///
/// # Panics
/// If they do not follow on `from` without a gap.
pub(super) fn reached(from: Offset, records: &[Record]) -> Offset {
    let mut reached = from;
    for record in records {
        assert_eq!(record.offset, reached, "records have a gap or overlap");
        reached.0 += len(&record.bytes);
    }
    reached
}

/// Moves the guarded rows and stores what came with those that moved; which they are.
async fn move_all(
    connection: &mut Transaction,
    workspace: WorkspaceId,
    batch: &[Progress],
) -> Result<BTreeSet<Uuid>> {
    let loud: Vec<&Progress> = batch.iter().filter(|run| !run.records.is_empty()).collect();
    let mut moved = BTreeSet::new();
    for runs in loud.chunks(ROWS_PER_STATEMENT) {
        move_rows(connection, runs, &mut moved).await?;
    }
    note_usages(connection, batch).await?;
    if !moved.is_empty() {
        let stored = loud.iter().filter(|run| moved.contains(&run.run.0));
        let chunks: Vec<Chunk> = stored.flat_map(|run| chunks(run)).collect();
        for chunks in chunks.chunks(ROWS_PER_STATEMENT) {
            insert_chunks(connection, workspace, chunks).await?;
        }
        // Last, because everybody who changes something about a prompt waits for its row.
        show_streaming(connection, &moved).await?;
    }
    Ok(moved)
}

async fn move_rows(
    connection: &mut Transaction,
    runs: &[&Progress],
    moved: &mut BTreeSet<Uuid>,
) -> Result<()> {
    connection.hold_all("runs", "id", runs.iter().map(|run| run.run.0)).await?;
    let mut query = Statement::new(
        connection.dialect(),
        "WITH batch (run_id, epoch, origin, reached, first_token_at_ms, now_ms) AS (",
    );
    query.push_values(runs, |values, run| {
        values
            .push_bind(run.run.0)
            .push_bind(i64::from(run.epoch.0))
            .push_bind(int(run.from.0))
            .push_bind(int(reached(run.from, &run.records).0))
            .push_bind(maybe_int(run.first_token_at_ms))
            .push_bind(int(run.now_ms));
    });
    query.push(
        ") UPDATE runs SET stored = batch.reached, moved_at_ms = batch.now_ms,
        first_token_at_ms = COALESCE(runs.first_token_at_ms, batch.first_token_at_ms) FROM batch
        WHERE runs.id = batch.run_id AND runs.epoch = batch.epoch AND runs.stored = batch.origin
        AND runs.ended_at_ms IS NULL RETURNING runs.id",
    );
    for row in query.build().persistent(false).fetch_all(connection).await? {
        moved.insert(row.uuid("id")?);
    }
    Ok(())
}

/// What the providers have reported so far, or we have counted.
async fn note_usages(connection: &mut Transaction, batch: &[Progress]) -> Result<()> {
    let reported: Vec<_> = batch.iter().filter_map(|run| Some((run, run.usage.as_ref()?))).collect();
    for reported in reported.chunks(ROWS_PER_STATEMENT) {
        let mut update = Statement::new(
            connection.dialect(),
            "WITH batch (run_id, epoch, input, cached_input, output, reasoning, estimated) AS (",
        );
        update.push_values(reported, |values, (run, usage)| {
            values
                .push_bind(run.run.0)
                .push_bind(i64::from(run.epoch.0))
                .push_bind(int(usage.input_tokens))
                .push_bind(int(usage.cached_input_tokens))
                .push_bind(int(usage.output_tokens))
                .push_bind(int(usage.reasoning_tokens))
                .push_bind(i64::from(usage.estimated));
        });
        update.push(
            ") UPDATE run_attempts SET input_tokens = batch.input, cached_input_tokens = batch.cached_input,
            output_tokens = batch.output, reasoning_tokens = batch.reasoning, estimated = batch.estimated FROM batch
            WHERE run_attempts.run_id = batch.run_id AND run_attempts.epoch = batch.epoch
            AND settled_at_ms IS NULL",
        );
        update.build().persistent(false).execute(connection).await?;
    }
    Ok(())
}

/// The first bytes of an epoch change the run's state, which other nodes must see.
async fn show_streaming(connection: &mut Transaction, moved: &BTreeSet<Uuid>) -> Result<()> {
    let mut query = Statement::new(
        connection.dialect(),
        "UPDATE runs SET state = 'streaming' WHERE state <> 'streaming' AND id",
    );
    query.push_in(moved.iter().copied());
    query.push(" RETURNING prompt_id");
    let rows = query.build().persistent(false).fetch_all(&mut *connection).await?;
    let prompts = rows.iter().map(|row| row.uuid("prompt_id").map(PromptId));
    runs::move_revisions(connection, prompts.collect::<Result<Vec<_>>>()?).await
}

struct Chunk {
    run: RunId,
    epoch: Epoch,
    start: Offset,
    record: StoredRecord,
}

fn chunks(run: &Progress) -> impl Iterator<Item = Chunk> {
    let records = run.records.iter().map(|record| StoredRecord {
        block: record.block,
        kind: record.kind,
        bytes: record.bytes.clone(),
    });
    join(run.from, records).into_iter().map(|(start, record)| Chunk {
        run: run.run,
        epoch: run.epoch,
        start,
        record,
    })
}

/// Neighbours of one block as one record, each with its offset.
pub(super) fn join(
    start: Offset,
    records: impl IntoIterator<Item = StoredRecord>,
) -> Vec<(Offset, StoredRecord)> {
    let mut joined: Vec<(Offset, u32, BlockKind, BytesMut)> = Vec::new();
    let mut reached = start;
    for record in records {
        let at = reached;
        reached.0 += len(&record.bytes);
        match joined.last_mut() {
            Some((_, block, kind, bytes)) if *block == record.block && *kind == record.kind => {
                bytes.extend_from_slice(&record.bytes);
            }
            _ => joined.push((at, record.block, record.kind, BytesMut::from(record.bytes.as_ref()))),
        }
    }
    joined
        .into_iter()
        .map(|(at, block, kind, bytes)| (at, StoredRecord { block, kind, bytes: bytes.freeze() }))
        .collect()
}

async fn insert_chunks(connection: &mut Transaction, workspace: WorkspaceId, chunks: &[Chunk]) -> Result<()> {
    let mut query = Statement::new(
        connection.dialect(),
        "INSERT INTO run_chunks (run_id, start, workspace_id, epoch, block, kind, bytes) ",
    );
    query.push_values(chunks, |values, chunk| {
        values
            .push_bind(chunk.run.0)
            .push_bind(int(chunk.start.0))
            .push_bind(workspace.0)
            .push_bind(i64::from(chunk.epoch.0))
            .push_bind(i64::from(chunk.record.block))
            .push_bind(i64::from(chunk.record.kind as u8))
            .push_bind(chunk.record.bytes.as_ref());
    });
    query.build().persistent(false).execute(connection).await?;
    Ok(())
}

/// What the guarded row of a run says now.
struct Guard {
    epoch: Epoch,
    stored: Offset,
    ended: bool,
    cancel: Option<MemberId>,
}

async fn read_guards(connection: &mut Transaction, batch: &[Progress]) -> Result<HashMap<RunId, Guard>> {
    let mut guards = HashMap::with_capacity(batch.len());
    for runs in batch.chunks(ROWS_PER_STATEMENT) {
        let mut query = Statement::new(connection.dialect(), SELECT_GUARDS);
        query.push_in(runs.iter().map(|run| run.run.0));
        for row in query.build().persistent(false).fetch_all(&mut *connection).await? {
            guards.insert(RunId(row.uuid("id")?), read_guard(&row)?);
        }
    }
    Ok(guards)
}

fn read_guard(row: &Row) -> Result<Guard> {
    Ok(Guard {
        epoch: Epoch(row.number("epoch")?),
        stored: Offset(row.number("stored")?),
        ended: row.maybe_signed("ended_at_ms")?.is_some(),
        cancel: row.maybe_uuid("cancel_requested_by")?.map(MemberId),
    })
}

fn outcome(run: &Progress, moved: bool, guard: Option<&Guard>) -> ProgressOutcome {
    let cancel = guard.and_then(|guard| guard.cancel);
    let result = match guard {
        Some(guard) if guard.epoch == run.epoch && !guard.ended => match moved {
            true => ProgressResult::Moved,
            false => unmoved(run, guard.stored),
        },
        _ => ProgressResult::Fenced,
    };
    ProgressOutcome { run: run.run, result, cancel }
}

fn unmoved(run: &Progress, stored: Offset) -> ProgressResult {
    if run.records.is_empty() && stored == run.from {
        return ProgressResult::Moved;
    }
    // Within one epoch only this driver moves the row, so anything else is a second one that took itself for it.
    let is_ours = run.from < stored && stored <= reached(run.from, &run.records);
    if is_ours { ProgressResult::Adopted(stored) } else { ProgressResult::Fenced }
}
