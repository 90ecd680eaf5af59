//! What the way to the database does to one node: it is slow, busy, frozen, or leaves a commit in doubt.

use super::{dice::Dice, history::History, scheduler::Home};
use crate::store::{
    StoreError,
    plain::{Hook, Step, Verdict},
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// How the database is now, for everybody.
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    history: Arc<History>,
    state: Mutex<State>,
    frozen_until: watch::Sender<Option<Instant>>,
}

struct State {
    dice: Dice,
    /// In a thousand steps.
    slow: u64,
    busy: u64,
    lost: u64,
    /// In a thousand commits: done, or not, and told as neither.
    doubtful: u64,
    /// When nothing of this was so any more.
    calm_since: Instant,
}

impl Faults {
    pub fn new(dice: Dice, history: Arc<History>) -> Faults {
        let state = State { dice, slow: 0, busy: 0, lost: 0, doubtful: 0, calm_since: Instant::now() };
        Faults(Arc::new(Inner { history, state: Mutex::new(state), frozen_until: watch::Sender::new(None) }))
    }

    /// So many steps in a thousand take their time, are refused, or are cut off; so many commits are in doubt.
    pub fn trouble(&self, slow: u64, busy: u64, lost: u64, doubtful: u64) {
        let mut state = self.0.state.lock();
        if state.is_troubled() {
            state.calm_since = Instant::now();
        }
        (state.slow, state.busy, state.lost, state.doubtful) = (slow, busy, lost, doubtful);
    }

    /// Whether anything was wrong with it at any time since.
    pub fn hinders_since(&self, since: Instant) -> bool {
        let state = self.0.state.lock();
        let frozen_until = *self.0.frozen_until.borrow();
        state.is_troubled() || state.calm_since >= since || frozen_until.is_some_and(|until| until >= since)
    }

    /// Nothing is answered before `until`.
    pub fn freeze(&self, until: Instant) {
        self.0.frozen_until.send_replace(Some(until));
    }

    pub fn calm(&self) {
        self.trouble(0, 0, 0, 0);
        self.0.state.lock().calm_since = Instant::now();
        self.0.frozen_until.send_replace(None);
    }

    pub fn link(&self, home: Home) -> Link {
        Link { faults: self.clone(), home }
    }
}

/// One node's way to it.
pub struct Link {
    faults: Faults,
    home: Home,
}

impl Hook for Link {
    fn before(&self, step: Step) -> BoxFuture<'_, Verdict> {
        Box::pin(async move {
            let inner = &*self.faults.0;
            let slow_ms = {
                let state = &mut *inner.state.lock();
                if state.dice.permille(state.slow) { Some(state.dice.within(0..40)) } else { None }
            };
            if let Some(slow_ms) = slow_ms {
                sleep(Duration::from_millis(slow_ms)).await;
            }
            self.thaw().await;
            let verdict = inner.state.lock().verdict(step);
            if !matches!(verdict, Verdict::Go) {
                inner.history.note(|| format!("{:?}: {step:?} of a transaction: {verdict:?}", self.home));
            }
            verdict
        })
    }
}

impl State {
    fn is_troubled(&self) -> bool {
        self.slow + self.busy + self.lost + self.doubtful > 0
    }

    fn verdict(&mut self, step: Step) -> Verdict {
        let chance = self.dice.below(1_000);
        match step {
            Step::Begin { .. } if chance < self.busy => Verdict::Fail(StoreError::Busy),
            Step::Commit if chance < self.doubtful && self.dice.permille(500) => Verdict::DoneThenFail,
            Step::Commit if chance < self.doubtful => Verdict::Fail(lost()),
            _ if chance >= 1_000 - self.lost => Verdict::Fail(lost()),
            _ => Verdict::Go,
        }
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable(sqlx::Error::Io(io::Error::from(io::ErrorKind::ConnectionReset)))
}

impl Link {
    async fn thaw(&self) {
        let mut frozen = self.faults.0.frozen_until.subscribe();
        loop {
            let Some(until) = *frozen.borrow_and_update() else { return };
            if Instant::now() >= until {
                return;
            }
            tokio::select! {
                biased;
                changed = frozen.changed() => if changed.is_err() { return },
                () = sleep_until(until) => return,
            }
        }
    }
}
