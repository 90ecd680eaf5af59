//! Runs that are driven elsewhere, as a node that follows them reads on: many at once, each from its own cursor.

use super::column::{Columns, int};
use super::database::{Row, Transaction};
use super::query::{Statement, query};
use super::{Record, Result, RunClaim, Store, StoreError};
use promptroom_protocol::{BlockKind, Epoch, Offset, RunId, RunState};
use std::collections::HashMap;

/// Runs asked for in one query.
const RUNS_AT_ONCE: usize = 4_000;
/// Rows of one run fetched at once where a limit of bytes may end the reading.
const ROWS_AT_ONCE: usize = 64;
const SELECT_RUNS: &str = "SELECT id, epoch, stored, state FROM runs WHERE id";
const SELECT_CLAIMS: &str = "SELECT run_id, epoch, start FROM run_claims WHERE epoch > 1 AND run_id";

statements! {
    /// An ended run has no chunks, a live one no outputs. The first row may begin before the cursor.
    SOME_ROWS = "SELECT start, block, kind, bytes FROM (
            SELECT start, block, kind, bytes FROM run_outputs WHERE run_id = $1
            UNION ALL SELECT start, block, kind, bytes FROM run_chunks WHERE run_id = $1
        ) AS output WHERE start + LENGTH(bytes) > $2 ORDER BY start LIMIT $3";
}

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
            for run in &mut runs {
                let asked = asked[&run.run];
                run.claims = claims.remove(&run.run).unwrap_or_default();
                run.claims.retain(|claim| claim.epoch > asked.epoch);
                let lowest = run.claims.iter().map(|claim| claim.start).min();
                let from = lowest.map_or(asked.offset, |start| start.min(asked.offset));
                if from < run.stored {
                    run.records = read_records(&mut transaction, run, from, bytes_max).await?;
                }
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

async fn read_records(
    connection: &mut Transaction,
    run: &FollowedRun,
    from: Offset,
    bytes_max: u64,
) -> Result<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    let mut reached = from;
    loop {
        let rows = query(SOME_ROWS)
            .bind(run.run.0)
            .bind(int(reached.0))
            .bind(ROWS_AT_ONCE as i64)
            .fetch_all(connection)
            .await?;
        for row in &rows {
            let record = read_record(row, run.run, reached)?;
            let end = Offset(reached.0 + record.bytes.len() as u64);
            if !records.is_empty() && end.0 - from.0 > bytes_max {
                return Ok(records);
            }
            reached = end;
            records.push(record);
        }
        if rows.len() < ROWS_AT_ONCE {
            break;
        }
    }
    if reached == run.stored {
        return Ok(records);
    }
    Err(StoreError::Corrupt(format!(
        "run {}: bytes end at {}, {} are stored",
        run.run, reached.0, run.stored.0
    )))
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
