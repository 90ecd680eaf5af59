//! The bus between nodes of one process: with one node it carries nothing.

use super::{Ears, HEARD_WAITING, Heard, Note, Topic};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::mpsc;

/// One node's end of it.
pub struct Local {
    ears: mpsc::Sender<Heard>,
    /// Something was dropped, and the listener has yet to be told.
    missed: AtomicBool,
    topics: Mutex<HashMap<Topic, usize>>,
    /// All nodes of the process, this one included.
    nodes: Arc<Mutex<Vec<Weak<Local>>>>,
    #[cfg(test)]
    carrier: std::sync::OnceLock<Box<dyn Carrier>>,
}

/// Takes a node's notes on their way, so that they can be late, lost, doubled or in another order.
#[cfg(test)]
pub(crate) trait Carrier: Send + Sync {
    /// Hands it over now, later, never or twice, by `to.hear`.
    fn carry(&self, to: Arc<Local>, topic: Topic, note: &Note);
}

impl Local {
    /// The bus of a node that is alone, until others join it.
    pub fn alone() -> (Arc<Local>, Ears) {
        Local::join_all(Arc::default())
    }

    /// One more node beside this one.
    pub fn join(&self) -> (Arc<Local>, Ears) {
        Local::join_all(self.nodes.clone())
    }

    fn join_all(nodes: Arc<Mutex<Vec<Weak<Local>>>>) -> (Arc<Local>, Ears) {
        let (ears, heard) = mpsc::channel(HEARD_WAITING);
        let missed = AtomicBool::new(false);
        let local = Arc::new(Local {
            ears,
            missed,
            topics: Mutex::default(),
            nodes: nodes.clone(),
            #[cfg(test)]
            carrier: std::sync::OnceLock::new(),
        });
        nodes.lock().push(Arc::downgrade(&local));
        (local, heard)
    }

    #[cfg(test)]
    pub(crate) fn carried_by(&self, carrier: Box<dyn Carrier>) {
        assert!(self.carrier.set(carrier).is_ok(), "a node has one carrier");
    }

    /// The way to this node was broken for a while.
    #[cfg(test)]
    pub(crate) fn miss(&self) {
        let told = self.ears.try_send(Heard::Missed).is_ok();
        self.missed.store(!told, Ordering::Release);
    }

    pub(super) fn has_others(&self) -> bool {
        self.nodes.lock().len() > 1
    }

    pub(super) fn subscribe(&self, topic: Topic) {
        *self.topics.lock().entry(topic).or_default() += 1;
    }

    pub(super) fn unsubscribe(&self, topic: Topic) {
        let mut topics = self.topics.lock();
        if let Some(count) = topics.get_mut(&topic) {
            *count -= 1;
            if *count == 0 {
                topics.remove(&topic);
            }
        }
    }

    pub(super) fn publish(&self, topic: Topic, note: &Note) {
        if !self.has_others() {
            return;
        }
        let others: Vec<Arc<Local>> = {
            let mut nodes = self.nodes.lock();
            nodes.retain(|node| node.strong_count() > 0);
            nodes.iter().filter_map(Weak::upgrade).filter(|node| !std::ptr::eq(&**node, self)).collect()
        };
        for other in others {
            #[cfg(test)]
            if let Some(carrier) = self.carrier.get() {
                carrier.carry(other, topic, note);
                continue;
            }
            other.hear(topic, note);
        }
    }

    /// Takes a note of another node, as far as there is room for it.
    pub(crate) fn hear(&self, topic: Topic, note: &Note) {
        if !self.topics.lock().contains_key(&topic) {
            return;
        }
        if self.missed.load(Ordering::Acquire) && self.ears.try_send(Heard::Missed).is_ok() {
            self.missed.store(false, Ordering::Release);
        }
        if self.ears.try_send(Heard::Note { topic, note: note.clone() }).is_err() {
            self.missed.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Bus;
    use promptroom_protocol::PromptId;
    use uuid::Uuid;

    #[tokio::test]
    async fn a_note_reaches_the_others_that_are_subscribed_and_not_its_sender() {
        let (first, mut at_first) = Local::alone();
        let (second, mut at_second) = first.join();
        let (first, second) = (Bus::Local(first), Bus::Local(second));
        let room = Topic::Room(PromptId(Uuid::nil()));
        first.publish(room, Note::WhoIsHere);
        let _here = first.subscribe(room).await;
        let there = second.subscribe(room).await;
        first.publish(room, Note::Rights);
        drop(there);
        first.publish(room, Note::WhoIsHere);
        assert_eq!(at_second.try_recv(), Ok(Heard::Note { topic: room, note: Note::Rights }));
        assert!(at_second.try_recv().is_err() && at_first.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_listener_that_does_not_keep_up_is_told_that_it_missed_something() {
        let (first, _) = Local::alone();
        let (second, mut at_second) = first.join();
        let second = Bus::Local(second);
        let _there = second.subscribe(Topic::Workspace).await;
        for _ in 0..=HEARD_WAITING {
            first.publish(Topic::Workspace, &Note::Rights);
        }
        while at_second.try_recv().is_ok() {}
        first.publish(Topic::Workspace, &Note::Rights);
        assert_eq!(at_second.try_recv(), Ok(Heard::Missed));
    }
}
