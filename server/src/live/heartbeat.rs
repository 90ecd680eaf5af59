//! This node's life as others see it, and theirs as it sees them.
//!
//! Once a second it counts up its own row and, only when that is in the store, reads the counters of all. So a store
//! that stands still holds nothing against anybody (`domain/watch.rs`).

use crate::domain::watch::{Beat, Watch};
use crate::live::{clock::now_ms, runs::Runs, tasks::Tasks};
use crate::store::{NodeId, NodeReading, Store, StoreError};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

const PACE: Duration = Duration::from_secs(1);
/// A judgement is not acted on when it is older.
const FRESH: Duration = Duration::from_secs(2);

/// What has lost its driver, as last read.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    at: Instant,
    dead: Vec<NodeId>,
    /// Some run has no owner.
    ownerless: bool,
}

impl Lost {
    fn nothing() -> Lost {
        Lost { at: Instant::now(), dead: Vec::new(), ownerless: false }
    }

    pub fn is_dead(&self, node: NodeId) -> bool {
        self.at.elapsed() <= FRESH && self.dead.contains(&node)
    }

    pub fn dead(&self) -> &[NodeId] {
        &self.dead
    }

    fn is_nothing(&self) -> bool {
        self.dead.is_empty() && !self.ownerless
    }
}

pub(super) struct Heartbeat {
    store: Arc<Store>,
    runs: Arc<Runs>,
    tasks: Tasks,
    watch: Watch<Uuid>,
    began: Instant,
    lost: watch::Sender<Lost>,
}

impl Heartbeat {
    /// Changes whenever there is something to take over.
    pub fn start(store: Arc<Store>, runs: Arc<Runs>, tasks: &Tasks) -> watch::Receiver<Lost> {
        let (lost, told) = watch::channel(Lost::nothing());
        let (tasks, began) = (tasks.clone(), Instant::now());
        let heartbeat = Heartbeat { store, runs, tasks: tasks.clone(), watch: Watch::default(), began, lost };
        tasks.spawn_vital("heartbeat", heartbeat.beat());
        told
    }

    async fn beat(mut self) {
        let mut told = false;
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = self.tasks.stopped() => return,
                () = sleep_until(next) => next = Instant::now() + PACE,
            }
            match self.turn().await {
                Ok(()) => told = false,
                Err(error) => {
                    // Nobody is judged by what was read before.
                    self.lost.send_replace(Lost::nothing());
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "this node's life was not written; no other is judged");
                    }
                }
            }
        }
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        let own = self.runs.node;
        self.store.beat(own, now_ms()).await?;
        self.runs.is_known();
        let seen = self.store.look_at_nodes().await?;
        let others = seen.nodes.iter().filter(|reading| reading.node != own);
        let readings = others.map(|reading| (reading.node.0, beat_of(reading)));
        let dead = self.watch.read(self.began.elapsed(), readings).into_iter().map(NodeId);
        // Those that left nothing behind are nobody's concern.
        let dead = dead.filter(|node| seen.with_work.contains(node)).collect();
        let lost = Lost { at: Instant::now(), dead, ownerless: seen.ownerless };
        self.lost.send_if_modified(|last| {
            let is_news = !lost.is_nothing();
            *last = lost;
            is_news
        });
        Ok(())
    }
}

fn beat_of(reading: &NodeReading) -> Beat {
    match reading.beat {
        _ if reading.stopped => Beat::Stopped,
        Some(beat) => Beat::Counter(beat),
        None => Beat::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::test_node::{Hearing, Node, other_node};
    use promptroom_protocol::CommandId;

    #[tokio::test(start_paused = true)]
    async fn the_dead_that_left_nothing_behind_are_nobodys_concern() {
        let node = Node::first(1, Hearing::Deaf).await;
        node.kill();
        let (idle, driver) = (other_node(), other_node());
        node.store.add_node(idle, 1).await.unwrap();
        node.store.add_node(driver, 1).await.unwrap();
        node.leave_behind(CommandId(Uuid::new_v4()), driver).await;
        let (lost, told) = watch::channel(Lost::nothing());
        let (store, runs, began) = (node.store.clone(), node.runs.clone(), Instant::now());
        let (tasks, watch) = (Tasks::default(), Watch::default());
        let mut heartbeat = Heartbeat { store, runs, tasks, watch, began, lost };
        for _ in 0..8 {
            assert_eq!(told.borrow().dead(), []);
            heartbeat.turn().await.unwrap();
            if !told.borrow().dead().is_empty() {
                break;
            }
            sleep_until(Instant::now() + PACE).await;
        }
        assert_eq!(told.borrow().dead(), [driver]);
        assert!(told.borrow().is_dead(driver) && !told.borrow().is_dead(idle));
    }
}
