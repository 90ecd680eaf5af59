//! Statement 4 in time: once somebody was told that a run stops, the connection to its provider closes soon.

use super::{
    database::Database,
    history::History,
    scheduler::Home,
    upstream::{Call, Provider},
};
use parking_lot::Mutex;
use promptroom_protocol::RunId;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// What a driver that runs and reaches the database may take to hang up. It asks for stops four times a second; that
/// may wait for two others who were paused in the middle of a transaction, each of whom is cut off after a second.
const HANG_UP_LIMIT: Duration = Duration::from_secs(3);

/// Stops that were acknowledged, and how long calls have outlived them.
pub struct Stops {
    history: Arc<History>,
    state: Mutex<State>,
}

struct State {
    looked_at: Instant,
    stopped: BTreeSet<RunId>,
    /// By the number of the call: only the time in which nothing hindered the node that makes it.
    outlived: BTreeMap<usize, Duration>,
}

impl Stops {
    pub fn new(history: Arc<History>) -> Stops {
        let state = State { looked_at: Instant::now(), stopped: BTreeSet::new(), outlived: BTreeMap::new() };
        Stops { history, state: Mutex::new(state) }
    }

    /// Somebody was told that this run stops.
    pub fn acknowledged(&self, run: RunId) {
        self.state.lock().stopped.insert(run);
    }

    /// To be called often; `is_hindered` says whether a node was stopped or cut from the database at any time since.
    pub fn look(
        &self,
        database: &Database,
        provider: &Provider,
        is_hindered: impl Fn(Home, Instant) -> bool,
    ) {
        let state = &mut *self.state.lock();
        let since = std::mem::replace(&mut state.looked_at, Instant::now());
        let calls = provider.listened_to();
        state.outlived.retain(|number, _| calls.iter().any(|(open, _)| open == number));
        if state.stopped.is_empty() || calls.is_empty() {
            return;
        }
        let mut stopped = BTreeSet::new();
        let mut wanted = BTreeSet::new();
        for (run, text, is_wanted) in database.wanted() {
            if is_wanted {
                wanted.insert(text);
            } else if state.stopped.contains(&run) {
                stopped.insert(text);
            }
        }
        for (number, Call { asked, home, .. }) in calls {
            // A second run of the same text is told from the first by nobody.
            if !stopped.contains(&asked) || wanted.contains(&asked) {
                continue;
            }
            let outlived = state.outlived.entry(number).or_default();
            if home.is_none_or(|home| !is_hindered(home, since)) {
                *outlived += since.elapsed();
            }
            if *outlived > HANG_UP_LIMIT {
                self.history.broken(&format!(
                    "4: call {number} goes on {outlived:?} after its run was stopped, and nothing hinders {home:?}"
                ));
            }
        }
    }
}
