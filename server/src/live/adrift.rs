//! Runs that this node is said to drive and does not: their start or their claim was in doubt, or they were given up
//! because the store refused to take what they received. Nobody else takes them as long as this node lives.

use crate::live::{runs::Runs, tasks::Tasks};
use crate::store::{Store, StoreError};
use promptroom_protocol::RunId;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

const PACE: Duration = Duration::from_secs(5);
/// What was driven by nobody for so long is not just on its way.
const PATIENCE: Duration = Duration::from_secs(8);
const RUNS_AT_ONCE: u32 = 1_000;

pub(super) struct Adrift {
    store: Arc<Store>,
    runs: Arc<Runs>,
    tasks: Tasks,
    /// Since when they are seen so.
    since: BTreeMap<RunId, Instant>,
}

impl Adrift {
    pub fn start(store: Arc<Store>, runs: Arc<Runs>, tasks: &Tasks) {
        let adrift = Adrift { store, runs, tasks: tasks.clone(), since: BTreeMap::new() };
        tasks.spawn_vital("own runs", adrift.watch());
    }

    async fn watch(mut self) {
        loop {
            tokio::select! {
                biased;
                // They are left to others then.
                () = self.tasks.drained() => return self.tasks.stopped().await,
                () = sleep(PACE) => {}
            }
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "runs that nobody drives are not looked for");
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let own = self.runs.node;
        let mut adrift = self.store.runs_to_take_over(&[own], RUNS_AT_ONCE).await?;
        adrift.retain(|run| !self.runs.is_minded(*run));
        let now = Instant::now();
        self.since.retain(|run, _| adrift.contains(run));
        for run in adrift {
            if now - *self.since.entry(run).or_insert(now) < PATIENCE {
                continue;
            }
            tracing::warn!(run.id = %run, "a run of this node is driven by nobody; it is taken up again");
            if let Err(error) = self.runs.recover(run, |owner| owner == own).await {
                tracing::error!(%error, run.id = %run, "a run of this node cannot be taken up again");
                // Later, so that one which is damaged does not take the time of others.
                self.since.remove(&run);
            }
        }
        Ok(())
    }
}
