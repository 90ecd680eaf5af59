//! Starting runs and reading them, live or ended.

use super::column::{Columns, int, word};
use super::database::{Row, Transaction};
use super::query::{Dialect, Statement, query};
use super::summary::{self, select_runs};
use super::{NewAttempt, NodeId, Result, Store, StoreError, WorkspaceId, attempts};
use bytes::Bytes;
use promptroom_protocol::{
    BlockKind, CommandId, Epoch, MemberId, Offset, PromptId, RunId, RunOrigin, RunState, RunSummary,
};
use std::collections::BTreeSet;
use uuid::Uuid;

const PROMPTS_AT_ONCE: usize = 10_000;

statements! {
    NEXT_NUMBER = "UPDATE prompts SET runs = runs + 1, revision = revision + 1
        WHERE id = $1 AND deleted_at_ms IS NULL RETURNING runs";
    START = "INSERT INTO runs (id, workspace_id, prompt_id, number, command_id, principal_id, origin, parent_id,
        variant, model, parameters_json, request_json, source_json, hash, state, epoch, stored, node_id,
        created_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 1, 0, $16, $17)";
    FIRST_CLAIM = "INSERT INTO run_claims (run_id, epoch, workspace_id, start, moved_at_ms)
        VALUES ($1, 1, $2, 0, $3)";
    BY_COMMAND = select_runs!("WHERE runs.principal_id = $1 AND command_id = $2");
    OF_PROMPT = select_runs!("WHERE runs.prompt_id = $1 AND runs.number < $2 ORDER BY runs.number DESC LIMIT $3");
    DETAIL = "SELECT request_json, source_json FROM runs WHERE id = $1";
    POSITION = "SELECT epoch, stored FROM runs WHERE id = $1";
    /// An ended run has no chunks, a live one no outputs.
    OUTPUT = "SELECT start, block, kind, bytes FROM run_outputs WHERE run_id = $1
        UNION ALL SELECT start, block, kind, bytes FROM run_chunks WHERE run_id = $1 ORDER BY start";
    CLAIMS = "SELECT epoch, start FROM run_claims WHERE run_id = $1 ORDER BY epoch";
    CANCEL = "UPDATE runs SET cancel_requested_by = $2
        WHERE id = $1 AND cancel_requested_by IS NULL AND ended_at_ms IS NULL RETURNING prompt_id";
    MOVE_REVISION = "UPDATE prompts SET revision = revision + 1 WHERE id = $1";
}

#[derive(Clone, Debug)]
pub struct NewRun {
    pub id: RunId,
    pub prompt: PromptId,
    pub command: CommandId,
    pub by: MemberId,
    /// Who drives it.
    pub node: NodeId,
    pub origin: RunOrigin,
    pub parent: Option<RunId>,
    pub variant: String,
    pub model: String,
    pub parameters: serde_json::Value,
    /// The exact request, secrets redacted.
    pub request_json: String,
    /// What the request was cut from.
    pub source_json: String,
    pub hash: String,
    pub now_ms: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StartOutcome {
    Started(RunSummary),
    /// The same principal sent this command before: this is the run that it started.
    Repeated(RunSummary),
    /// The prompt is unknown or deleted.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDetail {
    pub request_json: String,
    pub source_json: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOutput {
    pub epoch: Epoch,
    pub stored: Offset,
    /// In order of arrival; their bytes add up to `stored`.
    pub records: Vec<StoredRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    pub block: u32,
    pub kind: BlockKind,
    pub bytes: Bytes,
}

/// Where an epoch of a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunClaim {
    pub epoch: Epoch,
    pub start: Offset,
}

impl Store {
    /// Writes the run as queued, under the prompt's next number, in epoch 1, driven by `node`.
    pub async fn start_run(&self, new: &NewRun) -> Result<StartOutcome> {
        self.begin_run(new, None).await
    }

