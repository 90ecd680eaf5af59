//! Drives one run: a place at the gate, an attempt, the model's stream into the tape, and the settlement.
//!
//! The first token is shown at once; later ones are joined for a few milliseconds, longer for many readers.
//! Nothing here knows a socket: who watches reads the tape.

use crate::domain::{
    ledger::{UsageReport, cost, estimate_tokens_of},
    prompt::ModelRequest,
    run::stopped,
};
use crate::live::{
    checkpoint::{Ending, Going},
    clock::now_ms,
    runs::{Place, Runs, new_attempt},
};
use crate::model::{CancelBehaviour, Model, ModelError, ModelErrorKind, ModelEvent, ModelStream};
use crate::store::{AdmitOutcome, AttemptId, Bill, NewAttempt};
use promptroom_protocol::{Problem, RunState, RunSummary, StopReason, Usage};
use std::{sync::Arc, time::Duration};
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
/// A provider that writes on after we hung up is read to its end for its usage, this long at most.
const BACKGROUND_READ: Duration = Duration::from_secs(120);

pub struct Job {
    pub runs: Arc<Runs>,
    pub going: Arc<Going>,
    pub place: Place,
    pub run: RunSummary,
    pub model: Model,
    pub request: ModelRequest,
    /// The attempt that was already written with the run.
    pub attempt: Option<NewAttempt>,
}

/// Why a job came to an end that the store is not told of: it is another driver's, or the node stops.
struct LetGo;

/// What arrived of one attempt.
#[derive(Clone, Copy, Default)]
struct Received {
    usage: UsageReport,
    events: u64,
    ascii_bytes: u64,
    other_bytes: u64,
}

pub async fn drive(mut job: Job) {
    let ending = match job.stream().await {
        Ok(ending) => ending,
        Err(LetGo) => {
            tracing::info!(run.id = %job.run.id, epoch = job.run.epoch.0, "the run is let go");
            return;
        }
    };
    job.going.tape.flush();
    let ended = job.runs.checkpoint.end(job.going.clone(), ending).await;
    job.going.tape.end();
    match ended {
        Ok(run) => {
            let duration_ms = run.ended_at_ms.unwrap_or_default().saturating_sub(run.created_at_ms);
            tracing::info!(run.id = %run.id, state = run.state.name(), duration_ms, bytes = run.bytes.0, "run ended");
            metrics::counter!("promptroom_runs_ended_total", "state" => run.state.name()).increment(1);
            job.runs.announce(&run);
        }
        Err(refusal) => {
            tracing::error!(run.id = %job.run.id, code = refusal.code(), "a run's end was not written")
        }
    }
    let id = job.run.id;
    let runs = job.runs.clone();
    drop(job);
    runs.forget_tape(id);
}

impl Job {
    async fn stream(&mut self) -> Result<Ending, LetGo> {
        if !self.wait_for_place().await? {
            return Ok(self.cancelled(None));
        }
        let attempt = match self.attempt.take() {
            Some(attempt) => attempt,
            None => {
                let Job { runs, run, model, request, .. } = &*self;
                let attempt = new_attempt(run.id, run.epoch, runs.node, model, request);
                match self.admit(&attempt).await? {
                    AdmitOutcome::Admitted => {
                        self.run.attempts += 1;
                        attempt
                    }
                    AdmitOutcome::CancelRequested { by } => {
                        self.going.cancel(by);
                        return Ok(self.cancelled(None));
                    }
                    AdmitOutcome::Fenced => return Err(LetGo),
                }
            }
        };
        let NewAttempt { id: attempt, input_tokens, now_ms, .. } = attempt;
        self.run.state = RunState::Admitted;
        self.run.admitted_at_ms.get_or_insert(now_ms);
        self.run.queue = None;
        self.runs.announce(&self.run);
        let nothing = |job: &Job| Some((attempt, job.bill(Usage::default())));
        let stream = match self.call().await? {
            Call::Answered(stream) => stream,
            Call::Cancelled => return Ok(self.cancelled(nothing(self))),
            Call::Refused(error) => return Ok(self.failed(&error, nothing(self))),
        };
        self.read(*stream, attempt, input_tokens).await
    }

    /// Whether the run may start; false if it was stopped while it waited.
    async fn wait_for_place(&mut self) -> Result<bool, LetGo> {
        loop {
            tokio::select! {
                biased;
                () = self.going.cancelled.cancelled() => return Ok(false),
                () = self.going.fenced.cancelled() => return Err(LetGo),
                () = self.runs.tasks.stopped() => return Err(LetGo),
                () = self.place.admitted() => return Ok(true),
                () = sleep(QUEUE_PACE) => {
                    let queue = self.runs.queue_place(self.run.id);
                    if queue != self.run.queue {
                        self.run.queue = queue;
                        self.runs.announce(&self.run);
                    }
                }
            }
        }
    }

