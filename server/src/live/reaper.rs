//! What dead drivers left behind is taken over: their runs, and what they had yet to pay for.
//!
//! A node that is alone with its database takes over everything at its start. Where there are others, each judges by
//! their counters (`heartbeat.rs`); several may come to the same judgement, and the row of a run decides who has it.

use crate::live::{
    adrift::Adrift,
    billing::estimate,
    clock::now_ms,
    heartbeat::{Heartbeat, Lost},
    runs::{RECOVERIES_AT_ONCE, Runs},
    tasks::Tasks,
    upkeep::{SnapshotPace, Upkeep},
};
use crate::store::{NodeId, Store, StoreError};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use promptroom_protocol::RunId;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep},
};

const DAMAGED_RETRY: Duration = Duration::from_secs(10);
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Runs that are looked up at one time.
const RUNS_AT_ONCE: u32 = 1_000;

pub struct Reaper {
    store: Arc<Store>,
    runs: Arc<Runs>,
    tasks: Tasks,
    /// Runs that could not be taken over, and when they are tried again: they must not take the time of others.
    damaged: Mutex<BTreeMap<RunId, Instant>>,
}

impl Reaper {
    /// Also begins this node's heartbeat, where it is not alone, and all that is done now and then. Resolves when runs may be started and
    /// what the last life of a node that is alone left behind is taken over; all of it goes on whether or not anybody
    /// waits for that.
    pub fn start(
        store: Arc<Store>,
        runs: Arc<Runs>,
        snapshots: SnapshotPace,
        tasks: &Tasks,
    ) -> oneshot::Receiver<()> {
        let (done, ready) = oneshot::channel();
        Upkeep::start(store.clone(), snapshots, runs.alone, tasks);
        Adrift::start(store.clone(), runs.clone(), tasks);
        let (tasks_of, damaged) = (tasks.clone(), Mutex::default());
        let reaper = Reaper { store: store.clone(), runs: runs.clone(), tasks: tasks_of, damaged };
        if runs.alone {
            tasks.spawn(reaper.inherit(done));
        } else {
            let lost = Heartbeat::start(store, runs, tasks);
            tasks.spawn_vital("reaper", reaper.watch(lost, done));
        }
        ready
    }

    /// The database's lock is ours, so whoever drove these runs is dead.
    async fn inherit(self, done: oneshot::Sender<()>) {
        let own = self.runs.node;
        while let Err(error) = self.inherit_all(|owner| owner != own).await {
            tracing::warn!(%error, "the runs of the last life wait for the store");
            tokio::select! {
                biased;
                () = self.tasks.stopped() => return,
                () = sleep(STORE_RETRY) => {}
            }
        }
        // Nobody may wait any more.
        drop(done);
    }

    async fn inherit_all(&self, is_gone: impl Fn(NodeId) -> bool) -> Result<(), StoreError> {
        let seen = self.store.look_at_nodes().await?;
        let gone: Vec<NodeId> =
            seen.nodes.iter().map(|reading| reading.node).filter(|node| is_gone(*node)).collect();
        self.take_over(&gone, is_gone).await
    }

    async fn watch(self, mut lost: watch::Receiver<Lost>, done: oneshot::Sender<()>) {
        let mut to_tell = Some(done);
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                () = self.tasks.drained() => return self.tasks.stopped().await,
                () = self.runs.until_known(), if to_tell.is_some() => {
                    drop(to_tell.take());
                    continue;
                }
                changed = lost.changed() => if changed.is_err() { return },
            }
            let dead = lost.borrow_and_update().dead().to_vec();
            // The newest judgement counts for each run: a node may wake up at any time.
            match self.take_over(&dead, |owner| lost.borrow().is_dead(owner)).await {
                Ok(()) => told = false,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, nodes = dead.len(), "what dead nodes left behind waits for the store");
                    }
                }
            }
        }
    }

    /// All runs that nobody owns or that one of `dead` does.
    async fn take_over(&self, dead: &[NodeId], is_gone: impl Fn(NodeId) -> bool) -> Result<(), StoreError> {
        let mut runs = self.store.runs_to_take_over(dead, RUNS_AT_ONCE).await?;
        let now = Instant::now();
        runs.retain(|run| self.damaged.lock().get(run).is_none_or(|next| *next <= now));
        // Each node begins at another one, so that they share them and seldom meet.
        let first = self.runs.node.0.as_u128() % (runs.len().max(1) as u128);
        runs.rotate_left(first as usize);
        // Each to its end: half a claim would leave the run to nobody.
        let recovering = stream::iter(runs).map(|run| self.recover(run, &is_gone));
        let mut recovering = recovering.buffer_unordered(RECOVERIES_AT_ONCE);
        let mut result = Ok(());
        while let Some(recovered) = recovering.next().await {
            result = result.and(recovered);
        }
        result?;
        while self.store.settle_orphans(dead, estimate, now_ms()).await? > 0 {}
        Ok(())
    }

    async fn recover(&self, run: RunId, is_gone: impl Fn(NodeId) -> bool) -> Result<(), StoreError> {
        match self.runs.recover(run, is_gone).await {
            Err(error) if !error.is_transient() => {
                let known = self.damaged.lock().insert(run, Instant::now() + DAMAGED_RETRY);
                if known.is_none() {
                    tracing::error!(%error, run.id = %run, "a run cannot be taken over");
                }
                Ok(())
            }
            Ok(()) => {
                self.damaged.lock().remove(&run);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