    /// The same where a slot is free: the attempt is written in the same transaction.
    pub async fn start_and_admit_run(&self, new: &NewRun, attempt: &NewAttempt) -> Result<StartOutcome> {
        self.begin_run(new, Some(attempt)).await
    }

    async fn begin_run(&self, new: &NewRun, attempt: Option<&NewAttempt>) -> Result<StartOutcome> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        if let Some(run) = by_command(&mut transaction, new.by, new.command).await? {
            return Ok(StartOutcome::Repeated(run));
        }
        let numbered = query(NEXT_NUMBER).bind(new.prompt.0).fetch_optional(&mut transaction).await?;
        let Some(numbered) = numbered else { return Ok(StartOutcome::Gone) };
        // Another node may have started the same command since; it had the prompt's row before us.
        if transaction.dialect() == Dialect::Postgres
            && let Some(run) = by_command(&mut transaction, new.by, new.command).await?
        {
            return Ok(StartOutcome::Repeated(run));
        }
        insert(&mut transaction, workspace, new, numbered.signed("runs")?).await?;
        if let Some(attempt) = attempt {
            attempts::admit(&mut transaction, attempt).await?;
        }
        let run = expect(&mut transaction, new.id).await?;
        transaction.commit().await?;
        Ok(StartOutcome::Started(run))
    }

    pub async fn run(&self, id: RunId) -> Result<Option<RunSummary>> {
        summary::find(&mut self.db.read().await?, id).await
    }

    /// The run that a command of this principal started.
    pub async fn run_by_command(&self, by: MemberId, command: CommandId) -> Result<Option<RunSummary>> {
        by_command(&mut self.db.read().await?, by, command).await
    }

    /// Newest first, those numbered below `before`.
    pub async fn runs(&self, prompt: PromptId, before: Option<u32>, limit: u32) -> Result<Vec<RunSummary>> {
        let mut transaction = self.db.read().await?;
        let rows = query(OF_PROMPT)
            .bind(prompt.0)
            .bind(before.map_or(i64::MAX, i64::from))
            .bind(i64::from(limit))
            .fetch_all(&mut transaction)
            .await?;
        summary::complete(&mut transaction, rows).await
    }

    pub async fn run_detail(&self, id: RunId) -> Result<Option<RunDetail>> {
        let mut connection = self.db.read_once().await?;
        let row = query(DETAIL).bind(id.0).fetch_optional(&mut connection).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(RunDetail { request_json: row.text("request_json")?, source_json: row.text("source_json")? }))
    }

    /// What is on disk of a run's output, whether it goes on or has ended.
    pub async fn run_output(&self, id: RunId) -> Result<Option<StoredOutput>> {
        let mut transaction = self.db.read().await?;
        let row = query(POSITION).bind(id.0).fetch_optional(&mut transaction).await?;
        let Some(row) = row else { return Ok(None) };
        let stored = Offset(row.number("stored")?);
        let rows = query(OUTPUT).bind(id.0).fetch_all(&mut transaction).await?;
        Ok(Some(StoredOutput {
            epoch: Epoch(row.number("epoch")?),
            stored,
            records: read_records(&rows, id, stored)?,
        }))
    }

    /// All of them, in order, the first epoch included.
    pub async fn run_claims(&self, id: RunId) -> Result<Vec<RunClaim>> {
        let mut connection = self.db.read_once().await?;
        let rows = query(CLAIMS).bind(id.0).fetch_all(&mut connection).await?;
        rows.iter()
            .map(|row| {
                Ok(RunClaim { epoch: Epoch(row.number("epoch")?), start: Offset(row.number("start")?) })
            })
            .collect()
    }

    /// Asks whoever drives the run to stop; the first one to ask is remembered. Without effect on an ended run.
    pub async fn request_cancel(&self, run: RunId, by: MemberId) -> Result<Option<RunSummary>> {
        let mut transaction = self.db.write().await?;
        let row = query(CANCEL).bind(run.0).bind(by.0).fetch_optional(&mut transaction).await?;
        if let Some(row) = row {
            move_revision(&mut transaction, PromptId(row.uuid("prompt_id")?)).await?;
        }
        let run = summary::find(&mut transaction, run).await?;
        transaction.commit().await?;
        Ok(run)
    }
}

