//! What the live runs of this node received goes to the store: all of them in one statement a few times a second,
//! and each one's end in a transaction of its own. Only the one task moves a run's `stored`, until it leaves the run to
//! whoever writes its end: so nothing races with it, and an end that cannot be written holds up no other run.

use crate::live::{clock::now_ms, endings::Ending, going::Going, tasks::Tasks};
use crate::store::{
    EndOutcome, Progress, ProgressOutcome, ProgressResult, Record, RunEnd, Store, StoreError,
};
use parking_lot::Mutex;
use promptroom_protocol::{Epoch, Offset, RunId, RunSummary};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    time::Instant,
};

const PACE: Duration = Duration::from_millis(250);
const SOON: Duration = Duration::from_millis(20);
/// What one run may add to one checkpoint; the rest waits for the next.
const RUN_BYTES_MAX: u64 = 1 << 20;
/// Checkpoints in a row, until all that was received is stored: more than one run's longest output needs.
const CHECKPOINTS_MAX: u32 = 80;
const WAITING: usize = 256;
/// Ends that are written at once.
const ENDS_AT_ONCE: usize = 4;
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Why a run's end is not in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEnded {
    /// Another driver has the run, or has ended it.
    Fenced,
    /// The node stops, or the end cannot be written.
    Unwritten,
}

enum ToWrite {
    /// Nothing more of a run: from the answer on, its end is written by whoever asked.
    NoMore { going: Arc<Going>, left: oneshot::Sender<()> },
    /// What all runs have received until now.
    All { done: oneshot::Sender<()> },
}

pub struct Checkpoint {
    going: Mutex<BTreeMap<RunId, Arc<Going>>>,
    bell: Notify,
    to_write: mpsc::Sender<ToWrite>,
    ends: Semaphore,
    store: Arc<Store>,
    tasks: Tasks,
}

impl Checkpoint {
    pub fn start(store: Arc<Store>, tasks: &Tasks) -> Arc<Self> {
        let (to_write, writing) = mpsc::channel(WAITING);
        let checkpoint = Arc::new(Checkpoint {
            going: Mutex::default(),
            bell: Notify::new(),
            to_write,
            ends: Semaphore::new(ENDS_AT_ONCE),
            store,
            tasks: tasks.clone(),
        });
        tasks.spawn_vital("checkpoint", checkpoint.clone().keep(writing));
        checkpoint
    }

    pub fn add(&self, going: &Arc<Going>) {
        self.going.lock().insert(going.run, going.clone());
    }

    pub fn find(&self, run: RunId) -> Option<Arc<Going>> {
        self.going.lock().get(&run).cloned()
    }

    /// A run has its first token: that something was received is soon on disk, or it would be begun anew after a crash.
    pub fn soon(&self) {
        self.bell.notify_one();
    }

    pub fn count(&self) -> usize {
        self.going.lock().len()
    }

    /// Its driver is gone; nothing more is written of it.
    pub fn forget(&self, going: &Arc<Going>) {
        let mut all = self.going.lock();
        // A later driver of the same run is another one.
        if all.get(&going.run).is_some_and(|known| Arc::ptr_eq(known, going)) {
            all.remove(&going.run);
        }
    }

    /// Somebody has claimed the run in a later epoch: a driver of it that is here stops at once.
    pub fn fence_before(&self, run: RunId, epoch: Epoch) {
        if let Some(going) = self.find(run).filter(|going| going.epoch < epoch) {
            self.fence(&going);
        }
    }

    /// Nothing more is written of any run: what they received is stored, and they are others' now.
    pub fn let_all_go(&self) {
        let all = std::mem::take(&mut *self.going.lock());
        for going in all.values() {
            going.fence();
        }
    }

    /// Stores the rest and the end. Waits as long as the store is away: an end that is not durable is none.
    pub async fn end(&self, going: Arc<Going>, ending: Ending) -> Result<RunSummary, NotEnded> {
        let (left, is_left) = oneshot::channel();
        let sent = self.to_write.send(ToWrite::NoMore { going: going.clone(), left }).await;
        if sent.is_err() || is_left.await.is_err() {
            return Err(NotEnded::Unwritten);
        }
        let Ok(_place) = self.ends.acquire().await else { return Err(NotEnded::Unwritten) };
        let _guard = GivenUp { checkpoint: self, going: &going };
        match self.write_end(&going, &ending).await {
            Some(EndOutcome::Ended(run)) => Ok(run),
            // An end of ours that was thought to have failed.
            Some(EndOutcome::AlreadyEnded(run)) if run.epoch == going.epoch => Ok(run),
            Some(EndOutcome::AlreadyEnded(_) | EndOutcome::Fenced) => Err(NotEnded::Fenced),
            None => Err(NotEnded::Unwritten),
        }
    }

    /// Resolves when what all runs have received until now was written, or could not be.
    pub async fn write_all(&self) {
        let (done, written) = oneshot::channel();
        if self.to_write.send(ToWrite::All { done }).await.is_ok() {
            // Dropped only with the task itself, which writes everything before it ends.
            let _ended = written.await;
        }
    }

    async fn keep(self: Arc<Self>, mut writing: mpsc::Receiver<ToWrite>) {
        let mut next = Instant::now() + PACE;
        let mut away = false;
        loop {
            tokio::select! {
                biased;
                Some(to_write) = writing.recv() => self.write(to_write, &mut away).await,
                () = self.bell.notified() => next = next.min(Instant::now() + SOON),
                () = tokio::time::sleep_until(next) => {
                    next = Instant::now() + PACE;
                    self.write_progress(&mut away).await;
                }
                () = self.tasks.stopped() => {
                    writing.close();
                    while let Some(to_write) = writing.recv().await {
                        self.write(to_write, &mut away).await;
                    }
                    self.write_progress(&mut away).await;
                    return;
                }
            }
        }
    }

