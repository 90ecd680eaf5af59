//! Attempts: each request to a provider is written down before it leaves, and settled exactly once.

use super::column::{Columns, int};
use super::database::{Row, Transaction};
use super::query::{Statement, query};
use super::{AttemptId, NodeId, Result, Store, runs, summary};
use promptroom_protocol::{Epoch, MemberId, Nanodollars, Offset, PromptId, RunId, Usage};

/// Attempts settled in one transaction by the clean-up.
const ORPHANS_MAX: i64 = 100;

statements! {
    ADMIT = "UPDATE runs SET state = CASE WHEN state = 'queued' THEN 'admitted' ELSE state END,
        admitted_at_ms = COALESCE(admitted_at_ms, $3)
        WHERE id = $1 AND epoch = $2 AND ended_at_ms IS NULL AND cancel_requested_by IS NULL
        RETURNING prompt_id, workspace_id, stored";
    WHY_REFUSED = "SELECT cancel_requested_by FROM runs WHERE id = $1 AND epoch = $2 AND ended_at_ms IS NULL";
    EXISTS = "SELECT 1 AS yes FROM run_attempts WHERE id = $1";
    ADD = "INSERT INTO run_attempts (id, workspace_id, run_id, epoch, node_id, start, price_json, admitted_at_ms,
        input_tokens, cached_input_tokens, output_tokens, reasoning_tokens, estimated)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, 1)";
    SETTLE = "UPDATE run_attempts SET input_tokens = $2, cached_input_tokens = $3, output_tokens = $4,
        reasoning_tokens = $5, estimated = $6, cost_nanos = $7, settled_at_ms = $8
        WHERE id = $1 AND settled_at_ms IS NULL RETURNING run_id";
    RUN_CHANGED = "UPDATE prompts SET revision = revision + 1
        WHERE id = (SELECT prompt_id FROM runs WHERE id = $1)";
    OPEN_OF_RUN = "SELECT id, run_id, start, price_json, input_tokens, cached_input_tokens, output_tokens,
        reasoning_tokens, estimated FROM run_attempts WHERE run_id = $1 AND settled_at_ms IS NULL";
}

#[derive(Clone, Debug)]
pub struct NewAttempt {
    pub id: AttemptId,
    pub run: RunId,
    pub epoch: Epoch,
    pub node: NodeId,
    /// The prices it runs under, in the caller's form.
    pub price_json: String,
    /// What the input is thought to be, until the provider says.
    pub input_tokens: u64,
    pub now_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmitOutcome {
    Admitted,
    /// Somebody asked for a stop before it began: no attempt was made.
    CancelRequested {
        by: MemberId,
    },
    /// Another driver has the run, or it has ended.
    Fenced,
}

/// An attempt whose end nobody told us: what an estimate can be made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenAttempt {
    pub id: AttemptId,
    pub run: RunId,
    pub price_json: String,
    /// As far as it was reported or estimated while it went on.
    pub usage: Usage,
    /// Bytes of its output that are stored.
    pub received_bytes: u64,
}

/// What an attempt came to; no cost if no price is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bill {
    pub usage: Usage,
    pub cost: Option<Nanodollars>,
}

