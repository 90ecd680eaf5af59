//! What is to be done now and then: snapshots of rooms, who was last seen when, and the rows of nodes and sessions that
//! are long gone.

use crate::domain::document::Document;
use crate::live::{
    clock::{now_ms, random},
    tasks::Tasks,
};
use crate::store::{Store, StoreError};
use promptroom_protocol::{PromptId, Seq};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep};

const SEEN_PACE: Duration = Duration::from_secs(60);
const CLEAN_UP_PACE: Duration = Duration::from_secs(3_600);
/// Between two looks through all rooms for snapshots that nobody made.
const SCAN_PACE: Duration = Duration::from_secs(600);
const SCANNED_MAX: u32 = 1_000;
/// A node that has not counted for so long does not come back.
const NODE_KEPT_MS: u64 = 24 * 3_600 * 1_000;
const SNAPSHOTS_AT_ONCE: usize = 4;

/// When snapshots of rooms are made.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotPace {
    /// Between two looks.
    pub pause: Duration,
    /// A room is due when so much has come since its last snapshot.
    pub rows: u64,
    pub bytes: u64,
}

impl Default for SnapshotPace {
    fn default() -> Self {
        SnapshotPace { pause: Duration::from_secs(2), rows: 500, bytes: 1 << 20 }
    }
}

pub(super) struct Upkeep {
    store: Arc<Store>,
    tasks: Tasks,
    pace: SnapshotPace,
    /// No other node uses the database.
    alone: bool,
    /// Rooms that were due when all were looked at, and where they stood.
    found: BTreeMap<PromptId, Seq>,
    /// Rooms of which no snapshot can be made, and their head then: tried again only when much has come since.
    unmerged: HashMap<PromptId, Seq>,
}

impl Upkeep {
    pub fn start(store: Arc<Store>, pace: SnapshotPace, alone: bool, tasks: &Tasks) {
        store.note_due(pace.rows, pace.bytes);
        let (found, unmerged) = (BTreeMap::new(), HashMap::new());
        let upkeep = Upkeep { store, tasks: tasks.clone(), pace, alone, found, unmerged };
        tasks.spawn_vital("upkeep", upkeep.watch());
    }

    async fn watch(mut self) {
        let mut seen_at = Instant::now() + SEEN_PACE;
        // At once, or a node that is started again and again would never come to it.
        let mut clean_up_at = Instant::now();
        // Nodes that start together do not go through all rooms together.
        let mut scan_at = Instant::now() + SCAN_PACE.mul_f64((random() % 1_024) as f64 / 1_024.0);
        loop {
            if is_time(&mut scan_at, SCAN_PACE)
                && let Err(error) = self.scan().await
            {
                tracing::warn!(%error, "rooms that are due for a snapshot and not open are not looked for");
            }
            self.snapshot_due().await;
            if is_time(&mut seen_at, SEEN_PACE)
                && let Err(error) = self.store.write_last_seen().await
            {
                tracing::warn!(%error, "who was last seen when was not written");
            }
            if is_time(&mut clean_up_at, CLEAN_UP_PACE)
                && let Err(error) = self.clean_up().await
            {
                tracing::warn!(%error, "what is over long since was not deleted");
            }
            tokio::select! {
                biased;
                () = self.tasks.stopped() => return,
                () = sleep(self.pace.pause) => {}
            }
        }
    }

    async fn clean_up(&self) -> Result<(), StoreError> {
        let now = now_ms();
        self.store.remove_idle_sessions(now).await?;
        if !self.alone {
            self.store.forget_nodes(now.saturating_sub(NODE_KEPT_MS)).await?;
        }
        Ok(())
    }

    /// A room that is open is found to be due by those who ask where it stands. Only what a node left that ended before
    /// it came to it has to be looked for; such a room does not grow.
    async fn scan(&mut self) -> Result<(), StoreError> {
        // Rooms that do not merge stay due; they must not take the places of those that do.
        let limit = SCANNED_MAX + self.unmerged.len() as u32;
        let found = self.store.snapshots_due(self.pace.rows, self.pace.bytes, limit).await?;
        self.found = found.into_iter().collect();
        Ok(())
    }

    async fn snapshot_due(&mut self) {
        let mut due = self.store.take_due();
        due.extend(&self.found);
        let is_hopeless = |prompt: &PromptId, head: Seq| {
            self.unmerged.get(prompt).is_some_and(|at| head.0 < at.0 + self.pace.rows)
        };
        due.retain(|prompt, head| !is_hopeless(prompt, *head));
        let mut due: Vec<(PromptId, Seq)> = due.into_iter().collect();
        if due.len() > SNAPSHOTS_AT_ONCE {
            // Each node begins at another one, so that they seldom make the same snapshot.
            let first = random() % due.len() as u64;
            due.rotate_left(first as usize);
        }
        for (prompt, head) in due.into_iter().take(SNAPSHOTS_AT_ONCE) {
            match self.snapshot(prompt).await {
                Ok(()) => {
                    self.unmerged.remove(&prompt);
                }
                Err(error) => {
                    tracing::warn!(prompt.id = %prompt, %error, "a snapshot was not made");
                    if error.is_transient() {
                        continue;
                    }
                    self.unmerged.insert(prompt, head);
                }
            }
            self.found.remove(&prompt);
        }
    }

