//! May this run start now? A permit, a place in the queue, or a refusal.
//!
//! First come, first served per lane; who is at their own limit is passed over, so that one person's queue
//! does not hold up the others. Fair sharing and budgets will stand behind the same three calls.

use promptroom_protocol::{MemberId, QueuePlace, RunId};
use std::collections::HashMap;

#[derive(Clone, Copy, Debug)]
pub struct GateLimits {
    pub runs_per_member: usize,
    pub waiting_per_lane: usize,
    pub waiting_per_member: usize,
}

impl Default for GateLimits {
    fn default() -> Self {
        GateLimits { runs_per_member: 4, waiting_per_lane: 1_000, waiting_per_member: 50 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Admitted,
    Queued(QueuePlace),
    Refused(GateRefusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateRefusal {
    LaneQueueFull { waiting: usize },
    MemberQueueFull { waiting: usize },
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    run: RunId,
    member: MemberId,
}

#[derive(Debug)]
struct Lane {
    slots: usize,
    running: usize,
    /// In order of arrival.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
pub struct Gate {
    limits: GateLimits,
    lanes: HashMap<String, Lane>,
    running: HashMap<RunId, (String, MemberId)>,
    by_member: HashMap<MemberId, usize>,
}

impl Gate {
    pub fn new(limits: GateLimits) -> Self {
        Gate { limits, lanes: HashMap::new(), running: HashMap::new(), by_member: HashMap::new() }
    }

    /// Asks for one of the lane's `slots`. A queued run is admitted later by a `release` or a `leave`.
    pub fn ask(&mut self, run: RunId, lane_name: &str, slots: usize, member: MemberId) -> Decision {
        let lane =
            self.lanes.entry(lane_name.to_owned()).or_insert(Lane { slots, running: 0, waiting: Vec::new() });
        lane.slots = slots.max(1);
        let own = self.by_member.get(&member).copied().unwrap_or(0);
        if lane.running < lane.slots && own < self.limits.runs_per_member {
            self.admit(run, lane_name.to_owned(), member);
            return Decision::Admitted;
        }
        let own_waiting = lane.waiting.iter().filter(|waiting| waiting.member == member).count();
        if own_waiting >= self.limits.waiting_per_member {
            return Decision::Refused(GateRefusal::MemberQueueFull { waiting: own_waiting });
        }
        if lane.waiting.len() >= self.limits.waiting_per_lane {
            return Decision::Refused(GateRefusal::LaneQueueFull { waiting: lane.waiting.len() });
        }
        lane.waiting.push(Waiting { run, member });
        self.place(run).map_or(Decision::Admitted, Decision::Queued)
    }

    /// Where a queued run stands; `None` if it does not wait.
    pub fn place(&self, run: RunId) -> Option<QueuePlace> {
        self.lanes.iter().find_map(|(name, lane)| {
            let index = lane.waiting.iter().position(|waiting| waiting.run == run)?;
            let member = lane.waiting[index].member;
            let own = self.by_member.get(&member).copied().unwrap_or(0);
            let reason = if lane.running >= lane.slots {
                format!("{name} is busy: {} of {} runs go at once.", lane.running, lane.slots)
            } else if own >= self.limits.runs_per_member {
                format!("{own} of your runs are going; that is the limit for one person.")
            } else {
                "Next in line.".to_owned()
            };
            Some(QueuePlace { position: index as u32 + 1, waiting: lane.waiting.len() as u32, reason })
        })
    }

    /// A run that was admitted is over; returns those that may start now.
    pub fn release(&mut self, run: RunId) -> Vec<RunId> {
        if let Some((lane_name, member)) = self.running.remove(&run) {
            if let Some(lane) = self.lanes.get_mut(&lane_name) {
                lane.running -= 1;
            }
            if let Some(own) = self.by_member.get_mut(&member) {
                *own -= 1;
                if *own == 0 {
                    self.by_member.remove(&member);
                }
            }
        }
        self.admit_waiting()
    }

    /// A queued run no longer wants to start.
    pub fn leave(&mut self, run: RunId) {
        for lane in self.lanes.values_mut() {
            lane.waiting.retain(|waiting| waiting.run != run);
        }
    }

    fn admit_waiting(&mut self) -> Vec<RunId> {
        let mut admitted = Vec::new();
        let names: Vec<String> = self.lanes.keys().cloned().collect();
        for name in names {
            while let Some(next) = self.next_in(&name) {
                if let Some(lane) = self.lanes.get_mut(&name) {
                    lane.waiting.retain(|waiting| waiting.run != next.run);
                }
                self.admit(next.run, name.clone(), next.member);
                admitted.push(next.run);
            }
        }
        self.lanes.retain(|_, lane| lane.running > 0 || !lane.waiting.is_empty());
        admitted
    }

    fn next_in(&self, name: &str) -> Option<Waiting> {
        let lane = self.lanes.get(name).filter(|lane| lane.running < lane.slots)?;
        let may_run =
            |member| self.by_member.get(&member).copied().unwrap_or(0) < self.limits.runs_per_member;
        lane.waiting.iter().find(|waiting| may_run(waiting.member)).copied()
    }

    fn admit(&mut self, run: RunId, lane_name: String, member: MemberId) {
        if let Some(lane) = self.lanes.get_mut(&lane_name) {
            lane.running += 1;
        }
        *self.by_member.entry(member).or_insert(0) += 1;
        self.running.insert(run, (lane_name, member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ANA: MemberId = MemberId(Uuid::from_u128(1));
    const RAVI: MemberId = MemberId(Uuid::from_u128(2));

    fn run(number: u128) -> RunId {
        RunId(Uuid::from_u128(number))
    }

    fn gate(runs_per_member: usize) -> Gate {
        Gate::new(GateLimits { runs_per_member, waiting_per_lane: 3, waiting_per_member: 2 })
    }

    #[test]
    fn runs_wait_in_the_order_of_their_coming() {
        let mut gate = gate(9);
        assert_eq!(gate.ask(run(1), "demo", 1, ANA), Decision::Admitted);
        assert!(matches!(gate.ask(run(2), "demo", 1, ANA), Decision::Queued(place) if place.position == 1));
        assert!(matches!(gate.ask(run(3), "demo", 1, RAVI), Decision::Queued(place) if place.position == 2));
        assert_eq!(gate.release(run(1)), vec![run(2)]);
        assert_eq!(gate.place(run(3)).map(|place| (place.position, place.waiting)), Some((1, 1)));
        assert_eq!(gate.release(run(2)), vec![run(3)]);
    }

    #[test]
    fn who_is_at_their_own_limit_does_not_hold_up_the_others() {
        let mut gate = gate(1);
        assert_eq!(gate.ask(run(1), "demo", 2, ANA), Decision::Admitted);
        assert!(matches!(gate.ask(run(2), "demo", 2, ANA), Decision::Queued(_)));
        assert_eq!(gate.ask(run(3), "demo", 2, RAVI), Decision::Admitted);
        assert_eq!(gate.release(run(3)), vec![]);
        assert_eq!(gate.release(run(1)), vec![run(2)]);
    }

    #[test]
    fn the_queue_is_bounded_and_leaving_it_is_free() {
        let mut gate = gate(9);
        gate.ask(run(1), "demo", 1, ANA);
        gate.ask(run(2), "demo", 1, ANA);
        gate.ask(run(3), "demo", 1, ANA);
        assert_eq!(
            gate.ask(run(4), "demo", 1, ANA),
            Decision::Refused(GateRefusal::MemberQueueFull { waiting: 2 })
        );
        gate.ask(run(5), "demo", 1, RAVI);
        assert_eq!(
            gate.ask(run(6), "demo", 1, RAVI),
            Decision::Refused(GateRefusal::LaneQueueFull { waiting: 3 })
        );
        gate.leave(run(2));
        assert_eq!(gate.release(run(1)), vec![run(3)]);
    }

    #[test]
    fn every_slot_is_free_again_after_any_order_of_ends() {
        let mut gate = gate(2);
        for number in 1..=3 {
            gate.ask(run(number), "a", 1, ANA);
        }
        assert_eq!(gate.release(run(3)), vec![], "it waits, so it has nothing to give back");
        gate.leave(run(2));
        assert_eq!(gate.release(run(1)), vec![run(3)]);
        assert_eq!(gate.release(run(1)), vec![], "a second end frees nothing");
        gate.release(run(3));
        assert!(gate.lanes.is_empty() && gate.by_member.is_empty() && gate.running.is_empty());
    }
}
