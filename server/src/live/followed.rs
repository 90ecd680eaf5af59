//! Runs that are read here and driven elsewhere: what other nodes tell comes at once, and the store is asked for all of
//! them together a few times a second, so that nothing depends on what is told.

use crate::domain::run::Stage;
use crate::live::{
    runs::Runs,
    tape::{Followed, Tape},
};
use crate::store::{FollowedRun, Following, StoreError};
use promptroom_protocol::RunId;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// A driver stores what it received as often.
const PACE: Duration = Duration::from_millis(250);
/// Between two looks, however often it rings.
const PAUSE: Duration = Duration::from_millis(50);
/// What is read of one run in one look; where there is more, the next look comes at once.
const RUN_BYTES_MAX: u64 = 256 << 10;
const RUNS_AT_ONCE: usize = 64;

impl Runs {
    /// Something of a run that is followed, or soon will be, is to be read from the store.
    pub(super) fn follow_soon(&self) {
        self.follow.notify_one();
    }

    /// Keeps all followed tapes up with the store. A tape that nobody reads any more is gone by itself.
    pub(super) async fn follow(self: Arc<Self>) {
        let (mut looked, mut away, mut more) = (Instant::now(), false, false);
        loop {
            let pause = match (more, self.followed_tapes().is_empty()) {
                (true, false) => Duration::ZERO,
                (false, false) => PACE,
                // Whoever reads one rings.
                (_, true) => Duration::MAX,
            };
            tokio::select! {
                biased;
                () = self.tasks.stopped() => {
                    self.leaving.cancel();
                    return;
                }
                () = self.follow.notified() => sleep_until(looked + PAUSE).await,
                () = sleep_until(far(looked, pause)) => {}
            }
            more = self.look_at_all(&mut away).await;
            looked = Instant::now();
        }
    }

    /// Whether there is more to be read at once.
    async fn look_at_all(&self, away: &mut bool) -> bool {
        let mut more = false;
        for tapes in self.followed_tapes().chunks(RUNS_AT_ONCE) {
            match self.look(tapes).await {
                Ok(there_is) => {
                    more |= there_is;
                    *away = false;
                }
                Err(error) if error.is_transient() => {
                    if !std::mem::replace(away, true) {
                        tracing::warn!(%error, "runs of other nodes wait for the store");
                    }
                }
                Err(error) => {
                    tracing::error!(%error, runs = tapes.len(), "runs cannot be followed; each is tried alone");
                    more |= self.look_at_each(tapes).await;
                }
            }
        }
        more
    }

    /// One run that is damaged must not keep the others from being read.
    async fn look_at_each(&self, tapes: &[Arc<Tape>]) -> bool {
        let mut more = false;
        for tape in tapes {
            match self.look(std::slice::from_ref(tape)).await {
                Ok(there_is) => more |= there_is,
                Err(error) if error.is_transient() => {}
                Err(error) => {
                    tracing::error!(%error, run.id = %tape.run, "a run cannot be followed");
                    tape.is_refused();
                }
            }
        }
        more
    }

    async fn look(&self, tapes: &[Arc<Tape>]) -> Result<bool, StoreError> {
        let following: Vec<Following> = tapes.iter().map(|tape| following(tape)).collect();
        let found = self.store.follow_runs(&following, RUN_BYTES_MAX).await?;
        let mut found: HashMap<RunId, FollowedRun> = found.into_iter().map(|run| (run.run, run)).collect();
        let mut more = false;
        for tape in tapes {
            match found.remove(&tape.run) {
                Some(found) => more |= self.take(tape, found).await?,
                None => tape.abandon(),
            }
        }
        Ok(more)
    }

    async fn take(&self, tape: &Arc<Tape>, found: FollowedRun) -> Result<bool, StoreError> {
        let (epoch, stage) = (found.epoch, Stage::new(found.epoch, found.state));
        match tape.follow(found) {
            Followed::Driven => Ok(false),
            Followed::More => Ok(true),
            Followed::Waiting => {
                if stage > tape.stage()
                    && let Some(run) = self.store.run(tape.run).await?.filter(|run| !run.state.is_terminal())
                {
                    self.announce_here(&run);
                }
                Ok(false)
            }
            Followed::Over => {
                // The summary first: whoever reads the end finds it there.
                if let Some(run) = self.store.run(tape.run).await? {
                    self.announce_here(&run);
                }
                tape.finish(epoch);
                Ok(false)
            }
            Followed::Beyond => {
                tracing::error!(run.id = %tape.run, "more was shown of a run than its driver has stored");
                tape.abandon();
                Ok(false)
            }
        }
    }

    fn followed_tapes(&self) -> Vec<Arc<Tape>> {
        let mut tapes: Vec<Arc<Tape>> =
            self.tapes.iter().filter_map(|tape| tape.upgrade()).filter(|tape| tape.is_followed()).collect();
        tapes.sort_unstable_by_key(|tape| tape.run);
        tapes
    }
}

fn following(tape: &Tape) -> Following {
    let cursor = tape.cursor();
    Following { run: tape.run, epoch: cursor.epoch, offset: cursor.offset }
}

fn far(from: Instant, pause: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(3_600);
    from + pause.min(FAR)
}
