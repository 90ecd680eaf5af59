//! The commit on Postgres: one statement, which the server ends by itself even if this node stops in its middle. Rooms
//! whose row somebody else holds are skipped, so nobody ever waits for a room that is not their own.

use super::{CommitOutcome, RoomRows, reason};
use crate::store::column::{Columns, int, len};
use crate::store::database::Transaction;
use crate::store::query::{Query, Value, query};
use crate::store::{Result, Store, StoreError, WorkspaceId};
use promptroom_protocol::{PromptId, Seq};
use std::borrow::Cow;
use std::collections::HashMap;

/// Bytes of rows in one statement: a larger batch is several, each whole or not at all.
const BYTES_PER_STATEMENT: usize = 16 << 20;

/// Written for Postgres alone.
pub(in crate::store) const COMMIT: &str = "WITH batch AS (
    SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[])
    AS batch (prompt_id, lineage, rights_epoch, row_count, byte_count, title, now_ms)
), taken AS (
    SELECT prompts.id FROM batch JOIN prompts ON prompts.id = batch.prompt_id
    JOIN workspaces ON workspaces.id = prompts.workspace_id
    WHERE prompts.lineage = batch.lineage AND prompts.deleted_at_ms IS NULL
    AND workspaces.rights_epoch = batch.rights_epoch
    FOR NO KEY UPDATE OF prompts SKIP LOCKED
), moved AS (
    UPDATE prompts SET head = head + batch.row_count, tail_bytes = tail_bytes + batch.byte_count,
    title = COALESCE(batch.title, prompts.title), updated_at_ms = batch.now_ms
    FROM taken JOIN batch ON batch.prompt_id = taken.id WHERE prompts.id = taken.id
    RETURNING prompts.id, head, revision, batch.row_count
), written AS (
    INSERT INTO room_updates (prompt_id, seq, workspace_id, bytes)
    SELECT moved.id, moved.head - moved.row_count + lines.nth, $8, lines.bytes
    FROM UNNEST($9::uuid[], $10::bigint[], $11::bytea[]) AS lines (prompt_id, nth, bytes)
    JOIN moved ON moved.id = lines.prompt_id
)
SELECT batch.prompt_id, moved.head, moved.revision, prompts.lineage, deleted_at_ms, workspaces.rights_epoch FROM batch
LEFT JOIN moved ON moved.id = batch.prompt_id
LEFT JOIN prompts ON prompts.id = batch.prompt_id
LEFT JOIN workspaces ON workspaces.id = prompts.workspace_id";

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
    let fitting = rooms.iter().take_while(|room| {
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
        found.insert(PromptId(row.uuid("prompt_id")?), row);
    }
    let outcome = |room: &RoomRows| {
        let row = found.get(&room.prompt);
        let row = row.ok_or_else(|| StoreError::Corrupt(format!("room {}: no answer", room.prompt)))?;
        let Some(head) = row.maybe_number::<u64>("head")? else { return reason(row, room) };
        let first = Seq(head + 1 - room.rows.len() as u64);
        Ok(CommitOutcome::Committed { first, last: Seq(head), revision: row.number("revision")? })
    };
    rooms.iter().map(outcome).collect()
}

fn statement(workspace: WorkspaceId, rooms: &[RoomRows]) -> Query<'_> {
    let numbers =
        |number: fn(&RoomRows) -> u64| Value::Ints(rooms.iter().map(|room| int(number(room))).collect());
    let lines =
        || rooms.iter().flat_map(|room| (1_i64..).zip(&room.rows).map(move |(nth, row)| (room, nth, row)));
    query(COMMIT)
        .bind(Value::Uuids(rooms.iter().map(|room| room.prompt.0).collect()))
        .bind(Value::Uuids(rooms.iter().map(|room| room.lineage.0).collect()))
        .bind(numbers(|room| room.rights_epoch))
        .bind(numbers(|room| room.rows.len() as u64))
        .bind(numbers(|room| room.rows.iter().map(|row| len(row)).sum()))
        .bind(Value::Texts(rooms.iter().map(|room| room.title.as_deref().map(Cow::Borrowed)).collect()))
        .bind(numbers(|room| room.now_ms))
        .bind(workspace.0)
        .bind(Value::Uuids(lines().map(|(room, _, _)| room.prompt.0).collect()))
        .bind(Value::Ints(lines().map(|(_, nth, _)| nth).collect()))
        .bind(Value::Blobs(lines().map(|(_, _, row)| row.as_ref()).collect()))
}
