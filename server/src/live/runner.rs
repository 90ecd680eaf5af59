//! Drives one run: a place at the gate, an attempt, the model's stream into the tape, and the settlement.
//!
//! The first token is shown at once; later ones are joined for a few milliseconds, longer for many readers.
//! Nothing here knows a socket: who watches reads the tape.

use crate::domain::{output::fitting, prompt::ModelRequest};
use crate::live::{
    billing::{Before, OpenCall, Received, bill, read_on, unanswered},
    checkpoint::NotEnded,
    clock::now_ms,
    endings::{Ending, completed, ended_early, failed, failed_here, may_be_charged, problem, too_long},
    going::Going,
    place::Place,
    runs::Runs,
    start::new_attempt,
};
use crate::model::{CancelBehaviour, Model, ModelError, ModelEvent, ModelStream};
use crate::store::{AdmitOutcome, AttemptId, Bill, NewAttempt};
use futures_util::FutureExt as _;
use promptroom_protocol::{BlockKind, Epoch, Problem, RunState, RunSummary, Usage};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

const JOIN_MIN: Duration = Duration::from_millis(16);
const JOIN_MAX: Duration = Duration::from_millis(100);
/// With this many readers, tokens are joined for the longest time.
const READERS_MANY: usize = 500;
/// How often the room is told how far a live run is.
const METRICS_PACE: Duration = Duration::from_secs(2);
const QUEUE_PACE: Duration = Duration::from_millis(500);
/// Calls to the provider before its first token, the first one included.
const CALLS_MAX: u32 = 3;
const RETRY_WAIT_MS: u64 = 1_000;
const RETRY_WAIT_MS_MAX: u64 = 30_000;
const STORE_RETRY: Duration = Duration::from_millis(100);

pub struct Job {
    pub runs: Arc<Runs>,
    pub going: Arc<Going>,
    pub place: Place,
    pub run: RunSummary,
    pub model: Model,
    pub request: ModelRequest,
    /// The attempt that was already written with the run.
    pub attempt: Option<NewAttempt>,
    pub before: Before,
}

/// Why a job came to an end that the store is not told of.
enum LetGo {
    /// Another driver has the run, or it cannot be written.
    Fenced,
    /// The node leaves; the checkpoint writes what there is, and somebody else goes on.
    Leaving,
}

pub async fn drive(job: Job) {
    let (runs, going) = (job.runs.clone(), job.going.clone());
    let driving = AssertUnwindSafe(drive_to_end(job)).catch_unwind();
    if driving.await.is_err() {
        tracing::error!(run.id = %going.run, "the driver of a run panicked; the run fails");
        let ending = Ending { problem: Some(failed_here(going.run)), ..Ending::new(RunState::Failed) };
        end(&runs, &going, ending).await;
    }
    let id = going.run;
    drop(going);
    runs.forget_tape(id);
}

async fn drive_to_end(mut job: Job) {
    match job.stream().await {
        Ok(ending) => end(&job.runs, &job.going, ending).await,
        Err(why) => {
            tracing::info!(run.id = %job.run.id, epoch = job.run.epoch.0, "the run is let go");
            if matches!(why, LetGo::Fenced) {
                job.runs.checkpoint.forget(&job.going);
                job.going.tape.let_go(job.going.epoch);
                job.runs.follow_soon();
            }
        }
    }
}

/// Writes the end, and only then tells it.
async fn end(runs: &Runs, going: &Arc<Going>, ending: Ending) {
    going.flush();
    match runs.checkpoint.end(going.clone(), ending).await {
        Ok(run) => {
            let duration_ms = run.ended_at_ms.unwrap_or_default().saturating_sub(run.created_at_ms);
            tracing::info!(run.id = %run.id, state = run.state.name(), duration_ms, bytes = run.bytes.0, "run ended");
            metrics::counter!("promptroom_runs_ended_total", "state" => run.state.name()).increment(1);
            // The summary first: whoever reads the end finds it there.
            going.tape.note(&run);
            going.tape.end(going.epoch);
            runs.announce(&run);
        }
        Err(why) => {
            if why == NotEnded::Unwritten {
                tracing::error!(run.id = %going.run, "a run's end was not written");
            }
            runs.checkpoint.forget(going);
            going.tape.let_go(going.epoch);
            runs.follow_soon();
        }
    }
}

impl Job {
    async fn stream(&mut self) -> Result<Ending, LetGo> {
        if !self.wait_for_place().await? {
            return Ok(self.cancelled(None));
        }
        let attempt = match self.attempt.take() {
            Some(attempt) => attempt,
            None => match self.admit().await? {
                Admitted::Attempt(attempt) => attempt,
                Admitted::Ended(ending) => return Ok(*ending),
            },
        };
        if self.run.state == RunState::Queued {
            self.run.state = RunState::Admitted;
        }
        self.run.admitted_at_ms.get_or_insert(attempt.now_ms);
        self.run.queue = None;
        self.runs.announce(&self.run);
        let call = OpenCall { id: attempt.id, run: self.run.id, input_tokens: attempt.input_tokens };
        let settles = |bill: Bill| Some((call.id, bill));
        match self.call().await? {
            Call::Answered(stream) => self.read(*stream, call).await,
            Call::Cancelled { asking: true } => Ok(self.cancelled(settles(unanswered(&self.model, call)))),
            Call::Cancelled { asking: false } => {
                Ok(self.cancelled(settles(bill(&self.model, Usage::default()))))
            }
            Call::Refused(error) if may_be_charged(error.kind) => {
                Ok(self.failed(&error, settles(unanswered(&self.model, call))))
            }
            Call::Refused(error) => Ok(self.failed(&error, settles(bill(&self.model, Usage::default())))),
        }
    }