    async fn write(&self, to_write: ToWrite, away: &mut bool) {
        match to_write {
            ToWrite::NoMore { going, left } => {
                going.mark_ending();
                // Whoever asked may have gone; then nobody writes its end, and it is taken over.
                let _asker_gone = left.send(());
            }
            ToWrite::All { done } => {
                for _ in 0..CHECKPOINTS_MAX {
                    self.write_progress(away).await;
                    if *away
                        || !self.going.lock().values().any(|going| going.has_more() && !going.is_ending())
                    {
                        break;
                    }
                }
                let _asker_gone = done.send(());
            }
        }
    }

    /// `away` is whether the store was away the last time: an outage is told once, at each end.
    async fn write_progress(&self, away: &mut bool) {
        let all: Vec<Arc<Going>> =
            self.going.lock().values().filter(|going| !going.is_ending()).cloned().collect();
        let (going, batch): (Vec<Arc<Going>>, Vec<Progress>) = all
            .into_iter()
            .filter_map(|going| going.progress(RUN_BYTES_MAX).map(|done| (going, done)))
            .unzip();
        if batch.is_empty() {
            return;
        }
        match self.store.progress(&batch).await {
            Ok(outcomes) => {
                if std::mem::take(away) {
                    tracing::info!(runs = batch.len(), "checkpoints are written again");
                }
                for ((going, progress), outcome) in going.iter().zip(&batch).zip(outcomes) {
                    self.moved(going, progress, outcome);
                }
            }
            // The next checkpoint carries the same bytes again, and adopts what did arrive.
            Err(error) if error.is_transient() => {
                if !std::mem::replace(away, true) {
                    tracing::warn!(%error, runs = batch.len(), "checkpoints wait for the store");
                }
            }
            Err(error) => {
                tracing::error!(%error, runs = batch.len(), "a checkpoint was refused; each run is tried alone");
                self.write_each(&going, batch).await;
            }
        }
    }

    /// One run that cannot be written must not keep the others from being written.
    async fn write_each(&self, going: &[Arc<Going>], batch: Vec<Progress>) {
        for (going, progress) in going.iter().zip(batch) {
            match self.store.progress(std::slice::from_ref(&progress)).await {
                Ok(outcomes) => {
                    for outcome in outcomes {
                        self.moved(going, &progress, outcome);
                    }
                }
                Err(error) => self.not_written(going, &error),
            }
        }
    }

    fn not_written(&self, going: &Arc<Going>, error: &StoreError) {
        if !error.is_transient() && going.is_refused() {
            tracing::error!(%error, run.id = %going.run, "a run cannot be written and is given up");
            self.give_up(going);
        }
    }

    fn moved(&self, going: &Arc<Going>, progress: &Progress, outcome: ProgressOutcome) {
        match outcome.result {
            ProgressResult::Moved => going.is_stored(end_of(progress.from, &progress.records)),
            ProgressResult::Adopted(stored) => going.is_stored(stored),
            ProgressResult::Fenced => self.fence(going),
        }
        if let Some(by) = outcome.cancel {
            going.cancel(by);
        }
    }

    /// `None` if it cannot be written.
    async fn write_end(&self, going: &Arc<Going>, ending: &Ending) -> Option<EndOutcome> {
        let problem_json = match ending.problem.as_ref().map(serde_json::to_string).transpose() {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(%error, run.id = %going.run, "a run's problem has no JSON");
                None
            }
        };
        let mut told = false;
        loop {
            let Some(progress) = going.progress(u64::MAX) else { return Some(EndOutcome::Fenced) };
            let Progress { from, records, first_token_at_ms, .. } = progress;
            let end = RunEnd {
                run: going.run,
                epoch: going.epoch,
                from,
                records,
                first_token_at_ms,
                state: ending.state,
                stop_reason: ending.stop_reason,
                stop_sequence: ending.stop_sequence.clone(),
                stopped_by: ending.stopped_by,
                problem_json: problem_json.clone(),
                settles: ending.settles,
                ended_at_ms: now_ms(),
            };
            match self.store.end_run(&end).await {
                Ok(outcome) => {
                    self.forget(going);
                    if outcome == EndOutcome::Fenced {
                        self.fence(going);
                    }
                    return Some(outcome);
                }
                Err(error) if error.is_transient() || !going.is_refused() => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, run.id = %going.run, "a run's end waits for the store");
                    }
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(RETRY_PAUSE) => {}
                        // Unwritten, the run is found and ended by whoever takes it over.
                        () = self.tasks.stopped() => return None,
                    }
                }
                Err(error) => {
                    tracing::error!(%error, run.id = %going.run, "a run's end cannot be written");
                    self.give_up(going);
                    return None;
                }
            }
        }
    }

    fn fence(&self, going: &Arc<Going>) {
        self.forget(going);
        going.fence();
    }

    /// Nobody will go on with it: its readers are not left waiting.
    fn give_up(&self, going: &Arc<Going>) {
        self.fence(going);
        going.tape.abandon();
    }
}

/// A run whose end panics has no driver any more: it is taken up again.
struct GivenUp<'a> {
    checkpoint: &'a Checkpoint,
    going: &'a Arc<Going>,
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.checkpoint.give_up(self.going);
        }
    }
}

fn end_of(from: Offset, records: &[Record]) -> Offset {
    records.last().map_or(from, |last| Offset(last.offset.0 + last.bytes.len() as u64))
}
