//! A run as people see it, put together from its row, its attempts and its claims.

use super::Result;
use super::column::Columns;
use super::database::{Row, Transaction};
use super::query::{Statement, query};
use promptroom_protocol::{
    Epoch, MemberId, Nanodollars, Offset, Person, PromptId, RunId, RunSummary, Seam, Usage,
};
use std::collections::HashMap;
use uuid::Uuid;

/// Rows asked for in one query; SQLite takes 32,766 values.
const IDS_AT_ONCE: usize = 10_000;

/// The rows of which `complete` makes summaries.
macro_rules! select_runs {
    ($rest:literal) => {
        concat!(
            "SELECT runs.id, runs.prompt_id, runs.number, origin, parent_id, runs.principal_id,
            maker.name AS maker_name, maker.role AS maker_role, variant, model, parameters_json, hash, state, epoch,
            stored, node_id, cancel_requested_by, runs.created_at_ms, admitted_at_ms, first_token_at_ms, ended_at_ms,
            stop_reason, stop_sequence, stopped_by, stopper.name AS stopper_name, stopper.role AS stopper_role,
            problem_json FROM runs JOIN principals AS maker ON maker.id = runs.principal_id
            LEFT JOIN principals AS stopper ON stopper.id = runs.stopped_by ",
            $rest
        )
    };
}
pub(super) use select_runs;

statements! {
    FIND = select_runs!("WHERE runs.id = $1");
}

pub(super) async fn find(connection: &mut Transaction, id: RunId) -> Result<Option<RunSummary>> {
    let rows = query(FIND).bind(id.0).fetch_all(&mut *connection).await?;
    Ok(complete(connection, rows).await?.pop())
}

/// One summary for each row, in their order; two more queries for all of them, or for each ten thousand.
pub(super) async fn complete(connection: &mut Transaction, rows: Vec<Row>) -> Result<Vec<RunSummary>> {
    let mut runs = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    let ids: Vec<Uuid> = runs.iter().map(|run| run.id.0).collect();
    let attempts = read_attempts(connection, &ids).await?;
    let claims = read_claims(connection, &ids).await?;
    for run in &mut runs {
        let attempts = attempts.get(&run.id).map_or(&[][..], Vec::as_slice);
        let claims = claims.get(&run.id).map_or(&[][..], Vec::as_slice);
        run.attempts = u32::try_from(attempts.len()).unwrap_or(u32::MAX);
        run.usage = total_usage(attempts);
        run.cost = total_cost(attempts);
        run.seams = seams(claims, attempts);
    }
    Ok(runs)
}

#[derive(Clone, Copy)]
struct Attempt {
    epoch: Epoch,
    admitted_at_ms: u64,
    settled: bool,
    usage: Usage,
    cost: Option<Nanodollars>,
}

#[derive(Clone, Copy)]
struct ClaimRow {
    epoch: Epoch,
    start: Offset,
    moved_at_ms: u64,
}

fn total_usage(attempts: &[Attempt]) -> Option<Usage> {
    attempts.iter().map(|attempt| attempt.usage).reduce(|sum, usage| Usage {
        input_tokens: sum.input_tokens + usage.input_tokens,
        cached_input_tokens: sum.cached_input_tokens + usage.cached_input_tokens,
        output_tokens: sum.output_tokens + usage.output_tokens,
        reasoning_tokens: sum.reasoning_tokens + usage.reasoning_tokens,
        estimated: sum.estimated || usage.estimated,
    })
}

/// A sum that leaves out a part of unknown price would be a wrong one, so then there is none.
fn total_cost(attempts: &[Attempt]) -> Option<Nanodollars> {
    let settled = attempts.iter().filter(|attempt| attempt.settled);
    let costs = settled.map(|attempt| attempt.cost).collect::<Option<Vec<_>>>()?;
    if costs.is_empty() { None } else { Some(Nanodollars(costs.iter().map(|cost| cost.0).sum())) }
}

/// A claim is a seam only if an attempt went on where another had begun.
fn seams(claims: &[ClaimRow], attempts: &[Attempt]) -> Vec<Seam> {
    let Some(first) = attempts.iter().map(|attempt| attempt.epoch).min() else { return Vec::new() };
    let mut seams = Vec::new();
    for claim in claims.iter().filter(|claim| claim.epoch > first) {
        let admitted = attempts.iter().filter(|attempt| attempt.epoch == claim.epoch);
        let Some(at_ms) = admitted.map(|attempt| attempt.admitted_at_ms).min() else { continue };
        let gap_ms = at_ms.saturating_sub(claim.moved_at_ms);
        seams.push(Seam { epoch: claim.epoch, offset: claim.start, at_ms, gap_ms });
    }
    seams
}

