//! Runs that are driven elsewhere, as a node that follows them reads on: many at once, each from its own cursor.

use super::column::{Columns, int};
use super::database::{Row, Transaction};
use super::query::{Dialect, Query, Statement, query};
use super::{Record, Result, RunClaim, Store, StoreError};
use promptroom_protocol::{BlockKind, Epoch, Offset, RunId, RunState};
use std::collections::HashMap;

/// Runs asked for in one query.
const RUNS_AT_ONCE: usize = 4_000;
/// Rows of one run fetched at once where a limit of bytes may end the reading.
const ROWS_AT_ONCE: usize = 64;
/// Rows of many runs fetched at once; of those for which there was no room, the rest is read by itself.
const ROWS_OF_MANY: i64 = 8_192;
const SELECT_RUNS: &str = "SELECT id, epoch, stored, state FROM runs WHERE id";
const SELECT_CLAIMS: &str = "SELECT run_id, epoch, start FROM run_claims WHERE epoch > 1 AND run_id";

statements! {
    /// An ended run has no chunks, a live one no outputs. The first row may begin before the cursor; those before that
    /// one are not looked at.
    SOME_ROWS = "SELECT start, block, kind, bytes FROM (
            SELECT start, block, kind, bytes FROM run_outputs WHERE run_id = $1 AND start >= COALESCE(
                (SELECT MAX(start) FROM run_outputs WHERE run_id = $1 AND start <= $2), 0)
            UNION ALL SELECT start, block, kind, bytes FROM run_chunks WHERE run_id = $1 AND start >= COALESCE(
                (SELECT MAX(start) FROM run_chunks WHERE run_id = $1 AND start <= $2), 0)
        ) AS output WHERE start + LENGTH(bytes) > $2 ORDER BY start LIMIT $3";
}

/// The same of many live runs at once, each with its cursor and how far it is read.
const LIVE_ROWS: &str = ") SELECT batch.run_id, chunks.start, block, kind, bytes FROM batch
    JOIN run_chunks AS chunks ON chunks.run_id = batch.run_id AND chunks.start < batch.until_start
    AND chunks.start >= COALESCE((SELECT MAX(before.start) FROM run_chunks AS before
        WHERE before.run_id = batch.run_id AND before.start <= batch.reached), 0)
    WHERE chunks.start + LENGTH(bytes) > batch.reached ORDER BY batch.run_id, chunks.start LIMIT ";

