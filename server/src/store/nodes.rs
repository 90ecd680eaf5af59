//! Heartbeats: a counter per node, so that no clock decides who is dead.

use super::column::{Columns, int};
use super::{NodeId, Result, Store};

statements! {
    BEAT = "INSERT INTO nodes (id, beats, beat_at_ms) VALUES ($1, 1, $2)
        ON CONFLICT (id) DO UPDATE SET beats = nodes.beats + 1, beat_at_ms = excluded.beat_at_ms
        RETURNING beats";
    BEATS = "SELECT id, beats FROM nodes ORDER BY id";
    REMOVE = "DELETE FROM nodes WHERE id = $1";
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeBeat {
    pub node: NodeId,
    pub beats: u64,
}

impl Store {
    /// Moves the node's counter and returns it.
    pub async fn beat(&self, node: NodeId, now_ms: u64) -> Result<u64> {
        let mut transaction = self.db.write().await?;
        let row = sqlx::query(BEAT).bind(node.0).bind(int(now_ms)).fetch_one(&mut *transaction).await?;
        transaction.commit().await?;
        row.number("beats")
    }

    pub async fn beats(&self) -> Result<Vec<NodeBeat>> {
        let mut connection = self.db.read().await?;
        let rows = sqlx::query(BEATS).fetch_all(&mut *connection).await?;
        rows.iter()
            .map(|row| Ok(NodeBeat { node: NodeId(row.uuid("id")?), beats: row.number("beats")? }))
            .collect()
    }

    /// Forgets a node that drives nothing any more.
    pub async fn remove_node(&self, node: NodeId) -> Result<()> {
        let mut transaction = self.db.write().await?;
        sqlx::query(REMOVE).bind(node.0).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}