    /// Whether the run may start; false if it was stopped while it waited.
    async fn wait_for_place(&mut self) -> Result<bool, LetGo> {
        loop {
            tokio::select! {
                biased;
                () = self.going.cancelled.cancelled() => return Ok(false),
                () = self.going.fenced.cancelled() => return Err(LetGo::Fenced),
                () = self.runs.leaving.cancelled() => return Err(LetGo::Leaving),
                () = self.place.admitted() => return Ok(true),
                () = sleep(QUEUE_PACE) => {
                    let queue = self.runs.places.standing(self.run.id);
                    if queue != self.run.queue {
                        self.run.queue = queue;
                        self.runs.announce(&self.run);
                    }
                }
            }
        }
    }

    /// Writes the attempt down before the request leaves.
    async fn admit(&mut self) -> Result<Admitted, LetGo> {
        let Job { runs, run, model, request, .. } = &*self;
        let attempt = match new_attempt(run.id, run.epoch, runs.node, model, request) {
            Ok(attempt) => attempt,
            Err(error) => {
                tracing::error!(%error, run.id = %run.id, "an attempt cannot be written down");
                return Ok(Admitted::Ended(Box::new(failed(failed_here(self.run.id), None))));
            }
        };
        match self.write_attempt(&attempt).await? {
            Some(AdmitOutcome::Admitted) => {}
            Some(AdmitOutcome::CancelRequested { by }) => {
                self.going.cancel(by);
                return Ok(Admitted::Ended(Box::new(self.cancelled(None))));
            }
            Some(AdmitOutcome::Fenced) => return Err(LetGo::Fenced),
            None => return Ok(Admitted::Ended(Box::new(failed(failed_here(self.run.id), None)))),
        }
        // In a later epoch this attempt made a seam, which only the store puts together.
        match self.runs.store.run(self.run.id).await {
            Ok(Some(run)) if run.epoch > Epoch::FIRST => self.run = run,
            _ => self.run.attempts += 1,
        }
        Ok(Admitted::Attempt(attempt))
    }

