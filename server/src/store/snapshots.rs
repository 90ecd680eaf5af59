//! Snapshots of documents: two good generations, and only rows that the older one holds are deleted.

use super::column::{Columns, int, maybe_int};
use super::query::query;
use super::{Generation, Result, RoomImage, Store, StoreError};
use bytes::Bytes;
use parking_lot::Mutex;
use promptroom_protocol::{LineageId, PromptId, Seq};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Rows deleted in one transaction: nobody's edit waits long behind it.
const PRUNED_ROWS_MAX: u64 = 500;
/// Rooms noted as due; one that finds no place is found again.
const DUE_NOTED_MAX: usize = 10_000;

statements! {
    DUE = "SELECT id, head FROM prompts
        WHERE head - COALESCE(snapshot_seq, 0) >= $1 OR tail_bytes >= $2
        ORDER BY tail_bytes DESC, id LIMIT $3";
    HOLD = "SELECT id FROM prompts WHERE id = $1";
    MAY_FOLLOW = "SELECT 1 AS yes FROM prompts WHERE id = $1 AND lineage = $2
        AND snapshot_seq IS NOT DISTINCT FROM $3 AND $4 > COALESCE(snapshot_seq, 0) AND $4 <= head";
    PUT = "INSERT INTO room_snapshots (prompt_id, seq, workspace_id, bytes, sha256) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (prompt_id, seq) DO UPDATE SET bytes = excluded.bytes, sha256 = excluded.sha256";
    READ_BACK = "SELECT bytes, sha256 FROM room_snapshots WHERE prompt_id = $1 AND seq = $2";
    /// The row itself is asked for too: another node's clean-up may have taken it while nothing pointed at it.
    POINT = "UPDATE prompts SET snapshot_seq_older = snapshot_seq, snapshot_seq = $4, tail_bytes =
        (SELECT COALESCE(SUM(LENGTH(bytes)), 0) FROM room_updates WHERE prompt_id = $1 AND seq > $4)
        WHERE id = $1 AND lineage = $2 AND snapshot_seq IS NOT DISTINCT FROM $3
        AND EXISTS (SELECT 1 FROM room_snapshots WHERE prompt_id = $1 AND seq = $4)
        RETURNING snapshot_seq_older";
    POINT_BACK = "UPDATE prompts SET snapshot_seq = snapshot_seq_older, snapshot_seq_older = NULL, tail_bytes =
        (SELECT COALESCE(SUM(LENGTH(bytes)), 0) FROM room_updates
         WHERE prompt_id = $1 AND seq > COALESCE(prompts.snapshot_seq_older, 0))
        WHERE id = $1 AND snapshot_seq = $2 AND snapshot_seq_older IS NOT DISTINCT FROM $3";
    DROP_UNUSED = "DELETE FROM room_snapshots WHERE prompt_id = $1 AND NOT EXISTS (SELECT 1 FROM prompts
        WHERE id = $1 AND room_snapshots.seq IN (snapshot_seq, COALESCE(snapshot_seq_older, 0)))";
    NEWEST = "SELECT snapshot_seq FROM prompts WHERE id = $1";
    PRUNE = "DELETE FROM room_updates WHERE prompt_id = $1 AND seq IN
        (SELECT seq FROM room_updates WHERE prompt_id = $1 AND seq <= $2 ORDER BY seq LIMIT $3)";
}

/// Rooms that were found to be due while somebody asked where they stand: whoever looks for them need not ask again.
#[derive(Default)]
pub(super) struct Due(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    /// Rows and bytes after the newest snapshot from which on a room is due; `None` as long as nobody wants to know.
    min: Option<(u64, u64)>,
    rooms: BTreeMap<PromptId, Seq>,
}

impl Due {
    pub(super) fn note(&self, prompt: PromptId, head: Seq, rows: u64, bytes: u64) {
        let mut noted = self.0.lock();
        let is_due = noted.min.is_some_and(|(rows_min, bytes_min)| rows >= rows_min || bytes >= bytes_min);
        if is_due && (noted.rooms.len() < DUE_NOTED_MAX || noted.rooms.contains_key(&prompt)) {
            noted.rooms.insert(prompt, head);
        }
    }
}

impl Store {
    /// From now on rooms are noted whose rows after the newest snapshot are at least so many, or so many bytes.
    pub fn note_due(&self, rows_min: u64, bytes_min: u64) {
        self.due.0.lock().min = Some((rows_min, bytes_min));
    }

    /// The rooms that were found to be due since the last call, by `heads`, and where they stood. One that stays so is
    /// found again.
    pub fn take_due(&self) -> BTreeMap<PromptId, Seq> {
        std::mem::take(&mut self.due.0.lock().rooms)
    }

    /// Rooms whose rows after the newest snapshot are at least so many, or so many bytes, and where they stand; the
    /// largest first. Goes through all rooms.
    pub async fn snapshots_due(
        &self,
        rows_min: u64,
        bytes_min: u64,
        limit: u32,
    ) -> Result<Vec<(PromptId, Seq)>> {
        let mut connection = self.db.read_once().await?;
        let rows = query(DUE)
            .bind(int(rows_min))
            .bind(int(bytes_min))
            .bind(i64::from(limit))
            .fetch_all(&mut connection)
            .await?;
        rows.iter().map(|row| Ok((PromptId(row.uuid("id")?), Seq(row.number("head")?)))).collect()
    }

