//! What is to be done now and then: snapshots of rooms, who was last seen when, and the rows of nodes long gone.

use crate::domain::document::Document;
use crate::live::{clock::now_ms, tasks::Tasks};
use crate::store::{Store, StoreError};
use promptroom_protocol::{PromptId, Seq};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

const PACE: Duration = Duration::from_secs(2);
const SEEN_PACE: Duration = Duration::from_secs(60);
const NODES_PACE: Duration = Duration::from_secs(3_600);
/// A node that has not counted for so long does not come back.
const NODE_KEPT_MS: u64 = 24 * 3_600 * 1_000;
/// A room is snapshotted when so much has come since its last snapshot.
const SNAPSHOT_ROWS: u64 = 500;
const SNAPSHOT_BYTES: u64 = 1 << 20;
const SNAPSHOTS_AT_ONCE: u32 = 4;

pub(super) struct Upkeep {
    store: Arc<Store>,
    tasks: Tasks,
    /// No other node uses the database.
    alone: bool,
    /// Rooms of which no snapshot can be made, and their head then: tried again only when much has come since.
    unmerged: HashMap<PromptId, Seq>,
}

impl Upkeep {
    pub fn start(store: Arc<Store>, alone: bool, tasks: &Tasks) {
        let upkeep = Upkeep { store, tasks: tasks.clone(), alone, unmerged: HashMap::new() };
        tasks.spawn_vital("upkeep", upkeep.watch());
    }

    async fn watch(mut self) {
        let (mut seen_at, mut nodes_at) = (Instant::now(), Instant::now());
        loop {
            if let Err(error) = self.snapshot_due().await {
                tracing::warn!(%error, "snapshots wait");
            }
            if seen_at.elapsed() >= SEEN_PACE {
                seen_at = Instant::now();
                if let Err(error) = self.store.write_last_seen().await {
                    tracing::warn!(%error, "who was last seen when was not written");
                }
            }
            if !self.alone && nodes_at.elapsed() >= NODES_PACE {
                nodes_at = Instant::now();
                if let Err(error) = self.store.forget_nodes(now_ms().saturating_sub(NODE_KEPT_MS)).await {
                    tracing::warn!(%error, "the rows of nodes long gone were not deleted");
                }
            }
            tokio::select! {
                biased;
                () = self.tasks.stopped() => return,
                () = sleep(PACE) => {}
            }
        }
    }

    async fn snapshot_due(&mut self) -> Result<(), StoreError> {
        // Rooms that do not merge stay due; they must not take the places of those that do.
        let limit = SNAPSHOTS_AT_ONCE + self.unmerged.len() as u32;
        let due = self.store.snapshots_due(SNAPSHOT_ROWS, SNAPSHOT_BYTES, limit).await?;
        let heads: HashMap<PromptId, Seq> =
            self.store.heads(&due).await?.into_iter().map(|head| (head.prompt, head.head)).collect();
        let is_hopeless = |prompt: &PromptId, head: Seq| {
            self.unmerged.get(prompt).is_some_and(|at| head.0 < at.0 + SNAPSHOT_ROWS)
        };
        let due: Vec<(PromptId, Seq)> = due
            .into_iter()
            .filter_map(|prompt| Some((prompt, *heads.get(&prompt)?)))
            .filter(|(prompt, head)| !is_hopeless(prompt, *head))
            .take(SNAPSHOTS_AT_ONCE as usize)
            .collect();
        for (prompt, head) in due {
            match self.snapshot(prompt).await {
                Ok(()) => {
                    self.unmerged.remove(&prompt);
                }
                Err(error) => {
                    tracing::warn!(prompt.id = %prompt, %error, "a snapshot was not made");
                    if !error.is_transient() {
                        self.unmerged.insert(prompt, head);
                    }
                }
            }
        }
        Ok(())
    }

    /// Builds a snapshot from the store alone, and believes it only when it reads back as the same document.
    async fn snapshot(&self, prompt: PromptId) -> Result<(), StoreError> {
        let Some(image) = self.store.snapshot_base(prompt).await? else { return Ok(()) };
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