    /// Builds a snapshot from the store alone, and believes it only when it reads back as the same document.
    async fn snapshot(&self, prompt: PromptId) -> Result<(), StoreError> {
        let Some(image) = self.store.snapshot_base(prompt).await? else { return Ok(()) };
        let bytes: u64 = image.rows.iter().map(|(_, row)| row.len() as u64).sum();
        if (image.rows.len() as u64) < self.pace.rows && bytes < self.pace.bytes {
            // Another node was quicker.
            return Ok(());
        }
        let (lineage, seq) = (image.lineage, image.head);
        let previous = image.snapshot.as_ref().map(|(seq, _)| *seq);
        let merging = self.tasks.block(move || {
            let snapshot = image.snapshot.as_ref().map(|(_, bytes)| &bytes[..]);
            let merged = Document::merge(snapshot, image.rows.iter().map(|(_, row)| &row[..])).ok()?;
            let again = Document::merge(Some(&merged.bytes), std::iter::empty()).ok()?;
            (again.digest == merged.digest).then_some(merged.bytes)
        });
        let Ok(Some(bytes)) = merging.await else {
            return Err(StoreError::Corrupt(format!(
                "the rows of prompt {prompt} do not merge into a document"
            )));
        };
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        let length = bytes.len();
        if self.store.put_snapshot(prompt, lineage, seq, bytes.into(), sha256, previous).await? {
            tracing::debug!(prompt.id = %prompt, seq = seq.0, bytes = length, "snapshot");
        }
        Ok(())
    }
}

/// Whether it is time; sets the next one.
fn is_time(at: &mut Instant, pace: Duration) -> bool {
    let now = Instant::now();
    if now < *at {
        return false;
    }
    *at = now + pace;
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{document::first_state, prompt::ContentPatch, rights::Visibility};
    use crate::live::test_node::{Hearing, Node, PATIENCE, other_node};
    use crate::store::{CreateOutcome, NewPrompt};
    use promptroom_protocol::LineageId;
    use uuid::Uuid;

    /// A prompt of one long row, in the store of a node that is gone.
    async fn due() -> (Node, PromptId) {
        let node = Node::first(1, Hearing::Deaf).await;
        node.kill();
        let content = ContentPatch { title: Some("Tea".to_owned()), ..ContentPatch::default() };
        let new = NewPrompt {
            id: PromptId(Uuid::new_v4()),
            lineage: LineageId(Uuid::new_v4()),
            slug: "long".to_owned(),
            owner: node.ann.id,
            visibility: Visibility::Workspace,
            title: "Tea".to_owned(),
            first_row: first_state(1, &content, "demo/markdown").unwrap().into(),
            now_ms: 1,
        };
        let CreateOutcome::Created(prompt) = node.store.create_prompt(&new).await.unwrap() else {
            panic!("not created")
        };
        (node, prompt.id)
    }

    /// How long it takes until the prompt has a snapshot.
    async fn snapshot_after(store: &Arc<Store>, prompt: PromptId) -> Duration {
        let tasks = Tasks::default();
        let pace = SnapshotPace { bytes: 100, ..SnapshotPace::default() };
        let begun = Instant::now();
        Upkeep::start(store.clone(), pace, true, &tasks);
        while store.newest_snapshot(prompt).await.unwrap().is_none() {
            assert!(begun.elapsed() < SCAN_PACE * 2, "nobody looks for it");
            sleep(Duration::from_millis(100)).await;
        }
        tasks.stop();
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_somebody_asks_about_gets_its_snapshot_at_once() {
        let (node, prompt) = due().await;
        node.store.note_due(500, 100);
        node.store.heads(&[prompt]).await.unwrap();
        assert!(snapshot_after(&node.store, prompt).await < SnapshotPace::default().pause * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_was_left_by_a_node_that_died_gets_its_snapshot_in_the_end() {
        let (node, prompt) = due().await;
        snapshot_after(&node.store, prompt).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_has_just_started_deletes_the_rows_of_those_long_gone() {
        let first = Node::first(1, Hearing::Deaf).await;
        let gone = other_node();
        first.store.add_node(gone, 1).await.unwrap();
        let second = first.beside(Hearing::Deaf).await;
        let begun = Instant::now();
        let is_there = async || {
            let seen = second.store.look_at_nodes().await.unwrap();
            seen.nodes.iter().any(|reading| reading.node == gone)
        };
        while is_there().await {
            assert!(begun.elapsed() < PATIENCE, "a node that is started again and again never comes to it");
            sleep(Duration::from_millis(100)).await;
        }
    }
}