    /// What a snapshot is built from: the store's own state, never a node's memory.
    pub async fn snapshot_base(&self, prompt: PromptId) -> Result<Option<RoomImage>> {
        self.load_room(prompt, Generation::Newest).await
    }

    /// Writes a snapshot of all rows up to `seq`, reads it back, makes it the newest and deletes what the older
    /// generation covers. `previous` is the snapshot that it was built on; false, and nothing changed, if that is no
    /// longer the newest one. `Corrupt` if what was read back differs from `bytes` or `sha256`.
    pub async fn put_snapshot(
        &self,
        prompt: PromptId,
        lineage: LineageId,
        seq: Seq,
        bytes: Bytes,
        sha256: [u8; 32],
        previous: Option<Seq>,
    ) -> Result<bool> {
        let place = Place { prompt, lineage, seq, previous };
        if !self.write_snapshot(&place, &bytes, &sha256).await? {
            return Ok(false);
        }
        self.verify_snapshot(&place, &bytes, &sha256).await?;
        let Some(older) = self.point_at_snapshot(&place).await? else { return Ok(false) };
        if let Some(older) = older {
            self.prune_rows(prompt, older).await?;
        }
        Ok(true)
    }

    /// The seq of the newest snapshot, damaged or not.
    pub async fn newest_snapshot(&self, prompt: PromptId) -> Result<Option<Seq>> {
        let mut connection = self.db.read_once().await?;
        let row = query(NEWEST).bind(prompt.0).fetch_optional(&mut connection).await?;
        row.map_or(Ok(None), |row| Ok(row.maybe_number("snapshot_seq")?.map(Seq)))
    }

    /// Gives up a newest snapshot that is damaged; the older one, which was proved good, becomes the newest. Whether it
    /// was so: where another node has done the same, the newest one is the good one by now.
    pub async fn drop_snapshot(&self, prompt: PromptId, damaged: Seq, good: Option<Seq>) -> Result<bool> {
        let mut transaction = self.db.write().await?;
        transaction.hold(HOLD, prompt.0).await?;
        let back =
            query(POINT_BACK).bind(prompt.0).bind(int(damaged.0)).bind(maybe_int(good.map(|seq| seq.0)));
        let moved = back.execute(&mut transaction).await?;
        if moved > 0 {
            query(DROP_UNUSED).bind(prompt.0).execute(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(moved > 0)
    }

    async fn write_snapshot(&self, place: &Place, bytes: &Bytes, sha256: &[u8; 32]) -> Result<bool> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        transaction.hold(HOLD, place.prompt.0).await?;
        let may = query(MAY_FOLLOW)
            .bind(place.prompt.0)
            .bind(place.lineage.0)
            .bind(maybe_int(place.previous.map(|seq| seq.0)))
            .bind(int(place.seq.0))
            .fetch_optional(&mut transaction)
            .await?;
        if may.is_none() {
            return Ok(false);
        }
        query(PUT)
            .bind(place.prompt.0)
            .bind(int(place.seq.0))
            .bind(workspace.0)
            .bind(bytes.as_ref())
            .bind(sha256.as_slice())
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn verify_snapshot(&self, place: &Place, bytes: &Bytes, sha256: &[u8; 32]) -> Result<()> {
        let mut connection = self.db.read_once().await?;
        let row = query(READ_BACK)
            .bind(place.prompt.0)
            .bind(int(place.seq.0))
            .fetch_optional(&mut connection)
            .await?;
        // Cleaned up by another node's snapshot; the pointer will not move either.
        let Some(row) = row else { return Ok(()) };
        let found = row.bytes("bytes")?;
        if found == *bytes && row.bytes("sha256")? == sha256[..] && Sha256::digest(&found)[..] == sha256[..] {
            return Ok(());
        }
        Err(StoreError::Corrupt(format!("room {}: snapshot {} did not read back", place.prompt, place.seq.0)))
    }

    /// The generation that is the older one now, if there is one; `None` if the pointer had moved.
    async fn point_at_snapshot(&self, place: &Place) -> Result<Option<Option<Seq>>> {
        let mut transaction = self.db.write().await?;
        transaction.hold(HOLD, place.prompt.0).await?;
        let row = query(POINT)
            .bind(place.prompt.0)
            .bind(place.lineage.0)
            .bind(maybe_int(place.previous.map(|seq| seq.0)))
            .bind(int(place.seq.0))
            .fetch_optional(&mut transaction)
            .await?;
        query(DROP_UNUSED).bind(place.prompt.0).execute(&mut transaction).await?;
        transaction.commit().await?;
        row.map(|row| Ok(row.maybe_number("snapshot_seq_older")?.map(Seq))).transpose()
    }

    async fn prune_rows(&self, prompt: PromptId, up_to: Seq) -> Result<()> {
        loop {
            let mut transaction = self.db.write().await?;
            let deleted = query(PRUNE)
                .bind(prompt.0)
                .bind(int(up_to.0))
                .bind(int(PRUNED_ROWS_MAX))
                .execute(&mut transaction)
                .await?;
            transaction.commit().await?;
            if deleted < PRUNED_ROWS_MAX {
                return Ok(());
            }
        }
    }
}

struct Place {
    prompt: PromptId,
    lineage: LineageId,
    seq: Seq,
    previous: Option<Seq>,
}