/// What a node that follows a run has of it.
#[derive(Clone, Copy, Debug)]
pub struct Following {
    pub run: RunId,
    pub epoch: Epoch,
    pub offset: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedRun {
    pub run: RunId,
    pub epoch: Epoch,
    pub stored: Offset,
    pub state: RunState,
    /// Those above the epoch that was asked for, in order.
    pub claims: Vec<RunClaim>,
    /// Without a gap, from the smaller of the offset that was asked for and the lowest start of those claims. There
    /// may be more: see `stored`.
    pub records: Vec<Record>,
}

impl Store {
    /// As of one moment; unknown runs are left out. Of each at least one record if there is one, then about as many as
    /// fit in `bytes_max`. `Corrupt` if the rows of one do not add up.
    pub async fn follow_runs(&self, following: &[Following], bytes_max: u64) -> Result<Vec<FollowedRun>> {
        if following.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.db.read().await?;
        let mut found = Vec::with_capacity(following.len());
        for following in following.chunks(RUNS_AT_ONCE) {
            let asked: HashMap<RunId, &Following> = following.iter().map(|one| (one.run, one)).collect();
            let rows = of_runs(&mut transaction, SELECT_RUNS, following.iter().map(|one| one.run)).await?;
            let mut runs = rows.iter().map(read_run).collect::<Result<Vec<_>>>()?;
            let claimed = runs.iter().filter(|run| asked[&run.run].epoch < run.epoch).map(|run| run.run);
            let mut claims = read_claims(&mut transaction, claimed.collect()).await?;
            let mut behind = Vec::new();
            for run in &mut runs {
                let asked = asked[&run.run];
                run.claims = claims.remove(&run.run).unwrap_or_default();
                run.claims.retain(|claim| claim.epoch > asked.epoch);
                let lowest = run.claims.iter().map(|claim| claim.start).min();
                let from = lowest.map_or(asked.offset, |start| start.min(asked.offset));
                if from < run.stored {
                    behind.push((run, from));
                }
            }
            let live = behind.iter().filter(|(run, _)| !run.state.is_terminal());
            let live = live.map(|(run, from)| (run.run, *from)).collect::<Vec<_>>();
            let mut first = read_first_rows(&mut transaction, &live, bytes_max).await?;
            for (run, from) in behind {
                let first = first.remove(&run.run).unwrap_or_default();
                run.records = read_records(&mut transaction, run, from, bytes_max, first).await?;
            }
            found.append(&mut runs);
        }
        Ok(found)
    }
}

async fn of_runs(
    connection: &mut Transaction,
    select: &'static str,
    runs: impl IntoIterator<Item = RunId>,
) -> Result<Vec<Row>> {
    let mut select = Statement::new(connection.dialect(), select);
    select.push_in(runs.into_iter().map(|run| run.0));
    select.build().persistent(false).fetch_all(connection).await
}

fn read_run(row: &Row) -> Result<FollowedRun> {
    Ok(FollowedRun {
        run: RunId(row.uuid("id")?),
        epoch: Epoch(row.number("epoch")?),
        stored: Offset(row.number("stored")?),
        state: row.word("state")?,
        claims: Vec::new(),
        records: Vec::new(),
    })
}

async fn read_claims(
    connection: &mut Transaction,
    runs: Vec<RunId>,
) -> Result<HashMap<RunId, Vec<RunClaim>>> {
    let mut claims: HashMap<RunId, Vec<RunClaim>> = HashMap::new();
    if runs.is_empty() {
        return Ok(claims);
    }
    for row in of_runs(connection, SELECT_CLAIMS, runs).await? {
        let claim = RunClaim { epoch: Epoch(row.number("epoch")?), start: Offset(row.number("start")?) };
        claims.entry(RunId(row.uuid("run_id")?)).or_default().push(claim);
    }
    for claims in claims.values_mut() {
        claims.sort_by_key(|claim| claim.epoch);
    }
    Ok(claims)
}

/// The next rows of live runs, each from its offset on: all of them, or as many as there is room for.
async fn read_first_rows(
    connection: &mut Transaction,
    runs: &[(RunId, Offset)],
    bytes_max: u64,
) -> Result<HashMap<RunId, Vec<Row>>> {
    let mut found: HashMap<RunId, Vec<Row>> = HashMap::new();
    if runs.len() < 2 {
        return Ok(found);
    }
    for row in live_rows(connection.dialect(), runs, bytes_max).fetch_all(connection).await? {
        found.entry(RunId(row.uuid("run_id")?)).or_default().push(row);
    }
    Ok(found)
}

pub(super) fn live_rows<'q>(dialect: Dialect, runs: &[(RunId, Offset)], bytes_max: u64) -> Query<'q> {
    let mut select = Statement::new(dialect, "WITH batch (run_id, reached, until_start) AS (");
    select.push_values(runs, |values, (run, from)| {
        let until = from.0.saturating_add(bytes_max);
        values.push_bind(run.0).push_bind(int(from.0)).push_bind(int(until));
    });
    select.push(LIVE_ROWS).push_bind(ROWS_OF_MANY);
    select.build().persistent(false)
}

/// `rows` are the first ones, if they were fetched already.
async fn read_records(
    connection: &mut Transaction,
    run: &FollowedRun,
    from: Offset,
    bytes_max: u64,
    mut rows: Vec<Row>,
) -> Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    let mut reached = from;
    loop {
        for row in &rows {
            let record = read_record(row, run.run, reached)?;
            let end = Offset(reached.0 + record.bytes.len() as u64);
            if !records.is_empty() && end.0 - from.0 > bytes_max {
                return Ok(records);
            }
            reached = end;
            records.push(record);
        }
        if reached == run.stored || (!records.is_empty() && reached.0 - from.0 >= bytes_max) {
            return Ok(records);
        }
        rows = query(SOME_ROWS)
            .bind(run.run.0)
            .bind(int(reached.0))
            .bind(ROWS_AT_ONCE as i64)
            .fetch_all(connection)
            .await?;
        if rows.is_empty() || reached > run.stored {
            return Err(StoreError::Corrupt(format!(
                "run {}: bytes end at {}, {} are stored",
                run.run, reached.0, run.stored.0
            )));
        }
    }
}

/// What of a row lies from `reached` on; the rows before it must reach that far.
fn read_record(row: &Row, run: RunId, reached: Offset) -> Result<Record> {
    let start: u64 = row.number("start")?;
    let bytes = row.bytes("bytes")?;
    let known = reached.0.checked_sub(start).and_then(|known| usize::try_from(known).ok());
    let Some(known) = known.filter(|known| *known < bytes.len()) else {
        return Err(StoreError::Corrupt(format!("run {run}: bytes are missing at {}", reached.0)));
    };
    let kind = BlockKind::from_byte(row.number("kind")?)
        .ok_or_else(|| StoreError::Corrupt(format!("run {run}: a block of no known kind")))?;
    Ok(Record { offset: reached, block: row.number("block")?, kind, bytes: bytes.slice(known..) })
}
