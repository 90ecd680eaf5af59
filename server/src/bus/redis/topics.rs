//! What this node wants to hear, and what Redis has confirmed of it.

use crate::bus::Topic;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// A room opens without the bus rather than later than this.
const CONFIRMATION_LIMIT: Duration = Duration::from_millis(200);
const BATCH: usize = 500;

#[derive(Default)]
pub(super) struct Topics {
    state: Mutex<State>,
    /// Something is to be subscribed or unsubscribed.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    wanted: HashMap<Topic, Wanted>,
    confirmed: HashSet<Topic>,
    /// Those in which the two may differ.
    differing: BTreeSet<Topic>,
    /// The connection stands and all that was wanted before is confirmed.
    is_up: bool,
}

struct Wanted {
    subscriptions: usize,
    in_force: watch::Sender<bool>,
    /// Somebody went on without waiting any longer for the confirmation.
    given_up: bool,
}

/// What to ask of Redis next; at most `BATCH` of both together.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    pub(super) join: Vec<Topic>,
    pub(super) leave: Vec<Topic>,
}

impl Topics {
    pub(super) fn add(&self, topic: Topic) {
        let mut state = self.state.lock();
        let is_confirmed = state.confirmed.contains(&topic);
        let wanted = state.wanted.entry(topic).or_insert_with(|| Wanted {
            subscriptions: 0,
            in_force: watch::Sender::new(is_confirmed),
            given_up: false,
        });
        wanted.subscriptions += 1;
        if wanted.subscriptions == 1 && state.differing.insert(topic) {
            self.changed.notify_one();
        }
    }

    pub(super) fn remove(&self, topic: Topic) {
        let mut state = self.state.lock();
        let Some(wanted) = state.wanted.get_mut(&topic) else { return };
        wanted.subscriptions -= 1;
        if wanted.subscriptions == 0 {
            state.wanted.remove(&topic);
            state.differing.insert(topic);
            self.changed.notify_one();
        }
    }

    /// Resolves when Redis has confirmed the topic, and otherwise soon: at once without a connection. Whoever went on
    /// without a confirmation is told by [`Topics::joined`] or by the return of the connection.
    pub(super) async fn until_in_force(&self, topic: Topic) {
        let mut in_force = {
            let state = self.state.lock();
            let Some(wanted) = state.wanted.get(&topic).filter(|_| state.is_up) else { return };
            wanted.in_force.subscribe()
        };
        if timeout(CONFIRMATION_LIMIT, in_force.wait_for(|it_is| *it_is)).await.is_err()
            && let Some(wanted) = self.state.lock().wanted.get_mut(&topic)
        {
            wanted.given_up = !*wanted.in_force.borrow();
        }
    }

    pub(super) fn is_wanted(&self, topic: Topic) -> bool {
        self.state.lock().wanted.contains_key(&topic)
    }

    pub(super) fn is_confirmed(&self, topic: Topic) -> bool {
        self.state.lock().confirmed.contains(&topic)
    }

    /// What differs between what is wanted and what is confirmed. What is to be left counts as left from now on.
    pub(super) fn step(&self) -> Option<Step> {
        let mut state = self.state.lock();
        let mut step = Step::default();
        while step.join.len() + step.leave.len() < BATCH {
            let Some(topic) = state.differing.pop_first() else { break };
            match (state.wanted.contains_key(&topic), state.confirmed.contains(&topic)) {
                (true, false) => step.join.push(topic),
                (false, true) => {
                    state.confirmed.remove(&topic);
                    step.leave.push(topic);
                }
                (true, true) | (false, false) => {}
            }
        }
        (step != Step::default()).then_some(step)
    }

    /// Redis has confirmed these. True if somebody went on without one of them and so may have missed something.
    pub(super) fn joined(&self, topics: &[Topic]) -> bool {
        let mut state = self.state.lock();
        let mut too_late = false;
        for &topic in topics {
            state.confirmed.insert(topic);
            match state.wanted.get_mut(&topic) {
                Some(wanted) => {
                    wanted.in_force.send_replace(true);
                    too_late |= std::mem::take(&mut wanted.given_up);
                }
                None => {
                    state.differing.insert(topic);
                    self.changed.notify_one();
                }
            }
        }
        too_late
    }

    /// The connection stands, and all that was wanted is confirmed.
    pub(super) fn up(&self) {
        self.state.lock().is_up = true;
    }

    /// The connection is gone, and all subscriptions with it.
    pub(super) fn lost(&self) {
        let state = &mut *self.state.lock();
        state.is_up = false;
        state.confirmed.clear();
        state.differing = state.wanted.keys().copied().collect();
        for wanted in state.wanted.values() {
            wanted.in_force.send_replace(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptroom_protocol::PromptId;
    use uuid::Uuid;

    fn room(number: u128) -> Topic {
        Topic::Room(PromptId(Uuid::from_u128(number)))
    }

    fn joins(topics: &[Topic]) -> Option<Step> {
        Some(Step { join: topics.to_vec(), leave: Vec::new() })
    }

    fn leaves(topics: &[Topic]) -> Option<Step> {
        Some(Step { join: Vec::new(), leave: topics.to_vec() })
    }

    #[test]
    fn a_topic_is_joined_by_the_first_and_left_by_the_last() {
        let topics = Topics::default();
        topics.add(room(1));
        topics.add(room(1));
        assert_eq!(topics.step(), joins(&[room(1)]));
        topics.joined(&[room(1)]);
        topics.remove(room(1));
        assert_eq!(topics.step(), None);
        topics.remove(room(1));
        assert_eq!(topics.step(), leaves(&[room(1)]));
        assert_eq!(topics.step(), None);
    }

    #[test]
    fn a_topic_that_is_given_up_while_it_is_being_joined_is_left_again() {
        let topics = Topics::default();
        topics.add(room(1));
        assert_eq!(topics.step(), joins(&[room(1)]));
        topics.remove(room(1));
        assert_eq!(topics.step(), None, "it is not confirmed yet");
        topics.joined(&[room(1)]);
        assert_eq!(topics.step(), leaves(&[room(1)]));
    }

    #[tokio::test]
    async fn a_topic_that_is_wanted_again_before_it_was_left_stays_in_force() {
        let topics = Topics::default();
        topics.up();
        topics.add(room(1));
        let _ = topics.step();
        topics.joined(&[room(1)]);
        topics.remove(room(1));
        topics.add(room(1));
        topics.until_in_force(room(1)).await;
        assert_eq!(topics.step(), None);
        assert!(!topics.joined(&[]), "nobody has waited in vain");
    }

    #[test]
    fn after_a_loss_all_that_is_wanted_is_joined_again_in_bounded_steps() {
        let topics = Topics::default();
        for number in 0..BATCH as u128 + 1 {
            topics.add(room(number));
        }
        while let Some(step) = topics.step() {
            topics.joined(&step.join);
        }
        topics.remove(room(7));
        topics.lost();
        let step = topics.step().expect("something to join");
        assert_eq!((step.join.len(), step.leave.len()), (BATCH, 0));
        assert!(!topics.is_confirmed(room(0)));
        assert_eq!(topics.step(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_went_on_without_a_confirmation_has_missed_something_when_it_comes() {
        let topics = Topics::default();
        topics.up();
        topics.add(room(1));
        topics.until_in_force(room(1)).await;
        let _ = topics.step();
        assert!(topics.joined(&[room(1)]));
        assert!(!topics.joined(&[room(1)]), "it is told once");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_connection_nobody_waits() {
        let topics = Topics::default();
        topics.add(room(1));
        let started = tokio::time::Instant::now();
        topics.until_in_force(room(1)).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