    /// Writes the attempt down before the request leaves; waits while the store is away.
    async fn admit(&self, attempt: &NewAttempt) -> Result<AdmitOutcome, LetGo> {
        loop {
            match self.runs.store.admit_run(attempt).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, run.id = %self.run.id, "a run waits for the store");
                    tokio::select! {
                        () = sleep(STORE_RETRY) => {}
                        () = self.runs.tasks.stopped() => return Err(LetGo),
                    }
                }
                Err(error) => {
                    tracing::error!(%error, run.id = %self.run.id, "a run cannot be admitted");
                    return Err(LetGo);
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
                () = self.going.cancelled.cancelled() => return Ok(Call::Cancelled),
                () = self.going.fenced.cancelled() => return Err(LetGo),
                () = self.runs.tasks.stopped() => return Err(LetGo),
                answer = self.model.start(&self.request) => answer,
            };
            let error = match answer {
                Ok(stream) => {
                    self.run.problem = None;
                    return Ok(Call::Answered(Box::new(stream)));
                }
                Err(error) if calls < CALLS_MAX && is_worth_waiting(&error) => error,
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
                () = self.going.cancelled.cancelled() => return Ok(Call::Cancelled),
                () = self.going.fenced.cancelled() => return Err(LetGo),
                () = self.runs.tasks.stopped() => return Err(LetGo),
                () = sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    async fn read(
        &mut self,
        mut stream: ModelStream,
        attempt: AttemptId,
        input: u64,
    ) -> Result<Ending, LetGo> {
        let mut received = Received::default();
        let mut flush_at: Option<Instant> = None;
        let mut flushed = Instant::now() - JOIN_MAX;
        let mut metrics_at = Instant::now() + METRICS_PACE;
        loop {
            let wake_at = flush_at.map_or(metrics_at, |at| at.min(metrics_at));
            let event = tokio::select! {
                biased;
                () = self.going.cancelled.cancelled() => {
                    return Ok(self.stop(stream, attempt, input, &received));
                }
                () = self.going.fenced.cancelled() => return Err(LetGo),
                () = self.runs.tasks.stopped() => return Err(LetGo),
                () = sleep_until(wake_at) => {
                    let now = Instant::now();
                    if flush_at.is_some_and(|at| at <= now) {
                        self.going.tape.flush();
                        (flush_at, flushed) = (None, now);
                    }
                    if metrics_at <= now {
                        metrics_at = now + METRICS_PACE;
                        self.tell_progress(&received, input);
                    }
                    continue;
                }
                event = stream.next() => event,
            };
            match event {
                Some(Ok(ModelEvent::Delta { block, kind, text })) => {
                    received.count(&text);
                    self.going.tape.append(block, kind, &text);
                    if received.events == 1 {
                        self.first_token();
                    }
                    let now = Instant::now();
                    let due = flushed + self.join_time();
                    if due <= now {
                        self.going.tape.flush();
                        (flush_at, flushed) = (None, now);
                    } else {
                        flush_at = Some(due);
                    }
                }
                Some(Ok(ModelEvent::Usage(report))) => received.usage.update(report),
                Some(Ok(ModelEvent::Stop { reason, sequence })) => {
                    return Ok(self.completed(reason, sequence, attempt, input, &received));
                }
                Some(Err(error)) => {
                    return Ok(self.failed(&error, Some((attempt, self.bill(received.settle(input))))));
                }
                None => {
                    let error = ended_early();
                    return Ok(self.failed(&error, Some((attempt, self.bill(received.settle(input))))));
                }
            }
        }
    }

    fn first_token(&mut self) {
        let now = now_ms();
        self.going.first_token_at(now);
        self.runs.checkpoint.soon();
        self.run.state = RunState::Streaming;
        self.run.first_token_at_ms.get_or_insert(now);
        self.runs.announce(&self.run);
    }

    fn tell_progress(&mut self, received: &Received, input: u64) {
        let usage = received.settle(input);
        self.going.used(usage);
        self.run.bytes = self.going.tape.length();
        self.run.usage = Some(usage);
        self.run.cost = self.bill(usage).cost;
        self.runs.announce(&self.run);
    }

    fn join_time(&self) -> Duration {
        let readers = self.going.tape.readers().min(READERS_MANY) as u32;
        JOIN_MIN + (JOIN_MAX - JOIN_MIN) * readers / READERS_MANY as u32
    }

    /// Stopped by somebody: dropping the stream closes the connection to the provider, before anything else happens.
    fn stop(&self, stream: ModelStream, attempt: AttemptId, input: u64, received: &Received) -> Ending {
        if self.model.lane().cancel == CancelBehaviour::RunsOn {
            let reading = read_on(stream, self.runs.clone(), self.model.clone(), attempt, *received, input);
            self.runs.tasks.spawn(reading);
            return self.cancelled(None);
        }
        drop(stream);
        self.cancelled(Some((attempt, self.bill(received.settle(input)))))
    }

    fn cancelled(&self, settles: Option<(AttemptId, Bill)>) -> Ending {
        Ending {
            state: RunState::Cancelled,
            stop_reason: None,
            stop_sequence: None,
            stopped_by: self.going.cancelled_by(),
            problem_json: None,
            settles,
        }
    }

    fn completed(
        &self,
        reason: StopReason,
        sequence: Option<String>,
        attempt: AttemptId,
        input: u64,
        received: &Received,
    ) -> Ending {
        Ending {
            state: stopped(reason),
            stop_reason: Some(reason),
            stop_sequence: sequence,
            stopped_by: None,
            problem_json: None,
            settles: Some((attempt, self.bill(received.settle(input)))),
        }
    }

    fn failed(&self, error: &ModelError, settles: Option<(AttemptId, Bill)>) -> Ending {
        let problem = self.problem(error);
        tracing::info!(run.id = %self.run.id, code = error.code, status = error.status, "the model failed");
        Ending {
            state: RunState::Failed,
            stop_reason: None,
            stop_sequence: None,
            stopped_by: None,
            problem_json: serde_json::to_string(&problem).ok(),
            settles,
        }
    }

    fn problem(&self, error: &ModelError) -> Problem {
        let received = self.going.tape.length().0;
        let (kept, next) = if received > 0 {
            (
                "What had arrived is kept and charged, as an estimate where the provider did not say.",
                "Continue or regenerate.",
            )
        } else {
            ("Nothing was received and nothing was charged. Your draft is saved.", next_step(error.kind))
        };
        Problem {
            kind: "about:blank".to_owned(),
            title: format!("{} did not answer as it should", self.model.lane().provider),
            status: error.status.unwrap_or(502),
            code: error.code.to_owned(),
            detail: error.message.clone(),
            kept: kept.to_owned(),
            next: next.to_owned(),
            request_id: None,
            retry_after_ms: error.retry_after_ms,
        }
    }

    fn bill(&self, usage: Usage) -> Bill {
        bill(&self.model, usage)
    }
}

enum Call {
    Answered(Box<ModelStream>),
    Cancelled,
    Refused(ModelError),
}

impl Received {
    fn count(&mut self, text: &str) {
        let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
        self.events += 1;
        self.ascii_bytes += ascii;
        self.other_bytes += text.len() as u64 - ascii;
    }

