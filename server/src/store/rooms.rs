//! Reading a room's document: what a room opens with, the rows after a cursor, and where the heads are.

use super::column::{Columns, int};
use super::database::{Row, Transaction};
use super::query::{Statement, query};
use super::{Result, Store, StoreError};
use bytes::Bytes;
use promptroom_protocol::{LineageId, PromptId, Seq};
use sha2::{Digest, Sha256};

/// Rooms asked for in one query; SQLite takes 32,766 values.
const HEADS_AT_ONCE: usize = 10_000;
/// Rows fetched at once where a limit of bytes may end the reading.
const ROWS_AT_ONCE: usize = 64;

macro_rules! select_heads {
    ($rest:literal) => {
        concat!(
            "SELECT prompts.id, lineage, head, revision, rights_epoch, deleted_at_ms, title, tail_bytes, snapshot_seq,
            snapshot_seq_older FROM prompts JOIN workspaces ON workspaces.id = prompts.workspace_id ",
            $rest
        )
    };
}

statements! {
    HEAD = select_heads!("WHERE prompts.id = $1");
    SNAPSHOT = "SELECT bytes, sha256 FROM room_snapshots WHERE prompt_id = $1 AND seq = $2";
    ROWS = "SELECT seq, bytes FROM room_updates WHERE prompt_id = $1 AND seq > $2 ORDER BY seq";
    SOME_ROWS = "SELECT seq, bytes FROM room_updates WHERE prompt_id = $1 AND seq > $2 ORDER BY seq LIMIT $3";
}

/// All that a room needs to come to life, as of one moment.
#[derive(Clone, Debug)]
pub struct RoomImage {
    pub lineage: LineageId,
    pub head: Seq,
    pub revision: u64,
    pub rights_epoch: u64,
    pub snapshot: Option<(Seq, Bytes)>,
    /// Every row after the snapshot up to `head`, without a gap.
    pub rows: Vec<(Seq, Bytes)>,
    pub title: String,
    pub deleted: bool,
}

/// Which snapshot to build on; the older one is for when the newest turns out to be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    Newest,
    Older,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowsAfter {
    /// The next rows, in order; empty at the head. There may be more.
    Rows(Vec<(Seq, Bytes)>),
    /// They cannot be had: another lineage, no longer kept, a cursor ahead of the head, or no such room.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomHead {
    pub prompt: PromptId,
    pub lineage: LineageId,
    pub head: Seq,
    pub revision: u64,
    pub rights_epoch: u64,
    pub deleted: bool,
}

impl Store {
    /// `Corrupt` if the snapshot does not match its checksum or a row is missing; `None` if there is no such room.
    pub async fn load_room(&self, prompt: PromptId, generation: Generation) -> Result<Option<RoomImage>> {
        let mut transaction = self.db.read().await?;
        let Some(row) = query(HEAD).bind(prompt.0).fetch_optional(&mut transaction).await? else {
            return Ok(None);
        };
        let head = read_head(&row)?;
        let snapshot_seq = match generation {
            Generation::Newest => row.maybe_number("snapshot_seq")?.map(Seq),
            Generation::Older => row.maybe_number("snapshot_seq_older")?.map(Seq),
        };
        let snapshot = match snapshot_seq {
            Some(seq) => Some((seq, snapshot(&mut transaction, prompt, seq).await?)),
            None => None,
        };
        let base = snapshot_seq.unwrap_or_default();
        let rows = query(ROWS).bind(prompt.0).bind(int(base.0)).fetch_all(&mut transaction).await?;
        let rows = rows.iter().map(read_row).collect::<Result<Vec<_>>>()?;
        check_unbroken(prompt, base, head.head, &rows)?;
        Ok(Some(RoomImage {
            lineage: head.lineage,
            head: head.head,
            revision: head.revision,
            rights_epoch: head.rights_epoch,
            snapshot,
            rows,
            title: row.text("title")?,
            deleted: head.deleted,
        }))
    }

