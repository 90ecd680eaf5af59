//! The commit on Postgres: one statement, which the server ends by itself even if this node stops in its middle. Rooms
//! whose row somebody else holds are skipped, so nobody ever waits for a room that is not their own.

use super::{CommitOutcome, RoomRows, reason};
use crate::store::column::{Columns, int, len};
use crate::store::database::Transaction;
use crate::store::query::{Query, Statement, Value, query};
use crate::store::{Result, Store, WorkspaceId};
use promptroom_protocol::{PromptId, Seq};
use std::borrow::Cow;
use std::collections::HashMap;

/// Bytes of rows in one statement: a larger batch is several, each whole or not at all.
const BYTES_PER_STATEMENT: usize = 16 << 20;
const ROOMS_PER_STATEMENT: usize = 10_000;

/// Written for Postgres alone. Each room brings the place of its rows in the list of all rows: to look for them would
/// take time for each pair of a room and a row. The workspace is asked for by itself, or else the planner may begin with it and
/// go through all its prompts.
pub(in crate::store) const COMMIT: &str = "WITH taken AS (
    SELECT prompts.id, row_count, byte_count, batch.title, now_ms, first_line
    FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[],
        $8::bigint[], $11::bigint[])
    AS batch (prompt_id, lineage, rights_epoch, row_count, byte_count, title, now_ms, first_line, base)
    JOIN prompts ON prompts.id = batch.prompt_id
    WHERE prompts.lineage = batch.lineage AND prompts.deleted_at_ms IS NULL AND prompts.head >= batch.base
    AND batch.rights_epoch = (SELECT rights_epoch FROM workspaces WHERE workspaces.id = prompts.workspace_id)
    FOR NO KEY UPDATE OF prompts SKIP LOCKED
), moved AS (
    UPDATE prompts SET head = head + row_count, tail_bytes = tail_bytes + byte_count,
    title = COALESCE(taken.title, prompts.title), updated_at_ms = now_ms
    FROM taken WHERE prompts.id = taken.id
    RETURNING prompts.id, head, revision, row_count, first_line
), written AS (
    INSERT INTO room_updates (prompt_id, seq, workspace_id, bytes)
    SELECT moved.id, head - row_count + nth, $9, lines.bytes
    FROM moved CROSS JOIN LATERAL UNNEST(($10::bytea[])[first_line:first_line + row_count - 1])
    WITH ORDINALITY AS lines (bytes, nth)
)
SELECT id, head, revision FROM moved";

const SELECT_REFUSED: &str = "SELECT prompts.id, lineage, deleted_at_ms, head, rights_epoch FROM prompts
    JOIN workspaces ON workspaces.id = prompts.workspace_id WHERE prompts.id";

pub(in crate::store) const HOLD: &str = "SELECT id FROM prompts WHERE id = $1";

impl Store {
    pub(super) async fn commit_in_one_statement(&self, batch: &[RoomRows]) -> Result<Vec<CommitOutcome>> {
        let workspace = self.workspace_id().await?;
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut rest = batch;
        while !rest.is_empty() {
            let (rooms, later) = rest.split_at(rooms_that_fit(rest));
            let mut connection = self.db.write_once().await?;
            outcomes.append(&mut commit(&mut connection, workspace, rooms).await?);
            rest = later;
        }
        Ok(outcomes)
    }

    /// Waits for the row first: what else the commit depends on is read after that.
    pub(super) async fn commit_after_waiting(&self, room: &RoomRows) -> Result<Vec<CommitOutcome>> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        transaction.hold(HOLD, room.prompt.0).await?;
        let outcomes = commit(&mut transaction, workspace, std::slice::from_ref(room)).await?;
        transaction.commit().await?;
        Ok(outcomes)
    }
}

/// At least one.
fn rooms_that_fit(rooms: &[RoomRows]) -> usize {
    let mut bytes = 0;
    let fitting = rooms.iter().take(ROOMS_PER_STATEMENT).take_while(|room| {
        bytes += room.rows.iter().map(|row| row.len()).sum::<usize>();
        bytes <= BYTES_PER_STATEMENT
    });
    fitting.count().max(1)
}

async fn commit(
    connection: &mut Transaction,
    workspace: WorkspaceId,
    rooms: &[RoomRows],
) -> Result<Vec<CommitOutcome>> {
    let rows = statement(workspace, rooms).fetch_all(connection).await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        found.insert(PromptId(row.uuid("id")?), (row.number::<u64>("head")?, row.number("revision")?));
    }
    let refused = rooms.iter().filter(|room| !found.contains_key(&room.prompt));
    let reasons = reasons(connection, refused.collect()).await?;
    let outcome = |room: &RoomRows| match found.get(&room.prompt) {
        Some(&(head, revision)) => {
            let first = Seq(head + 1 - room.rows.len() as u64);
            CommitOutcome::Committed { first, last: Seq(head), revision }
        }
        None => reasons.get(&room.prompt).copied().unwrap_or(CommitOutcome::LineageChanged),
    };
    Ok(rooms.iter().map(outcome).collect())
}

/// Rooms that do not exist are left out.
async fn reasons(
    connection: &mut Transaction,
    rooms: Vec<&RoomRows>,
) -> Result<HashMap<PromptId, CommitOutcome>> {
    let mut reasons = HashMap::with_capacity(rooms.len());
    if rooms.is_empty() {
        return Ok(reasons);
    }
    let mut select = Statement::new(connection.dialect(), SELECT_REFUSED);
    select.push_in(rooms.iter().map(|room| room.prompt.0));
    let rows = select.build().persistent(false).fetch_all(connection).await?;
    let rooms: HashMap<PromptId, &RoomRows> = rooms.into_iter().map(|room| (room.prompt, room)).collect();
    for row in rows {
        let id = PromptId(row.uuid("id")?);
        if let Some(room) = rooms.get(&id) {
            reasons.insert(id, reason(&row, room)?);
        }
    }
    Ok(reasons)
}

fn statement(workspace: WorkspaceId, rooms: &[RoomRows]) -> Query<'_> {
    let numbers =
        |number: fn(&RoomRows) -> u64| Value::Ints(rooms.iter().map(|room| int(number(room))).collect());
    let mut lines = 1;
    let first_lines = rooms.iter().map(|room| {
        let first = lines;
        lines += room.rows.len() as i64;
        first
    });
    let first_lines = Value::Ints(first_lines.collect());
    let rows = rooms.iter().flat_map(|room| room.rows.iter().map(AsRef::as_ref));
    query(COMMIT)
        .bind(Value::Uuids(rooms.iter().map(|room| room.prompt.0).collect()))
        .bind(Value::Uuids(rooms.iter().map(|room| room.lineage.0).collect()))
        .bind(numbers(|room| room.rights_epoch))
        .bind(numbers(|room| room.rows.len() as u64))
        .bind(numbers(|room| room.rows.iter().map(|row| len(row)).sum()))
        .bind(Value::Texts(rooms.iter().map(|room| room.title.as_deref().map(Cow::Borrowed)).collect()))
        .bind(numbers(|room| room.now_ms))
        .bind(first_lines)
        .bind(workspace.0)
        .bind(Value::Blobs(rows.collect()))
        .bind(numbers(|room| room.base.0))
}