    /// As the provider reported it; what it left out is estimated, and marked so.
    fn settle(&self, input_estimate: u64) -> Usage {
        self.usage.settle(input_estimate, estimate_tokens_of(self.ascii_bytes, self.other_bytes))
    }
}

/// Reads a stream that nobody waits for any more to its end, because its provider bills all of it.
async fn read_on(
    mut stream: ModelStream,
    runs: Arc<Runs>,
    model: Model,
    attempt: AttemptId,
    mut received: Received,
    input: u64,
) {
    let end = Instant::now() + BACKGROUND_READ;
    while let Ok(Some(Ok(event))) = tokio::time::timeout_at(end, stream.next()).await {
        match event {
            ModelEvent::Delta { text, .. } => received.count(&text),
            ModelEvent::Usage(report) => received.usage.update(report),
            ModelEvent::Stop { .. } => break,
        }
    }
    let usage = received.settle(input);
    if let Err(error) = runs.store.settle_attempt(attempt, &bill(&model, usage), now_ms()).await {
        tracing::error!(%error, "the true usage of a stopped run was not written");
    }
}

fn bill(model: &Model, usage: Usage) -> Bill {
    Bill { usage, cost: model.info.price.as_ref().map(|price| cost(price, &usage)) }
}

/// Adapters end with a stop or an error; one that did neither was cut.
fn ended_early() -> ModelError {
    ModelError {
        kind: ModelErrorKind::CutShort,
        status: None,
        message: "The answer ended without an end marker.".to_owned(),
        retry_after_ms: None,
        code: ModelErrorKind::CutShort.code(),
    }
}

fn is_worth_waiting(error: &ModelError) -> bool {
    matches!(
        error.kind,
        ModelErrorKind::Overloaded | ModelErrorKind::RateLimited | ModelErrorKind::Unreachable
    )
}

fn next_step(kind: ModelErrorKind) -> &'static str {
    match kind {
        ModelErrorKind::Unauthorized => {
            "Give the server a key that the provider accepts, or choose another model."
        }
        ModelErrorKind::BadRequest | ModelErrorKind::NotFound => {
            "Mend the parameters, or choose another model."
        }
        _ => "Regenerate, or choose another model.",
    }
}
