//! What nodes tell each other at once. It only makes things faster: notes may be lost, late, doubled or out of order
//! at any time, and whoever follows a room finds the same in the store.
//!
//! Nothing here waits for another node. A note that cannot be sent now is dropped and counted, and the listeners of
//! this node are told when notes of others may have been missed.

mod local;
pub mod note;
mod redis;

#[cfg(test)]
pub(crate) use local::Carrier;
pub use local::Local;
pub use note::{Note, Piece, Present, Topic};
pub use redis::{BadAddress, Redis, Upkeep};

use std::sync::Arc;
use tokio::sync::mpsc;

/// Notes that wait for this node's listener; beyond it they are dropped and it is told so.
const HEARD_WAITING: usize = 4_096;

/// Cheap to clone.
#[derive(Clone)]
pub enum Bus {
    /// The nodes of one process; with one node nobody hears anything.
    Local(Arc<Local>),
    /// Nodes in processes of their own.
    Redis(Arc<Redis>),
}

/// What reaches a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Note {
        topic: Topic,
        note: Note,
    },
    /// Some may have been missed: look into the store now.
    Missed,
}

/// Where a node hears the others; there is one listener.
pub type Ears = mpsc::Receiver<Heard>;

/// Keeps a topic subscribed; the last one that is dropped ends that.
#[must_use]
pub struct Subscription {
    topic: Topic,
    bus: Bus,
}

impl Bus {
    /// The notes of others about `topic` reach this node from now on. Resolves when that is so, or at once where the
    /// bus is away (then [`Heard::Missed`] comes with its return): never a reason not to go on.
    pub async fn subscribe(&self, topic: Topic) -> Subscription {
        let subscription = Subscription { topic, bus: self.clone() };
        match self {
            Bus::Local(local) => local.subscribe(topic),
            Bus::Redis(redis) => {
                redis.subscribe(topic);
                redis.until_in_force(topic).await;
            }
        }
        subscription
    }

    /// Tells all other nodes that are subscribed. Never waits.
    pub fn publish(&self, topic: Topic, note: Note) {
        match self {
            Bus::Local(local) => local.publish(topic, &note),
            Bus::Redis(redis) => redis.publish(topic, note),
        }
    }

    /// Whether anybody else may hear: with one node, work for others need not be done.
    pub fn has_others(&self) -> bool {
        match self {
            Bus::Local(local) => local.has_others(),
            Bus::Redis(_) => true,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        match &self.bus {
            Bus::Local(local) => local.unsubscribe(self.topic),
            Bus::Redis(redis) => redis.unsubscribe(self.topic),
        }
    }
}