    /// At least one row if there is one, then as many as fit in `bytes_max`.
    pub async fn rows_after(
        &self,
        prompt: PromptId,
        lineage: LineageId,
        after: Seq,
        bytes_max: usize,
    ) -> Result<RowsAfter> {
        let mut transaction = self.db.read().await?;
        let Some(row) = query(HEAD).bind(prompt.0).fetch_optional(&mut transaction).await? else {
            return Ok(RowsAfter::Gone);
        };
        let head = read_head(&row)?;
        if head.lineage != lineage || head.deleted || after > head.head {
            return Ok(RowsAfter::Gone);
        }
        let found = some_rows(&mut transaction, prompt, after, bytes_max).await?;
        match found.first() {
            Some((seq, _)) if seq.0 != after.0 + 1 => Ok(RowsAfter::Gone),
            None if after < head.head => Ok(RowsAfter::Gone),
            _ => Ok(RowsAfter::Rows(found)),
        }
    }

    /// Rooms that do not exist are left out. Those that are due for a snapshot are noted, for `take_due`.
    pub async fn heads(&self, prompts: &[PromptId]) -> Result<Vec<RoomHead>> {
        let mut heads = Vec::with_capacity(prompts.len());
        for prompts in prompts.chunks(HEADS_AT_ONCE) {
            let mut query = Statement::new(self.db.dialect(), select_heads!("WHERE prompts.id"));
            query.push_in(prompts.iter().map(|prompt| prompt.0));
            let mut connection = self.db.read_once().await?;
            for row in query.build().persistent(false).fetch_all(&mut connection).await? {
                let head = read_head(&row)?;
                let rows = head.head.0.saturating_sub(row.maybe_number("snapshot_seq")?.unwrap_or(0));
                self.due.note(head.prompt, head.head, rows, row.number("tail_bytes")?);
                heads.push(head);
            }
        }
        Ok(heads)
    }
}

async fn some_rows(
    connection: &mut Transaction,
    prompt: PromptId,
    after: Seq,
    bytes_max: usize,
) -> Result<Vec<(Seq, Bytes)>> {
    let mut found: Vec<(Seq, Bytes)> = Vec::new();
    let mut bytes = 0;
    loop {
        let last = found.last().map_or(after, |(seq, _)| *seq);
        let rows = query(SOME_ROWS)
            .bind(prompt.0)
            .bind(int(last.0))
            .bind(ROWS_AT_ONCE as i64)
            .fetch_all(connection)
            .await?;
        for row in &rows {
            let (seq, row) = read_row(row)?;
            bytes += row.len();
            if !found.is_empty() && bytes > bytes_max {
                return Ok(found);
            }
            found.push((seq, row));
        }
        if rows.len() < ROWS_AT_ONCE {
            return Ok(found);
        }
    }
}

async fn snapshot(connection: &mut Transaction, prompt: PromptId, seq: Seq) -> Result<Bytes> {
    let row = query(SNAPSHOT).bind(prompt.0).bind(int(seq.0)).fetch_optional(connection).await?;
    let row =
        row.ok_or_else(|| StoreError::Corrupt(format!("room {prompt}: snapshot {} is missing", seq.0)))?;
    let bytes = row.bytes("bytes")?;
    if Sha256::digest(&bytes)[..] != row.bytes("sha256")?[..] {
        return Err(StoreError::Corrupt(format!("room {prompt}: snapshot {} fails its checksum", seq.0)));
    }
    Ok(bytes)
}

fn check_unbroken(prompt: PromptId, base: Seq, head: Seq, rows: &[(Seq, Bytes)]) -> Result<()> {
    let mut expected = base.0;
    for (seq, _) in rows {
        expected += 1;
        if seq.0 != expected {
            return Err(StoreError::Corrupt(format!("room {prompt}: row {expected} is missing")));
        }
    }
    if expected != head.0 {
        return Err(StoreError::Corrupt(format!(
            "room {prompt}: rows end at {expected}, head is {}",
            head.0
        )));
    }
    Ok(())
}

fn read_row(row: &Row) -> Result<(Seq, Bytes)> {
    Ok((Seq(row.number("seq")?), row.bytes("bytes")?))
}

fn read_head(row: &Row) -> Result<RoomHead> {
    Ok(RoomHead {
        prompt: PromptId(row.uuid("id")?),
        lineage: LineageId(row.uuid("lineage")?),
        head: Seq(row.number("head")?),
        revision: row.number("revision")?,
        rights_epoch: row.number("rights_epoch")?,
        deleted: row.maybe_signed("deleted_at_ms")?.is_some(),
    })
}
