//! What somebody must do later: runs of dead drivers, snapshots, and who was last seen when.

use crate::domain::document::Document;
use crate::live::{billing::estimate, clock::now_ms, runs::Runs, tasks::Tasks};
use crate::store::{Store, StoreError};
use promptroom_protocol::{PromptId, Seq};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

const PACE: Duration = Duration::from_secs(2);
const SEEN_PACE: Duration = Duration::from_secs(60);
/// A room is snapshotted when so much has come since its last snapshot.
const SNAPSHOT_ROWS: u64 = 500;
const SNAPSHOT_BYTES: u64 = 1 << 20;
const SNAPSHOTS_AT_ONCE: u32 = 4;
pub struct Reaper {
    store: Arc<Store>,
    runs: Arc<Runs>,
    tasks: Tasks,
    /// Rooms of which no snapshot can be made, and their head then: tried again only when much has come since.
    unmerged: HashMap<PromptId, Seq>,
}

impl Reaper {
    /// Resolves when the runs of the last life are taken over. The task goes on whether or not anybody waits for that.
    pub fn start(store: Arc<Store>, runs: Arc<Runs>, tasks: &Tasks) -> oneshot::Receiver<()> {
        let (done, taken_over) = oneshot::channel();
        let reaper = Reaper { store, runs, tasks: tasks.clone(), unmerged: HashMap::new() };
        tasks.spawn_vital("reaper", reaper.watch(done));
        taken_over
    }

    async fn watch(mut self, done: oneshot::Sender<()>) {
        let mut to_take_over = Some(done);
        let mut seen_at = Instant::now();
        loop {
            // The data directory's lock is ours, so whoever drove these runs is dead.
            if let Some(done) = to_take_over.take() {
                match self.take_over().await {
                    // Nobody may wait any more.
                    Ok(()) => drop(done),
                    Err(error) => {
                        tracing::warn!(%error, "the runs of the last life wait for the store");
                        to_take_over = Some(done);
                    }
                }
            }
            if let Err(error) = self.snapshot_due().await {
                tracing::warn!(%error, "snapshots wait");
            }
            if seen_at.elapsed() >= SEEN_PACE {
                seen_at = Instant::now();
                if let Err(error) = self.store.write_last_seen().await {
                    tracing::warn!(%error, "who was last seen when was not written");
                }
            }
            tokio::select! {
                () = sleep(PACE) => {}
                () = self.tasks.stopped() => return,
            }
        }
    }

    /// All runs that no living node drives. One that is damaged is left as it is and does not keep the others waiting.
    async fn take_over(&self) -> Result<(), StoreError> {
        for run in self.store.unfinished_runs(self.runs.node).await? {
            match self.runs.recover(run).await {
                Ok(()) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => tracing::error!(%error, run.id = %run, "a run cannot be taken over"),
            }
        }
        while self.store.settle_orphans(&[self.runs.node], estimate, now_ms()).await? > 0 {}
        Ok(())
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
