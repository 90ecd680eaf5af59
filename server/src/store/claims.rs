//! Who drives a run: taking one over, and ending it once.

use super::column::{Columns, int, len, maybe_int, word};
use super::database::{Row, Transaction};
use super::query::{Statement, query};
use super::{
    AttemptId, Bill, NodeId, OpenAttempt, Record, Result, Store, StoredRecord, WorkspaceId, attempts,
    progress, runs,
};
use promptroom_protocol::{Epoch, MemberId, Offset, PromptId, RunId, RunState, RunSummary, StopReason};

/// Six values for each record of one statement.
const ROWS_PER_STATEMENT: usize = 4_000;
/// An output of more bytes may be of so many rows, or of so long ones, that its end takes a while.
const LARGE_OUTPUT_BYTES: u64 = 64 << 10;

statements! {
    FIND = "SELECT prompt_id, workspace_id, epoch, stored, ended_at_ms, cancel_requested_by,
        COALESCE(moved_at_ms, admitted_at_ms, created_at_ms) AS moved_at_ms FROM runs WHERE id = $1";
    CLAIM = "UPDATE runs SET epoch = epoch + 1, stored = $4, node_id = $5,
        state = CASE WHEN state = 'queued' THEN 'queued' ELSE 'recovering' END
        WHERE id = $1 AND epoch = $2 AND stored = $3 AND ended_at_ms IS NULL RETURNING epoch";
    ADD_CLAIM = "INSERT INTO run_claims (run_id, epoch, workspace_id, start, moved_at_ms)
        VALUES ($1, $2, $3, $4, $5)";
    LAST_CHUNK_BEFORE = "SELECT start, bytes FROM run_chunks
        WHERE run_id = $1 AND start < $2 ORDER BY start DESC LIMIT 1";
    CUT_CHUNK = "UPDATE run_chunks SET bytes = $3 WHERE run_id = $1 AND start = $2";
    DROP_CHUNKS_FROM = "DELETE FROM run_chunks WHERE run_id = $1 AND start >= $2";
    END = "UPDATE runs SET state = $4, stored = $5, first_token_at_ms = COALESCE(first_token_at_ms, $6),
        stop_reason = $7, stop_sequence = $8, stopped_by = $9, problem_json = $10, ended_at_ms = $11, node_id = NULL
        WHERE id = $1 AND epoch = $2 AND stored = $3 AND ended_at_ms IS NULL";
    CHUNKS = "SELECT start, block, kind, bytes FROM run_chunks WHERE run_id = $1 ORDER BY start";
    DROP_CHUNKS = "DELETE FROM run_chunks WHERE run_id = $1";
}

#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub run: RunId,
    /// The epoch in which the run was found: only one of two claimers gets it.
    pub seen: Epoch,
    pub node: NodeId,
    /// Withdraws what is stored from here on; on a character boundary.
    pub trim_to: Option<Offset>,
    pub now_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    Claimed {
        epoch: Epoch,
        stored: Offset,
        cancel: Option<MemberId>,
    },
    /// Somebody else claimed it first.
    Moved,
    /// It has ended, or there is no such run.
    Ended,
}

#[derive(Clone, Debug)]
pub struct RunEnd {
    pub run: RunId,
    pub epoch: Epoch,
    /// As in `Progress`: the rest of the output.
    pub from: Offset,
    pub records: Vec<Record>,
    pub first_token_at_ms: Option<u64>,
    /// Terminal.
    pub state: RunState,
    pub stop_reason: Option<StopReason>,
    pub stop_sequence: Option<String>,
    pub stopped_by: Option<MemberId>,
    pub problem_json: Option<String>,
    /// Settles an attempt with the end; one that goes on being billed is settled later by `settle_attempt`.
    pub settles: Option<(AttemptId, Bill)>,
    pub ended_at_ms: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum EndOutcome {
    Ended(RunSummary),
    /// The first terminal state stays.
    AlreadyEnded(RunSummary),
    /// Another driver has the run, or there is no such run.
    Fenced,
}

impl Store {
    /// Makes `node` the driver in a new epoch, and settles the attempts of the old one by `estimate`.
    pub async fn claim_run(&self, claim: &Claim, estimate: fn(&OpenAttempt) -> Bill) -> Result<ClaimOutcome> {
        let mut transaction = self.db.write().await?;
        let Some(run) = find(&mut transaction, claim.run).await?.filter(|run| !run.ended) else {
            return Ok(ClaimOutcome::Ended);
        };
        let start = claim.trim_to.map_or(run.stored, |trim_to| trim_to.min(run.stored));
        let claimed = query(CLAIM)
            .bind(claim.run.0)
            .bind(i64::from(claim.seen.0))
            .bind(int(run.stored.0))
            .bind(int(start.0))
            .bind(claim.node.0)
            .fetch_optional(&mut transaction)
            .await?;
        let Some(claimed) = claimed else { return Ok(ClaimOutcome::Moved) };
        let epoch = Epoch(claimed.number("epoch")?);
        if start < run.stored {
            trim(&mut transaction, claim.run, start).await?;
        }
        query(ADD_CLAIM)
            .bind(claim.run.0)
            .bind(i64::from(epoch.0))
            .bind(run.workspace.0)
            .bind(int(start.0))
            .bind(int(run.moved_at_ms))
            .execute(&mut transaction)
            .await?;
        attempts::settle_open(&mut transaction, claim.run, run.stored, estimate, claim.now_ms).await?;
        runs::move_revision(&mut transaction, run.prompt).await?;
        transaction.commit().await?;
        Ok(ClaimOutcome::Claimed { epoch, stored: start, cancel: run.cancel })
    }

