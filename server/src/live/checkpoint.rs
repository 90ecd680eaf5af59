//! What the live runs of this node received goes to the store: all of them in one statement a few times a second,
//! and each one's end in a transaction of its own. Only this task moves a run's `stored`, so nothing races with it.

use crate::domain::refusal::Refusal;
use crate::live::{clock::now_ms, tape::Tape, tasks::Tasks};
use crate::store::{
    AttemptId, Bill, EndOutcome, Progress, ProgressOutcome, ProgressResult, Record, RunEnd, Store, StoreError,
};
use parking_lot::Mutex;
use promptroom_protocol::{Epoch, MemberId, Offset, Problem, RunId, RunState, RunSummary, StopReason, Usage};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

const PACE: Duration = Duration::from_millis(250);
const SOON: Duration = Duration::from_millis(20);
/// What one run may add to one checkpoint; the rest waits for the next.
const RUN_BYTES_MAX: u64 = 1 << 20;
const ENDS_WAITING: usize = 256;
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A run that this node drives, from its row to its end.
pub struct Going {
    pub run: RunId,
    pub epoch: Epoch,
    pub tape: Arc<Tape>,
    /// Somebody asked it to stop.
    pub cancelled: CancellationToken,
    cancelled_by: OnceLock<MemberId>,
    /// Another driver has it, or it has ended: write nothing more.
    pub fenced: CancellationToken,
    state: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    stored: Offset,
    first_token_at_ms: Option<u64>,
    usage: Option<Usage>,
}

/// How a run ended, before the store has been told.
#[derive(Clone, Debug)]
pub struct Ending {
    pub state: RunState,
    pub stop_reason: Option<StopReason>,
    pub stop_sequence: Option<String>,
    pub stopped_by: Option<MemberId>,
    pub problem: Option<Problem>,
    pub settles: Option<(AttemptId, Bill)>,
}

impl Ending {
    pub fn new(state: RunState) -> Ending {
        Ending {
            state,
            stop_reason: None,
            stop_sequence: None,
            stopped_by: None,
            problem: None,
            settles: None,
        }
    }
}

struct ToEnd {
    going: Arc<Going>,
    ending: Ending,
    reply: oneshot::Sender<EndOutcome>,
}

pub struct Checkpoint {
    going: Mutex<HashMap<RunId, Arc<Going>>>,
    bell: Notify,
    ends: mpsc::Sender<ToEnd>,
}

impl Going {
    pub fn new(epoch: Epoch, tape: Arc<Tape>, stored: Offset) -> Arc<Going> {
        Arc::new(Going {
            run: tape.run,
            epoch,
            tape,
            cancelled: CancellationToken::new(),
            cancelled_by: OnceLock::new(),
            fenced: CancellationToken::new(),
            state: Mutex::new(Written { stored, ..Written::default() }),
        })
    }

    pub fn cancel(&self, by: MemberId) {
        self.cancelled_by.get_or_init(|| by);
        self.cancelled.cancel();
    }

    pub fn cancelled_by(&self) -> Option<MemberId> {
        self.cancelled_by.get().copied()
    }

    pub fn first_token_at(&self, at_ms: u64) {
        self.state.lock().first_token_at_ms.get_or_insert(at_ms);
    }

    pub fn first_token_at_ms(&self) -> Option<u64> {
        self.state.lock().first_token_at_ms
    }

    pub fn used(&self, usage: Usage) {
        self.state.lock().usage = Some(usage);
    }

    fn progress(&self) -> Progress {
        let (from, first_token_at_ms, usage) = {
            let written = self.state.lock();
            (written.stored, written.first_token_at_ms, written.usage)
        };
        Progress {
            run: self.run,
            epoch: self.epoch,
            from,
            records: records(&self.tape, from, RUN_BYTES_MAX),
            first_token_at_ms,
            usage,
            now_ms: now_ms(),
        }
    }
}