    /// Waits while the store is away; `None` if it will never take it.
    async fn write_attempt(&self, attempt: &NewAttempt) -> Result<Option<AdmitOutcome>, LetGo> {
        let mut told = false;
        loop {
            match self.runs.store.admit_run(attempt).await {
                Ok(outcome) => return Ok(Some(outcome)),
                Err(error) if error.is_transient() => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, run.id = %self.run.id, "a run waits for the store");
                    }
                    tokio::select! {
                        biased;
                        () = self.going.fenced.cancelled() => return Err(LetGo::Fenced),
                        () = self.runs.leaving.cancelled() => return Err(LetGo::Leaving),
                        () = sleep(STORE_RETRY) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(%error, run.id = %self.run.id, "a run cannot be admitted");
                    return Ok(None);
                }
            }
        }
    }

    /// Calls the provider, again after a while if it is overloaded: nothing was received, so nothing is paid twice.
    async fn call(&mut self) -> Result<Call, LetGo> {
        let mut calls = 1;
        loop {
            let answer = tokio::select! {
                biased;
                () = self.going.cancelled.cancelled() => return Ok(Call::Cancelled { asking: true }),
                () = self.going.fenced.cancelled() => return Err(LetGo::Fenced),
                () = self.runs.leaving.cancelled() => return Err(LetGo::Leaving),
                answer = self.model.start(&self.request) => answer,
            };
            let error = match answer {
                Ok(stream) => {
                    self.run.problem = None;
                    return Ok(Call::Answered(Box::new(stream)));
                }
                Err(error) if calls < CALLS_MAX && error.kind.is_transient() => error,
                Err(error) => return Ok(Call::Refused(error)),
            };
            let wait_ms = error.retry_after_ms.unwrap_or(RETRY_WAIT_MS << calls);
            if wait_ms > RETRY_WAIT_MS_MAX {
                return Ok(Call::Refused(error));
            }
            calls += 1;
            let mut problem = self.problem(&error);
            problem.retry_after_ms = Some(wait_ms);
            self.run.problem = Some(problem);
            self.runs.announce(&self.run);
            tokio::select! {
                biased;
                () = self.going.cancelled.cancelled() => return Ok(Call::Cancelled { asking: false }),
                () = self.going.fenced.cancelled() => return Err(LetGo::Fenced),
                () = self.runs.leaving.cancelled() => return Err(LetGo::Leaving),
                () = sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    async fn read(&mut self, mut stream: ModelStream, call: OpenCall) -> Result<Ending, LetGo> {
        let mut received = Received::default();
        let mut flush_at: Option<Instant> = None;
        let mut flushed = Instant::now() - JOIN_MAX;
        let mut metrics_at = Instant::now() + METRICS_PACE;
        loop {
            let wake_at = flush_at.map_or(metrics_at, |at| at.min(metrics_at));
            let event = tokio::select! {
                biased;
                () = self.going.cancelled.cancelled() => {
                    return Ok(self.hang_up(stream, call, received, self.cancelled(None)));
                }
                () = self.going.fenced.cancelled() => return Err(LetGo::Fenced),
                () = self.runs.leaving.cancelled() => return Err(LetGo::Leaving),
                () = sleep_until(wake_at) => {
                    let now = Instant::now();
                    if flush_at.is_some_and(|at| at <= now) {
                        self.going.flush();
                        (flush_at, flushed) = (None, now);
                    }
                    if metrics_at <= now {
                        metrics_at = now + METRICS_PACE;
                        self.tell_progress(&received, call.input_tokens);
                    }
                    continue;
                }
                event = stream.next() => event,
            };
            match event {
                Some(Ok(ModelEvent::Delta { block, kind, text })) => {
                    if !self.take(&mut received, block, kind, &text) {
                        return Ok(self.hang_up(stream, call, received, too_long(self.run.id)));
                    }
                    let now = Instant::now();
                    let due = flushed + self.join_time();
                    if due <= now || received.events == 1 {
                        self.going.flush();
                        (flush_at, flushed) = (None, now);
                    } else {
                        flush_at = Some(due);
                    }
                    if received.events == 1 {
                        self.first_token();
                    }
                }
                Some(Ok(ModelEvent::Usage(report))) => received.usage.update(report),
                Some(Ok(ModelEvent::Stop { reason, sequence })) => {
                    let settles = Some((call.id, self.bill(&received, call.input_tokens)));
                    return Ok(completed(reason, sequence, settles));
                }
                Some(Err(error)) => {
                    let settles = Some((call.id, self.bill(&received, call.input_tokens)));
                    return Ok(self.failed(&error, settles));
                }
                None => {
                    let settles = Some((call.id, self.bill(&received, call.input_tokens)));
                    return Ok(self.failed(&ended_early(), settles));
                }
            }
        }
    }

    /// Appends what came; false if the run may not put out all of it.
    fn take(&self, received: &mut Received, block: u32, kind: BlockKind, text: &str) -> bool {
        received.count(text);
        let fits = fitting(text, self.going.length());
        self.going.append(block, kind, fits);
        fits.len() == text.len()
    }

    /// Its viewers have it already; now everybody is told.
    fn first_token(&mut self) {
        let now = now_ms();
        self.going.first_token_at(now);
        self.runs.checkpoint.soon();
        self.run.state = RunState::Streaming;
        self.run.first_token_at_ms.get_or_insert(now);
        self.runs.announce(&self.run);
    }

    fn tell_progress(&mut self, received: &Received, input: u64) {
        let bill = self.bill(received, input);
        self.going.used(bill.usage);
        let whole = self.before.with(bill);
        self.run.bytes = self.going.length();
        self.run.usage = Some(whole.usage);
        self.run.cost = whole.cost;
        self.runs.announce(&self.run);
    }

    fn join_time(&self) -> Duration {
        let readers = self.going.tape.readers().min(READERS_MANY) as u32;
        JOIN_MIN + (JOIN_MAX - JOIN_MIN) * readers / READERS_MANY as u32
    }

    /// Ended by us: dropping the stream closes the connection to the provider, before anything else happens.
    fn hang_up(&self, stream: ModelStream, call: OpenCall, received: Received, ending: Ending) -> Ending {
        if self.model.lane().cancel == CancelBehaviour::RunsOn {
            let reading = read_on(stream, self.runs.clone(), self.model.clone(), call, received);
            self.runs.tasks.spawn(reading);
            return ending;
        }
        drop(stream);
        Ending { settles: Some((call.id, self.bill(&received, call.input_tokens))), ..ending }
    }

    fn cancelled(&self, settles: Option<(AttemptId, Bill)>) -> Ending {
        Ending { stopped_by: self.going.cancelled_by(), settles, ..Ending::new(RunState::Cancelled) }
    }

    fn failed(&self, error: &ModelError, settles: Option<(AttemptId, Bill)>) -> Ending {
        tracing::info!(run.id = %self.run.id, code = error.code, status = error.status, "the model failed");
        failed(self.problem(error), settles)
    }

    fn problem(&self, error: &ModelError) -> Problem {
        problem(self.run.id, &self.model.lane().provider, error, self.going.length().0)
    }

    fn bill(&self, received: &Received, input_tokens: u64) -> Bill {
        bill(&self.model, received.settle(input_tokens))
    }
}

enum Admitted {
    Attempt(NewAttempt),
    Ended(Box<Ending>),
}

enum Call {
    Answered(Box<ModelStream>),
    /// `asking` if a request was under way, and not only a pause between two.
    Cancelled {
        asking: bool,
    },
    Refused(ModelError),
}
