//! The newest runs of a room, as far as anybody has told of them.

use super::Room;
use crate::domain::run::is_newer;
use parking_lot::Mutex;
use promptroom_protocol::{RunSummary, ServerFrame};
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs that a newcomer is told of.
const RUNS_TOLD: usize = 50;

#[derive(Default)]
pub(super) struct KnownRuns {
    runs: Mutex<Vec<RunSummary>>,
    /// The revision of the store under which they were last read there.
    revision: AtomicU64,
}

impl KnownRuns {
    /// Takes a run's summary, unless what is known is newer.
    fn take(&self, run: &RunSummary, is_newer: impl Fn(&RunSummary) -> bool) -> bool {
        let mut runs = self.runs.lock();
        match runs.iter_mut().find(|known| known.id == run.id) {
            Some(known) if !is_newer(known) => return false,
            Some(known) => *known = run.clone(),
            None => {
                runs.push(run.clone());
                runs.sort_by_key(|run| std::cmp::Reverse(run.number));
                runs.truncate(RUNS_TOLD);
                return runs.iter().any(|known| known.id == run.id);
            }
        }
        true
    }
}

impl Room {
    pub fn runs(&self) -> Vec<RunSummary> {
        self.runs.runs.lock().clone()
    }

    /// Runs as the store knows them under `revision`; what was announced since is newer.
    pub fn know_runs(&self, stored: Vec<RunSummary>, revision: u64) {
        for run in stored {
            self.runs.take(&run, |_| false);
        }
        self.runs.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// Whether the store may know more of the runs than was read there.
    pub fn has_newer_runs(&self, revision: u64) -> bool {
        revision > self.runs.revision.load(Ordering::Acquire)
    }

    /// The store was read under this revision, and all that is new was announced.
    pub fn has_heard_runs(&self, revision: u64) {
        self.runs.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// Tells everybody in the room how a run stands.
    pub fn announce(&self, run: &RunSummary) {
        // What it came to may be known later than its end.
        if self.runs.take(run, |known| !known.state.is_terminal() || known.state == run.state) {
            self.tell(ServerFrame::Run(Box::new(run.clone())).encode());
        }
    }

    /// As `announce`, for what another node or the store tells: it may be older than what is known here.
    pub fn announce_heard(&self, run: &RunSummary) {
        if self.runs.take(run, |known| is_newer(known, run)) {
            self.tell(ServerFrame::Run(Box::new(run.clone())).encode());
        }
    }
}