    /// Stores the rest, folds the output and settles, in one transaction.
    ///
    /// # Panics
    /// If the state is not terminal or the records do not follow on `from`.
    pub async fn end_run(&self, end: &RunEnd) -> Result<EndOutcome> {
        assert!(end.state.is_terminal(), "a run cannot end as {}", end.state.name());
        let reached = progress::reached(end.from, &end.records);
        let mut transaction = match reached.0 > LARGE_OUTPUT_BYTES {
            true => self.db.write_large().await?,
            false => self.db.write().await?,
        };
        let Some(run) = find(&mut transaction, end.run).await? else { return Ok(EndOutcome::Fenced) };
        if run.ended {
            return Ok(EndOutcome::AlreadyEnded(runs::expect(&mut transaction, end.run).await?));
        }
        // What an earlier call stored, though it was thought to have failed, is taken as it is.
        let is_ours = run.epoch == end.epoch && end.from <= run.stored && run.stored <= reached;
        if !is_ours || !set_ended(&mut transaction, end, run.stored, reached).await? {
            return Ok(EndOutcome::Fenced);
        }
        let rest = rest(&end.records, run.stored);
        fold(&mut transaction, run.workspace, end.run, run.stored, rest).await?;
        if let Some((attempt, bill)) = &end.settles {
            attempts::settle(&mut transaction, *attempt, bill, end.ended_at_ms).await?;
        }
        runs::move_revision(&mut transaction, run.prompt).await?;
        let ended = runs::expect(&mut transaction, end.run).await?;
        transaction.commit().await?;
        Ok(EndOutcome::Ended(ended))
    }
}

struct Driven {
    prompt: PromptId,
    workspace: WorkspaceId,
    epoch: Epoch,
    stored: Offset,
    ended: bool,
    cancel: Option<MemberId>,
    moved_at_ms: u64,
}

/// Nobody else moves the run until the transaction ends.
async fn find(connection: &mut Transaction, run: RunId) -> Result<Option<Driven>> {
    let row = query(FIND).bind(run.0).hold_rows(connection.dialect()).fetch_optional(connection).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Driven> {
    Ok(Driven {
        prompt: PromptId(row.uuid("prompt_id")?),
        workspace: WorkspaceId(row.uuid("workspace_id")?),
        epoch: Epoch(row.number("epoch")?),
        stored: Offset(row.number("stored")?),
        ended: row.maybe_signed("ended_at_ms")?.is_some(),
        cancel: row.maybe_uuid("cancel_requested_by")?.map(MemberId),
        moved_at_ms: row.number("moved_at_ms")?,
    })
}

/// Withdraws the bytes from `start` on; a chunk that reaches over it is cut.
async fn trim(connection: &mut Transaction, run: RunId, start: Offset) -> Result<()> {
    query(DROP_CHUNKS_FROM).bind(run.0).bind(int(start.0)).execute(&mut *connection).await?;
    let last =
        query(LAST_CHUNK_BEFORE).bind(run.0).bind(int(start.0)).fetch_optional(&mut *connection).await?;
    let Some(last) = last else { return Ok(()) };
    let begins: u64 = last.number("start")?;
    let bytes = last.bytes("bytes")?;
    let kept = usize::try_from(start.0 - begins).unwrap_or(usize::MAX);
    if kept < bytes.len() {
        query(CUT_CHUNK).bind(run.0).bind(int(begins)).bind(&bytes[..kept]).execute(connection).await?;
    }
    Ok(())
}

async fn set_ended(
    connection: &mut Transaction,
    end: &RunEnd,
    stored: Offset,
    reached: Offset,
) -> Result<bool> {
    let ended = query(END)
        .bind(end.run.0)
        .bind(i64::from(end.epoch.0))
        .bind(int(stored.0))
        .bind(end.state.name())
        .bind(int(reached.0))
        .bind(maybe_int(end.first_token_at_ms))
        .bind(end.stop_reason.as_ref().map(word))
        .bind(end.stop_sequence.as_deref())
        .bind(end.stopped_by.map(|by| by.0))
        .bind(end.problem_json.as_deref())
        .bind(int(end.ended_at_ms))
        .execute(connection)
        .await?;
    Ok(ended > 0)
}

/// The part of the records that lies behind `stored`.
fn rest(records: &[Record], stored: Offset) -> impl Iterator<Item = StoredRecord> {
    records.iter().filter_map(move |record| {
        let known = stored.0.saturating_sub(record.offset.0).min(len(&record.bytes));
        let bytes = record.bytes.slice(usize::try_from(known).ok()?..);
        (!bytes.is_empty()).then_some(StoredRecord { block: record.block, kind: record.kind, bytes })
    })
}

/// Makes the chunks and the rest into the final output.
async fn fold(
    connection: &mut Transaction,
    workspace: WorkspaceId,
    run: RunId,
    stored: Offset,
    rest: impl Iterator<Item = StoredRecord>,
) -> Result<()> {
    let chunks = query(CHUNKS).bind(run.0).fetch_all(&mut *connection).await?;
    let chunks = runs::read_records(&chunks, run, stored)?;
    let output = progress::join(Offset(0), chunks.into_iter().chain(rest));
    for records in output.chunks(ROWS_PER_STATEMENT) {
        let mut query = Statement::new(
            connection.dialect(),
            "INSERT INTO run_outputs (run_id, start, workspace_id, block, kind, bytes) ",
        );
        query.push_values(records, |values, (start, record)| {
            values
                .push_bind(run.0)
                .push_bind(int(start.0))
                .push_bind(workspace.0)
                .push_bind(i64::from(record.block))
                .push_bind(i64::from(record.kind as u8))
                .push_bind(record.bytes.as_ref());
        });
        query.build().persistent(false).execute(&mut *connection).await?;
    }
    query(DROP_CHUNKS).bind(run.0).execute(connection).await?;
    Ok(())
}