fn read(row: &Row) -> Result<RunSummary> {
    let by = person(row, "principal_id", "maker_name", "maker_role")?;
    let stopped_by = match row.maybe_uuid("stopped_by")? {
        Some(_) => Some(person(row, "stopped_by", "stopper_name", "stopper_role")?),
        None => None,
    };
    Ok(RunSummary {
        id: RunId(row.uuid("id")?),
        prompt: PromptId(row.uuid("prompt_id")?),
        number: row.number("number")?,
        origin: row.word("origin")?,
        parent: row.maybe_uuid("parent_id")?.map(RunId),
        by,
        variant: row.text("variant")?,
        model: row.text("model")?,
        state: row.word("state")?,
        epoch: Epoch(row.number("epoch")?),
        bytes: Offset(row.number("stored")?),
        hash: row.text("hash")?,
        parameters: row.json("parameters_json")?,
        created_at_ms: row.number("created_at_ms")?,
        admitted_at_ms: row.maybe_number("admitted_at_ms")?,
        first_token_at_ms: row.maybe_number("first_token_at_ms")?,
        ended_at_ms: row.maybe_number("ended_at_ms")?,
        queue: None,
        stop_reason: row.maybe_word("stop_reason")?,
        stop_sequence: row.maybe_text("stop_sequence")?,
        stopped_by,
        usage: None,
        cost: None,
        attempts: 0,
        seams: Vec::new(),
        problem: row.maybe_json("problem_json")?,
    })
}

fn person(row: &Row, id: &str, name: &str, role: &str) -> Result<Person> {
    Ok(Person { id: MemberId(row.uuid(id)?), name: row.text(name)?, role: row.word(role)?, client: None })
}

async fn read_attempts(connection: &mut Transaction, runs: &[Uuid]) -> Result<HashMap<RunId, Vec<Attempt>>> {
    let rows = fetch_in(
        connection,
        "SELECT run_id, epoch, admitted_at_ms, settled_at_ms, input_tokens, cached_input_tokens, output_tokens,
        reasoning_tokens, estimated, cost_nanos FROM run_attempts WHERE run_id",
        runs,
    );
    let mut found: HashMap<RunId, Vec<Attempt>> = HashMap::new();
    for row in rows.await? {
        found.entry(RunId(row.uuid("run_id")?)).or_default().push(Attempt {
            epoch: Epoch(row.number("epoch")?),
            admitted_at_ms: row.number("admitted_at_ms")?,
            settled: row.maybe_signed("settled_at_ms")?.is_some(),
            usage: read_usage(&row)?,
            cost: row.maybe_signed("cost_nanos")?.map(Nanodollars),
        });
    }
    Ok(found)
}

pub(super) fn read_usage(row: &Row) -> Result<Usage> {
    Ok(Usage {
        input_tokens: row.number("input_tokens")?,
        cached_input_tokens: row.number("cached_input_tokens")?,
        output_tokens: row.number("output_tokens")?,
        reasoning_tokens: row.number("reasoning_tokens")?,
        estimated: row.signed("estimated")? != 0,
    })
}

async fn read_claims(connection: &mut Transaction, runs: &[Uuid]) -> Result<HashMap<RunId, Vec<ClaimRow>>> {
    let rows = fetch_in(
        connection,
        "SELECT run_id, epoch, start, moved_at_ms FROM run_claims WHERE epoch > 1 AND run_id",
        runs,
    );
    let mut found: HashMap<RunId, Vec<ClaimRow>> = HashMap::new();
    for row in rows.await? {
        found.entry(RunId(row.uuid("run_id")?)).or_default().push(ClaimRow {
            epoch: Epoch(row.number("epoch")?),
            start: Offset(row.number("start")?),
            moved_at_ms: row.number("moved_at_ms")?,
        });
    }
    for claims in found.values_mut() {
        claims.sort_by_key(|claim| claim.epoch);
    }
    Ok(found)
}

/// All rows that `select` finds with one of these ids, which it ends before.
pub(super) async fn fetch_in(
    connection: &mut Transaction,
    select: &'static str,
    ids: &[Uuid],
) -> Result<Vec<Row>> {
    let mut found = Vec::new();
    for ids in ids.chunks(IDS_AT_ONCE) {
        let mut query = Statement::new(connection.dialect(), select);
        query.push_in(ids.iter().copied());
        found.append(&mut query.build().persistent(ids.len() == 1).fetch_all(connection).await?);
    }
    Ok(found)
}