impl Checkpoint {
    pub fn start(store: Arc<Store>, tasks: &Tasks) -> Arc<Self> {
        let (ends, ended) = mpsc::channel(ENDS_WAITING);
        let checkpoint = Arc::new(Checkpoint { going: Mutex::default(), bell: Notify::new(), ends });
        tasks.spawn_vital("checkpoint", checkpoint.clone().keep(store, ended, tasks.clone()));
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

    /// Stores the rest and the end. Waits as long as the store is away: an end that is not durable is none.
    pub async fn end(&self, going: Arc<Going>, ending: Ending) -> Result<RunSummary, Refusal> {
        let (reply, answer) = oneshot::channel();
        let sent = self.ends.send(ToEnd { going, ending, reply }).await;
        if sent.is_err() {
            return Err(Refusal::Draining);
        }
        match answer.await {
            Ok(EndOutcome::Ended(run) | EndOutcome::AlreadyEnded(run)) => Ok(run),
            Ok(EndOutcome::Fenced) => Err(Refusal::RunNotFound),
            Err(_) => Err(Refusal::Internal),
        }
    }

    async fn keep(self: Arc<Self>, store: Arc<Store>, mut ends: mpsc::Receiver<ToEnd>, tasks: Tasks) {
        let mut next = Instant::now() + PACE;
        let mut away = false;
        loop {
            tokio::select! {
                biased;
                Some(to_end) = ends.recv() => self.write_end(&store, to_end, &tasks).await,
                () = self.bell.notified() => next = next.min(Instant::now() + SOON),
                () = tokio::time::sleep_until(next) => {
                    next = Instant::now() + PACE;
                    self.write_progress(&store, &mut away).await;
                }
                () = tasks.stopped() => {
                    ends.close();
                    while let Some(to_end) = ends.recv().await {
                        self.write_end(&store, to_end, &tasks).await;
                    }
                    self.write_progress(&store, &mut away).await;
                    return;
                }
            }
        }
    }

    /// `away` is whether the store was away the last time: an outage is told once, at each end.
    async fn write_progress(&self, store: &Store, away: &mut bool) {
        let going: Vec<Arc<Going>> = self.going.lock().values().cloned().collect();
        if going.is_empty() {
            return;
        }
        let batch: Vec<Progress> = going.iter().map(|going| going.progress()).collect();
        match store.progress(&batch).await {
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
                self.write_each(store, &going, batch).await;
            }
        }
    }

    /// One run that cannot be written must not keep the others from being written.
    async fn write_each(&self, store: &Store, going: &[Arc<Going>], batch: Vec<Progress>) {
        for (going, progress) in going.iter().zip(batch) {
            match store.progress(std::slice::from_ref(&progress)).await {
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
        if !error.is_transient() {
            tracing::error!(%error, run.id = %going.run, "a run cannot be written and is given up");
            self.fence(going);
        }
    }

    fn moved(&self, going: &Arc<Going>, progress: &Progress, outcome: ProgressOutcome) {
        match outcome.result {
            ProgressResult::Moved => going.state.lock().stored = end_of(progress.from, &progress.records),
            ProgressResult::Adopted(stored) => going.state.lock().stored = stored,
            ProgressResult::Fenced => self.fence(going),
        }
        if let Some(by) = outcome.cancel {
            going.cancel(by);
        }
    }

    async fn write_end(&self, store: &Store, to_end: ToEnd, tasks: &Tasks) {
        let ToEnd { going, ending, reply } = to_end;
        let problem_json = match ending.problem.as_ref().map(serde_json::to_string).transpose() {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(%error, run.id = %going.run, "a run's problem has no JSON");
                None
            }
        };
        let mut told = false;
        loop {
            let (from, first_token_at_ms) = {
                let written = going.state.lock();
                (written.stored, written.first_token_at_ms)
            };
            let end = RunEnd {
                run: going.run,
                epoch: going.epoch,
                from,
                records: records(&going.tape, from, u64::MAX),
                first_token_at_ms,
                state: ending.state,
                stop_reason: ending.stop_reason,
                stop_sequence: ending.stop_sequence.clone(),
                stopped_by: ending.stopped_by,
                problem_json: problem_json.clone(),
                settles: ending.settles,
                ended_at_ms: now_ms(),
            };
            match store.end_run(&end).await {
                Ok(outcome) => {
                    self.forget(&going);
                    if outcome == EndOutcome::Fenced {
                        self.fence(&going);
                    }
                    // Whoever asked may have gone; the end is in the store all the same.
                    let _asker_gone = reply.send(outcome);
                    return;
                }
                Err(error) if error.is_transient() => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, run.id = %going.run, "a run's end waits for the store");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(RETRY_PAUSE) => {}
                        // Unwritten, the run is found and ended by the next start.
                        () = tasks.stopped() => return,
                    }
                }
                Err(error) => {
                    tracing::error!(%error, run.id = %going.run, "a run's end cannot be written");
                    self.fence(&going);
                    return;
                }
            }
        }
    }

    fn fence(&self, going: &Arc<Going>) {
        self.forget(going);
        going.fenced.cancel();
    }
}

fn records(tape: &Tape, from: Offset, bytes_max: u64) -> Vec<Record> {
    let taken = tape.take_from(from, bytes_max);
    taken
        .into_iter()
        .map(|record| Record {
            offset: record.offset,
            block: record.block,
            kind: record.kind,
            bytes: record.bytes,
        })
        .collect()
}

fn end_of(from: Offset, records: &[Record]) -> Offset {
    records.last().map_or(from, |last| Offset(last.offset.0 + last.bytes.len() as u64))
}