impl Store {
    /// Writes the attempt before its request leaves; repeating it with the same id does nothing twice.
    pub async fn admit_run(&self, attempt: &NewAttempt) -> Result<AdmitOutcome> {
        let mut transaction = self.db.write().await?;
        let outcome = admit(&mut transaction, attempt).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    /// Whether this call settled it; an attempt that is settled stays as it is.
    pub async fn settle_attempt(&self, id: AttemptId, bill: &Bill, now_ms: u64) -> Result<bool> {
        let mut transaction = self.db.write().await?;
        let settled = settle(&mut transaction, id, bill, now_ms).await?;
        if let Some(run) = settled {
            query(RUN_CHANGED).bind(run.0).execute(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(settled.is_some())
    }

    /// Settles by `estimate` what nodes that are `dead` left open on ended runs, at most 100 at a time; how many.
    pub async fn settle_orphans(
        &self,
        dead: &[NodeId],
        estimate: fn(&OpenAttempt) -> Bill,
        now_ms: u64,
    ) -> Result<u64> {
        let orphans = self.orphans(dead).await?;
        if orphans.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.db.write().await?;
        let mut settled = Vec::new();
        for (prompt, orphan) in orphans {
            if settle(&mut transaction, orphan.id, &estimate(&orphan), now_ms).await?.is_some() {
                settled.push(prompt);
            }
        }
        let count = settled.len() as u64;
        runs::move_revisions(&mut transaction, settled).await?;
        transaction.commit().await?;
        Ok(count)
    }

    async fn orphans(&self, dead: &[NodeId]) -> Result<Vec<(PromptId, OpenAttempt)>> {
        if dead.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = Statement::new(
            self.db.dialect(),
            "SELECT run_attempts.id, run_id, start, price_json, input_tokens, cached_input_tokens, output_tokens,
            reasoning_tokens, estimated, stored, prompt_id FROM run_attempts JOIN runs ON runs.id = run_attempts.run_id
            WHERE settled_at_ms IS NULL AND runs.ended_at_ms IS NOT NULL",
        );
        query.push(" AND run_attempts.node_id").push_in(dead.iter().map(|node| node.0));
        query.push(" ORDER BY run_attempts.id LIMIT ").push_bind(ORPHANS_MAX);
        let mut connection = self.db.read_once().await?;
        let rows = query.build().persistent(false).fetch_all(&mut connection).await?;
        rows.iter()
            .map(|row| {
                let prompt = PromptId(row.uuid("prompt_id")?);
                Ok((prompt, read_open(row, Offset(row.number("stored")?))?))
            })
            .collect()
    }
}

/// The run whose attempt this call settled; `None` if it was settled before.
pub(super) async fn settle(
    connection: &mut Transaction,
    id: AttemptId,
    bill: &Bill,
    now_ms: u64,
) -> Result<Option<RunId>> {
    let row = query(SETTLE)
        .bind(id.0)
        .bind(int(bill.usage.input_tokens))
        .bind(int(bill.usage.cached_input_tokens))
        .bind(int(bill.usage.output_tokens))
        .bind(int(bill.usage.reasoning_tokens))
        .bind(i64::from(bill.usage.estimated))
        .bind(bill.cost.map(|cost| cost.0))
        .bind(int(now_ms))
        .fetch_optional(connection)
        .await?;
    row.map(|row| Ok(RunId(row.uuid("run_id")?))).transpose()
}

/// Settles all that an earlier driver left open; `stored` is how far its output reaches.
pub(super) async fn settle_open(
    connection: &mut Transaction,
    run: RunId,
    stored: Offset,
    estimate: fn(&OpenAttempt) -> Bill,
    now_ms: u64,
) -> Result<()> {
    let rows = query(OPEN_OF_RUN).bind(run.0).fetch_all(&mut *connection).await?;
    for row in rows {
        let attempt = read_open(&row, stored)?;
        settle(connection, attempt.id, &estimate(&attempt), now_ms).await?;
    }
    Ok(())
}

async fn add(connection: &mut Transaction, attempt: &NewAttempt, run: &Row) -> Result<()> {
    query(ADD)
        .bind(attempt.id.0)
        .bind(run.uuid("workspace_id")?)
        .bind(attempt.run.0)
        .bind(i64::from(attempt.epoch.0))
        .bind(attempt.node.0)
        .bind(run.signed("stored")?)
        .bind(&attempt.price_json)
        .bind(int(attempt.now_ms))
        .bind(int(attempt.input_tokens))
        .execute(connection)
        .await?;
    Ok(())
}

/// Admits a run within a transaction that may have more to do.
pub(super) async fn admit(connection: &mut Transaction, attempt: &NewAttempt) -> Result<AdmitOutcome> {
    let admitted = query(ADMIT)
        .bind(attempt.run.0)
        .bind(i64::from(attempt.epoch.0))
        .bind(int(attempt.now_ms))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(run) = admitted else { return why_refused(connection, attempt).await };
    if exists(connection, attempt.id).await? {
        return Ok(AdmitOutcome::Admitted);
    }
    add(connection, attempt, &run).await?;
    runs::move_revision(connection, PromptId(run.uuid("prompt_id")?)).await?;
    Ok(AdmitOutcome::Admitted)
}

async fn why_refused(connection: &mut Transaction, attempt: &NewAttempt) -> Result<AdmitOutcome> {
    let row = query(WHY_REFUSED)
        .bind(attempt.run.0)
        .bind(i64::from(attempt.epoch.0))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(by) = row.map(|row| row.maybe_uuid("cancel_requested_by")).transpose()?.flatten() else {
        return Ok(AdmitOutcome::Fenced);
    };
    // A repeat whose first call did admit it: the driver learns of the cancel with its first checkpoint.
    if exists(connection, attempt.id).await? {
        return Ok(AdmitOutcome::Admitted);
    }
    Ok(AdmitOutcome::CancelRequested { by: MemberId(by) })
}

async fn exists(connection: &mut Transaction, id: AttemptId) -> Result<bool> {
    Ok(query(EXISTS).bind(id.0).fetch_optional(connection).await?.is_some())
}

fn read_open(row: &Row, stored: Offset) -> Result<OpenAttempt> {
    let start: u64 = row.number("start")?;
    Ok(OpenAttempt {
        id: AttemptId(row.uuid("id")?),
        run: RunId(row.uuid("run_id")?),
        price_json: row.text("price_json")?,
        usage: summary::read_usage(row)?,
        received_bytes: stored.0.saturating_sub(start),
    })
}
