//! Who serves: one row for each life of a process, with a counter that shows that it goes on, and what the dead left.

use super::column::{Columns, int};
use super::query::{Statement, query};
use super::{NodeId, Result, Store, runs};
use promptroom_protocol::{Epoch, PromptId, RunId};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

statements! {
    ADD = "INSERT INTO nodes (id, name, beat, started_at_ms, last_at_ms) VALUES ($1, $2, 0, $3, $3)
        ON CONFLICT (id) DO NOTHING";
    BEAT = "INSERT INTO nodes (id, name, beat, started_at_ms, last_at_ms) VALUES ($1, $2, 1, $3, $3)
        ON CONFLICT (id) DO UPDATE SET beat = nodes.beat + 1, last_at_ms = excluded.last_at_ms";
    STOP = "UPDATE nodes SET stopped_at_ms = $2 WHERE id = $1 AND stopped_at_ms IS NULL";
    SERVING = "SELECT id, beat FROM nodes WHERE stopped_at_ms IS NULL";
    /// Null: nobody drives it.
    WITH_WORK = "SELECT DISTINCT work.node_id, nodes.beat, nodes.stopped_at_ms FROM (
            SELECT node_id FROM runs WHERE ended_at_ms IS NULL
            UNION SELECT run_attempts.node_id FROM run_attempts JOIN runs ON runs.id = run_attempts.run_id
            WHERE settled_at_ms IS NULL AND runs.ended_at_ms IS NOT NULL
        ) AS work LEFT JOIN nodes ON nodes.id = work.node_id";
    FORGET = "DELETE FROM nodes WHERE last_at_ms < $1
        AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.node_id = nodes.id AND runs.ended_at_ms IS NULL)
        AND NOT EXISTS (SELECT 1 FROM run_attempts
            WHERE run_attempts.node_id = nodes.id AND run_attempts.settled_at_ms IS NULL)";
    OF_NODE = "SELECT id FROM runs WHERE node_id = $1 AND ended_at_ms IS NULL ORDER BY id";
    RELEASE = "UPDATE runs SET node_id = NULL WHERE node_id = $1 AND ended_at_ms IS NULL RETURNING prompt_id";
    DRIVER = "SELECT epoch, node_id FROM runs WHERE id = $1 AND ended_at_ms IS NULL";
}

const SELECT_ABANDONED: &str = "SELECT id FROM runs WHERE ended_at_ms IS NULL AND (node_id IS NULL";

/// One node as a look at the database found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeReading {
    pub node: NodeId,
    /// `None`: it has no row, but drives a run or left an attempt open.
    pub beat: Option<u64>,
    pub stopped: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodesSeen {
    /// Those that serve, and all that have an unfinished run or left an attempt open on an ended one.
    pub nodes: Vec<NodeReading>,
    /// The latter.
    pub with_work: BTreeSet<NodeId>,
    /// Some unfinished run has no owner.
    pub ownerless: bool,
}

/// Who drives a run that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunDriver {
    pub epoch: Epoch,
    pub node: Option<NodeId>,
}

impl Store {
    /// Repeating it does nothing.
    pub async fn add_node(&self, node: NodeId, now_ms: u64) -> Result<()> {
        self.write_node(ADD, node, now_ms).await
    }

    /// Counts one more; a row that was cleaned up comes back.
    pub async fn beat(&self, node: NodeId, now_ms: u64) -> Result<()> {
        self.write_node(BEAT, node, now_ms).await
    }

    async fn write_node(&self, sql: &'static str, node: NodeId, now_ms: u64) -> Result<()> {
        let mut transaction = self.db.write_vital().await?;
        let name = format!("process {}", std::process::id());
        query(sql).bind(node.0).bind(name).bind(int(now_ms)).execute(&mut transaction).await?;
        transaction.commit().await
    }

    pub async fn look_at_nodes(&self) -> Result<NodesSeen> {
        let mut transaction = self.db.read_vital().await?;
        let mut nodes = BTreeMap::new();
        for row in query(SERVING).fetch_all(&mut transaction).await? {
            let node = NodeId(row.uuid("id")?);
            nodes.insert(node.0, NodeReading { node, beat: row.maybe_number("beat")?, stopped: false });
        }
        let (mut with_work, mut ownerless) = (BTreeSet::new(), false);
        for row in query(WITH_WORK).fetch_all(&mut transaction).await? {
            let Some(node) = row.maybe_uuid("node_id")?.map(NodeId) else {
                ownerless = true;
                continue;
            };
            with_work.insert(node);
            let stopped = row.maybe_signed("stopped_at_ms")?.is_some();
            nodes.insert(node.0, NodeReading { node, beat: row.maybe_number("beat")?, stopped });
        }
        Ok(NodesSeen { nodes: nodes.into_values().collect(), with_work, ownerless })
    }

    /// It takes nothing new from now on.
    pub async fn stop_node(&self, node: NodeId, now_ms: u64) -> Result<()> {
        let mut transaction = self.db.write_once().await?;
        query(STOP).bind(node.0).bind(int(now_ms)).execute(&mut transaction).await?;
        transaction.commit().await
    }

    /// Removes the rows of those that were last heard of before, if they left nothing behind; how many.
    pub async fn forget_nodes(&self, beat_before_ms: u64) -> Result<u64> {
        let mut transaction = self.db.write_once().await?;
        let forgotten = query(FORGET).bind(int(beat_before_ms)).execute(&mut transaction).await?;
        transaction.commit().await?;
        Ok(forgotten)
    }

    /// Leaves all unfinished runs of the node to whoever comes first; how many.
    pub async fn release_runs(&self, node: NodeId) -> Result<u64> {
        let mut transaction = self.db.write().await?;
        transaction.hold(OF_NODE, node.0).await?;
        let rows = query(RELEASE).bind(node.0).fetch_all(&mut transaction).await?;
        let prompts = rows.iter().map(|row| row.uuid("prompt_id").map(PromptId));
        runs::move_revisions(&mut transaction, prompts.collect::<Result<Vec<_>>>()?).await?;
        transaction.commit().await?;
        Ok(rows.len() as u64)
    }

    /// Unfinished runs that nobody drives, or one of those who are `dead`, oldest first.
    pub async fn runs_to_take_over(&self, dead: &[NodeId], limit: u32) -> Result<Vec<RunId>> {
        let mut select = Statement::new(self.db.dialect(), SELECT_ABANDONED);
        if !dead.is_empty() {
            select.push(" OR node_id").push_in(dead.iter().map(|node| node.0));
        }
        select.push(") ORDER BY created_at_ms, id LIMIT ").push_bind(i64::from(limit));
        let mut connection = self.db.read_once().await?;
        let rows = select.build().persistent(false).fetch_all(&mut connection).await?;
        rows.iter().map(|row| row.uuid("id").map(RunId)).collect()
    }

    /// `None` if it ended or is unknown.
    pub async fn run_driver(&self, run: RunId) -> Result<Option<RunDriver>> {
        let mut connection = self.db.read_once().await?;
        let row = query(DRIVER).bind(run.0).fetch_optional(&mut connection).await?;
        let Some(row) = row else { return Ok(None) };
        let node: Option<Uuid> = row.maybe_uuid("node_id")?;
        Ok(Some(RunDriver { epoch: Epoch(row.number("epoch")?), node: node.map(NodeId) }))
    }
}
