//! Which nodes are dead, judged by counters that the living count up.
//!
//! No clock of another node counts, and no silence of the database: only readings that follow closely on one another,
//! each taken after the reader's own beat was written.

use std::{collections::BTreeMap, time::Duration};

/// A reading counts only if it comes so soon after the last one. What a frozen database, a suspended host or a paused
/// process did not show is not held against anybody.
const APART_MAX: Duration = Duration::from_secs(2);
/// Readings, after the first one, in which a dead node's counter has stood still.
const UNMOVED: u32 = 5;

/// What the database says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    Counter(u64),
    /// It drives something, but nothing is known of its life.
    Unknown,
    /// It has said itself that it is no more.
    Stopped,
}

/// All nodes that one node watches.
#[derive(Debug)]
pub struct Watch<Node> {
    nodes: BTreeMap<Node, Seen>,
    read_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    beat: Beat,
    unmoved: u32,
}

impl<Node> Default for Watch<Node> {
    fn default() -> Self {
        Watch { nodes: BTreeMap::new(), read_at: None }
    }
}

impl<Node: Ord + Copy> Watch<Node> {
    /// Takes a reading of all nodes, read at `at` on a clock that never goes back; says which of them are dead.
    pub fn read(&mut self, at: Duration, readings: impl IntoIterator<Item = (Node, Beat)>) -> Vec<Node> {
        let counts = self.read_at.is_some_and(|last| at.saturating_sub(last) <= APART_MAX);
        self.read_at = Some(at);
        let before = std::mem::take(&mut self.nodes);
        for (node, beat) in readings {
            let unmoved = match before.get(&node) {
                Some(seen) if counts && seen.beat == beat => seen.unmoved + 1,
                _ => 0,
            };
            self.nodes.insert(node, Seen { beat, unmoved });
        }
        let is_dead = |seen: &Seen| seen.beat == Beat::Stopped || seen.unmoved >= UNMOVED;
        self.nodes.iter().filter(|(_, seen)| is_dead(seen)).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: [u32; 0] = [];

    fn seconds(at: f64) -> Duration {
        Duration::from_secs_f64(at)
    }

    /// Reads the same counter once a second, from second `from` to second `to`; the last judgement.
    fn unmoved(watch: &mut Watch<u32>, from: u32, to: u32, beat: Beat) -> Vec<u32> {
        let mut dead = Vec::new();
        for at in from..=to {
            dead = watch.read(seconds(f64::from(at)), [(7, beat)]);
        }
        dead
    }

    #[test]
    fn a_counter_that_stands_still_for_five_readings_after_the_first_is_a_dead_nodes() {
        for beat in [Beat::Counter(3), Beat::Unknown] {
            let mut watch = Watch::default();
            assert_eq!(unmoved(&mut watch, 0, 4, beat), NOBODY);
            assert_eq!(watch.read(seconds(5.0), [(7, beat)]), [7]);
        }
    }

    #[test]
    fn one_beat_in_time_and_it_lives() {
        let mut watch = Watch::default();
        unmoved(&mut watch, 0, 4, Beat::Counter(3));
        assert_eq!(unmoved(&mut watch, 5, 9, Beat::Counter(4)), NOBODY);
        assert_eq!(watch.read(seconds(10.0), [(7, Beat::Counter(4))]), [7]);
        assert_eq!(watch.read(seconds(11.0), [(7, Beat::Counter(5))]), NOBODY, "it was only paused");
    }

    #[test]
    fn readings_that_lie_far_apart_say_nothing() {
        let mut watch = Watch::default();
        for at in 0..100 {
            assert_eq!(watch.read(seconds(f64::from(at) * 2.1), [(7, Beat::Counter(3))]), NOBODY);
        }
        let mut watch = Watch::default();
        unmoved(&mut watch, 0, 4, Beat::Counter(3));
        // The database, or this node, stood still for a minute.
        assert_eq!(unmoved(&mut watch, 64, 68, Beat::Counter(3)), NOBODY);
        assert_eq!(watch.read(seconds(69.0), [(7, Beat::Counter(3))]), [7]);
    }

    #[test]
    fn a_node_that_stopped_by_itself_is_dead_at_once() {
        let mut watch = Watch::default();
        assert_eq!(watch.read(seconds(0.0), [(7, Beat::Stopped), (8, Beat::Counter(1))]), [7]);
    }

    #[test]
    fn nodes_are_judged_apart_and_forgotten_when_nothing_is_read_of_them() {
        let mut watch = Watch::default();
        let read = |watch: &mut Watch<u32>, at: u32, living: u64| {
            watch.read(seconds(f64::from(at)), [(7, Beat::Counter(3)), (8, Beat::Counter(living))])
        };
        for at in 0..5 {
            assert_eq!(read(&mut watch, at, u64::from(at)), NOBODY);
        }
        assert_eq!(read(&mut watch, 5, 5), [7]);
        assert_eq!(watch.read(seconds(6.0), [(8, Beat::Counter(6))]), NOBODY);
        assert_eq!(read(&mut watch, 7, 7), NOBODY, "it is new again");
    }
}
