//! Making edits durable: the rows of all rooms of a node in one transaction, each room by itself accepted or refused.

use super::column::{Columns, int, len};
use super::database::{Row, Transaction};
use super::query::{Dialect, Statement, query};
use super::{Result, Store, StoreError, WorkspaceId};
use bytes::Bytes;
use promptroom_protocol::{LineageId, PromptId, Seq};
use std::collections::{HashMap, HashSet};

pub(super) mod one_statement;

/// Eight values for each room of one statement.
const ROOMS_PER_STATEMENT: usize = 2_000;
/// Four values for each row of one statement.
const ROWS_PER_STATEMENT: usize = 4_000;

statements! {
    WHY_REFUSED = "SELECT lineage, deleted_at_ms, head, rights_epoch FROM prompts
        JOIN workspaces ON workspaces.id = prompts.workspace_id WHERE prompts.id = $1";
}

/// What one room has to write, and what it was checked under.
#[derive(Clone, Debug)]
pub struct RoomRows {
    pub prompt: PromptId,
    pub lineage: LineageId,
    pub rights_epoch: u64,
    /// The row that they rest on, and all before it.
    pub base: Seq,
    /// At least one, unless there is a title.
    pub rows: Vec<Bytes>,
    /// The document's title, if it is not the one that is stored.
    pub title: Option<String>,
    pub now_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Without rows, `first` is the one that comes next.
    Committed {
        first: Seq,
        last: Seq,
        revision: u64,
    },
    /// The room has another history now, or there is no such room.
    LineageChanged,
    Deleted,
    /// The rows that these rest on are not there any more: the database was put back, or never had them.
    PutBack {
        head: Seq,
    },
    /// Rights changed since the rows were checked: check them again under `now`.
    RightsMoved {
        now: u64,
    },
    /// Somebody else holds the room's row just now: nothing was written, join the next batch. Only where writers do
    /// not wait for each other; see `commit_alone`.
    Skipped,
}