/// Other nodes see by the revision that rows about a prompt changed.
pub(super) async fn move_revision(connection: &mut Transaction, prompt: PromptId) -> Result<()> {
    query(MOVE_REVISION).bind(prompt.0).execute(connection).await?;
    Ok(())
}

/// The same for the prompts of many runs.
pub(super) async fn move_revisions(
    connection: &mut Transaction,
    prompts: impl IntoIterator<Item = PromptId>,
) -> Result<()> {
    let prompts: BTreeSet<Uuid> = prompts.into_iter().map(|prompt| prompt.0).collect();
    let prompts: Vec<Uuid> = prompts.into_iter().collect();
    for prompts in prompts.chunks(PROMPTS_AT_ONCE) {
        connection.hold_all("prompts", "id", prompts.iter().copied()).await?;
        let mut update =
            Statement::new(connection.dialect(), "UPDATE prompts SET revision = revision + 1 WHERE id");
        update.push_in(prompts.iter().copied());
        update.build().persistent(false).execute(connection).await?;
    }
    Ok(())
}

/// The summary of a run that is known to be there.
pub(super) async fn expect(connection: &mut Transaction, id: RunId) -> Result<RunSummary> {
    let run = summary::find(connection, id).await?;
    run.ok_or_else(|| StoreError::Corrupt(format!("run {id} or its principal is missing")))
}

/// Records that must add up to what the run's row says.
pub(super) fn read_records(rows: &[Row], run: RunId, stored: Offset) -> Result<Vec<StoredRecord>> {
    let mut records = Vec::with_capacity(rows.len());
    let mut reached = 0;
    for row in rows {
        if row.number::<u64>("start")? != reached {
            return Err(StoreError::Corrupt(format!("run {run}: bytes are missing at {reached}")));
        }
        let bytes = row.bytes("bytes")?;
        reached += bytes.len() as u64;
        let kind = BlockKind::from_byte(row.number("kind")?)
            .ok_or_else(|| StoreError::Corrupt(format!("run {run}: a block of no known kind")))?;
        records.push(StoredRecord { block: row.number("block")?, kind, bytes });
    }
    if reached != stored.0 {
        return Err(StoreError::Corrupt(format!("run {run}: {reached} bytes where {} are stored", stored.0)));
    }
    Ok(records)
}

async fn by_command(
    connection: &mut Transaction,
    by: MemberId,
    command: CommandId,
) -> Result<Option<RunSummary>> {
    let rows = query(BY_COMMAND).bind(by.0).bind(command.0).fetch_all(&mut *connection).await?;
    Ok(summary::complete(connection, rows).await?.pop())
}

async fn insert(
    connection: &mut Transaction,
    workspace: WorkspaceId,
    new: &NewRun,
    number: i64,
) -> Result<()> {
    query(START)
        .bind(new.id.0)
        .bind(workspace.0)
        .bind(new.prompt.0)
        .bind(number)
        .bind(new.command.0)
        .bind(new.by.0)
        .bind(word(&new.origin))
        .bind(new.parent.map(|run| run.0))
        .bind(&new.variant)
        .bind(&new.model)
        .bind(new.parameters.to_string())
        .bind(&new.request_json)
        .bind(&new.source_json)
        .bind(&new.hash)
        .bind(RunState::Queued.name())
        .bind(new.node.0)
        .bind(int(new.now_ms))
        .execute(&mut *connection)
        .await?;
    query(FIRST_CLAIM).bind(new.id.0).bind(workspace.0).bind(int(new.now_ms)).execute(connection).await?;
    Ok(())
}
