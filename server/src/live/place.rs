//! Places at the gate: who may run now, who waits, and the bell that tells them to start.

use crate::domain::{
    gate::{Decision, Gate, GateLimits, GateRefusal},
    refusal::Refusal,
};
use crate::model::Model;
use parking_lot::Mutex;
use promptroom_protocol::{MemberId, QueuePlace, RunId};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Notify;

pub struct Places {
    gate: Mutex<Gate>,
    /// Runs at the gate, each with its bell.
    bells: Mutex<HashMap<RunId, Arc<Notify>>>,
}

/// A run's place, in the queue or past it; dropping it gives it back.
pub struct Place {
    places: Arc<Places>,
    run: RunId,
    bell: Arc<Notify>,
}

impl Places {
    pub fn new(limits: GateLimits) -> Arc<Places> {
        Arc::new(Places { gate: Mutex::new(Gate::new(limits)), bells: Mutex::default() })
    }

    /// A place for a new run, and where in the queue that is; none if it may start at once.
    pub fn ask(
        self: &Arc<Self>,
        run: RunId,
        model: &Model,
        member: MemberId,
    ) -> Result<(Place, Option<QueuePlace>), Refusal> {
        match self.decide(run, model, member) {
            Decision::Admitted => Ok((self.place(run, true), None)),
            Decision::Queued(queue) => Ok((self.place(run, false), Some(queue))),
            Decision::Refused(GateRefusal::LaneQueueFull { waiting }) => {
                Err(Refusal::LaneQueueFull { waiting })
            }
            Decision::Refused(GateRefusal::MemberQueueFull { waiting }) => {
                Err(Refusal::MemberQueueFull { waiting })
            }
        }
    }

    /// A place for a run that was accepted before: what went on when its driver died goes on even if the queue is full.
    pub fn take_over(self: &Arc<Self>, run: RunId, model: &Model, member: MemberId) -> Place {
        let decision = self.decide(run, model, member);
        self.place(run, !matches!(decision, Decision::Queued(_)))
    }

    /// Where a run stands in the queue; `None` if it does not wait.
    pub fn standing(&self, run: RunId) -> Option<QueuePlace> {
        self.gate.lock().place(run)
    }

    fn decide(&self, run: RunId, model: &Model, member: MemberId) -> Decision {
        let lane = model.lane();
        self.gate.lock().ask(run, &lane.name, lane.slots as usize, member)
    }

    fn place(self: &Arc<Self>, run: RunId, admitted: bool) -> Place {
        let bell = Arc::new(Notify::new());
        self.bells.lock().insert(run, bell.clone());
        // It may have been admitted between the question and this.
        if admitted || self.standing(run).is_none() {
            bell.notify_one();
        }
        Place { places: self.clone(), run, bell }
    }

    fn leave(&self, run: RunId) {
        self.bells.lock().remove(&run);
        let admitted = {
            let mut gate = self.gate.lock();
            gate.leave(run);
            gate.release(run)
        };
        let bells = self.bells.lock();
        for bell in admitted.iter().filter_map(|next| bells.get(next)) {
            bell.notify_one();
        }
    }
}

impl Place {
    /// Resolves when the run may start.
    pub async fn admitted(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.leave(self.run);
    }
}