impl Store {
    /// Outcomes in the order of the batch; a refused room does not touch the others. On an error each room's rows are
    /// written or not: merges are idempotent, so repeat it.
    ///
    /// # Panics
    /// If a prompt is named twice or a room has nothing to write.
    pub async fn commit(&self, batch: &[RoomRows]) -> Result<Vec<CommitOutcome>> {
        check(batch);
        if self.db.dialect() == Dialect::Postgres {
            return self.commit_in_one_statement(batch).await;
        }
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        let mut moved = HashMap::with_capacity(batch.len());
        for rooms in batch.chunks(ROOMS_PER_STATEMENT) {
            move_heads(&mut transaction, rooms, &mut moved).await?;
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut rows = Vec::new();
        for room in batch {
            let Some(Moved { last, revision }) = moved.remove(&room.prompt) else {
                outcomes.push(why_refused(&mut transaction, room).await?);
                continue;
            };
            let first = Seq(last.0 + 1 - room.rows.len() as u64);
            rows.extend((first.0..).zip(&room.rows).map(|(seq, bytes)| (room.prompt, Seq(seq), bytes)));
            outcomes.push(CommitOutcome::Committed { first, last, revision });
        }
        let mut rows = &rows[..];
        while !rows.is_empty() {
            // Powers of two, so that a few cached statements serve every batch.
            let (now, later) = rows.split_at(ROWS_PER_STATEMENT.min(1 << rows.len().ilog2()));
            insert_rows(&mut transaction, workspace, now).await?;
            rows = later;
        }
        transaction.commit().await?;
        Ok(outcomes)
    }
}

impl Store {
    /// The same for a room that was skipped again and again: waits for its row, and is never skipped. `Busy` if whoever
    /// has it does not let go in time.
    pub async fn commit_alone(&self, room: &RoomRows) -> Result<CommitOutcome> {
        let outcomes = match self.db.dialect() {
            Dialect::Sqlite => self.commit(std::slice::from_ref(room)).await?,
            Dialect::Postgres => self.commit_after_waiting(room).await?,
        };
        outcomes
            .into_iter()
            .next()
            .filter(|outcome| *outcome != CommitOutcome::Skipped)
            .ok_or(StoreError::Busy)
    }
}

fn check(batch: &[RoomRows]) {
    let prompts: HashSet<PromptId> = batch.iter().map(|room| room.prompt).collect();
    assert_eq!(prompts.len(), batch.len(), "a prompt is named twice in one batch");
    let has_work = |room: &RoomRows| !room.rows.is_empty() || room.title.is_some();
    assert!(batch.iter().all(has_work), "a room has nothing to write");
}

struct Moved {
    last: Seq,
    revision: u64,
}

/// Takes the numbers for the rows of each room that is still as it was when they were checked.
async fn move_heads(
    connection: &mut Transaction,
    rooms: &[RoomRows],
    moved: &mut HashMap<PromptId, Moved>,
) -> Result<()> {
    let mut query = Statement::new(
        connection.dialect(),
        "WITH batch (prompt_id, lineage, rights_epoch, base, row_count, byte_count, title, now_ms) AS (",
    );
    // Repeating the last room changes nothing, and keeps the number of different statements small enough to cache.
    let padding = rooms.len().next_power_of_two() - rooms.len();
    let padded = rooms.iter().chain(rooms.last().into_iter().cycle().take(padding));
    query.push_values(padded, |values, room| {
        let bytes: u64 = room.rows.iter().map(|row| len(row)).sum();
        values
            .push_bind(room.prompt.0)
            .push_bind(room.lineage.0)
            .push_bind(int(room.rights_epoch))
            .push_bind(int(room.base.0))
            .push_bind(int(room.rows.len() as u64))
            .push_bind(int(bytes))
            .push_bind(room.title.as_deref())
            .push_bind(int(room.now_ms));
    });
    query.push(
        ") UPDATE prompts SET head = head + batch.row_count, tail_bytes = tail_bytes + batch.byte_count,
        title = COALESCE(batch.title, prompts.title), updated_at_ms = batch.now_ms
        FROM batch, workspaces
        WHERE prompts.id = batch.prompt_id AND prompts.lineage = batch.lineage AND prompts.deleted_at_ms IS NULL
        AND prompts.head >= batch.base AND workspaces.id = prompts.workspace_id AND workspaces.rights_epoch = batch.rights_epoch
        RETURNING prompts.id, head, revision",
    );
    for row in query.build().fetch_all(connection).await? {
        let room = Moved { last: Seq(row.number("head")?), revision: row.number("revision")? };
        moved.insert(PromptId(row.uuid("id")?), room);
    }
    Ok(())
}

async fn insert_rows(
    connection: &mut Transaction,
    workspace: WorkspaceId,
    rows: &[(PromptId, Seq, &Bytes)],
) -> Result<()> {
    let mut query = Statement::new(
        connection.dialect(),
        "INSERT INTO room_updates (prompt_id, seq, workspace_id, bytes) ",
    );
    query.push_values(rows, |values, (prompt, seq, bytes)| {
        values.push_bind(prompt.0).push_bind(int(seq.0)).push_bind(workspace.0).push_bind(bytes.as_ref());
    });
    query.build().execute(connection).await?;
    Ok(())
}

async fn why_refused(connection: &mut Transaction, room: &RoomRows) -> Result<CommitOutcome> {
    let row = query(WHY_REFUSED).bind(room.prompt.0).fetch_optional(connection).await?;
    row.map_or(Ok(CommitOutcome::LineageChanged), |row| reason(&row, room))
}

fn reason(row: &Row, room: &RoomRows) -> Result<CommitOutcome> {
    if row.maybe_uuid("lineage")? != Some(room.lineage.0) {
        return Ok(CommitOutcome::LineageChanged);
    }
    if row.maybe_signed("deleted_at_ms")?.is_some() {
        return Ok(CommitOutcome::Deleted);
    }
    let head = Seq(row.number("head")?);
    if head < room.base {
        return Ok(CommitOutcome::PutBack { head });
    }
    let now = row.number("rights_epoch")?;
    Ok(if now == room.rights_epoch { CommitOutcome::Skipped } else { CommitOutcome::RightsMoved { now } })
}
