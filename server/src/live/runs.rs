//! The runs of this node: starting, stopping and finding them.
//!
//! A run belongs to the server, not to whoever pressed the button: nothing here ends because a socket did.

use crate::domain::{
    gate::{Decision, Gate, GateLimits, GateRefusal},
    ledger::estimate_tokens,
    output::Output,
    prompt::{Cut, ModelRequest, request_hash},
    refusal::Refusal,
    run::Source,
};
use crate::live::{
    checkpoint::{Checkpoint, Going},
    clock::now_ms,
    member::Member,
    room::Room,
    runner::{self, Job},
    tape::Tape,
    tasks::Tasks,
};
use crate::model::{Model, Models};
use crate::store::{AttemptId, NewAttempt, NewRun, NodeId, StartOutcome, Store, StoreError};
use dashmap::{DashMap, Entry};
use parking_lot::Mutex;
use promptroom_protocol::{
    BlockKind, CommandId, Epoch, MemberId, Offset, Person, PromptId, Reply, ReplyBody, RunId, RunOrigin,
    RunSummary, ServerFrame,
};
use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Weak},
};
use tokio::sync::{Notify, Semaphore, watch};
use uuid::Uuid;

/// Finished outputs that are read back from the store at one time.
const READS_AT_ONCE: usize = 8;

pub struct Runs {
    pub(super) store: Arc<Store>,
    pub(super) models: Arc<Models>,
    pub(super) checkpoint: Arc<Checkpoint>,
    pub(super) tasks: Tasks,
    pub(super) node: NodeId,
    gate: Mutex<Gate>,
    /// Runs at the gate, each with the bell that tells it to start.
    waiting: Mutex<HashMap<RunId, Arc<Notify>>>,
    tapes: DashMap<RunId, Weak<Tape>>,
    reads: Semaphore,
    rooms: DashMap<PromptId, Weak<Room>>,
    /// Commands under way: a repeat gets the answer of the first, which was cut before it.
    commands: DashMap<(MemberId, CommandId), watch::Receiver<Option<Result<RunSummary, Refusal>>>>,
}

/// A run to start.
pub struct Start {
    pub prompt: PromptId,
    pub command: CommandId,
    pub by: Person,
    pub origin: RunOrigin,
    pub parent: Option<RunId>,
    pub model_id: String,
    pub source: Source,
}

impl Runs {
    pub fn new(
        store: Arc<Store>,
        models: Arc<Models>,
        checkpoint: Arc<Checkpoint>,
        limits: GateLimits,
        node: NodeId,
        tasks: Tasks,
    ) -> Arc<Self> {
        Arc::new(Runs {
            store,
            models,
            checkpoint,
            tasks,
            node,
            gate: Mutex::new(Gate::new(limits)),
            waiting: Mutex::default(),
            tapes: DashMap::new(),
            reads: Semaphore::new(READS_AT_ONCE),
            rooms: DashMap::new(),
            commands: DashMap::new(),
        })
    }

    /// From now on the room is told of its runs.
    pub fn attach(&self, room: &Arc<Room>) {
        self.rooms.insert(room.prompt, Arc::downgrade(room));
    }

    pub fn detach(&self, prompt: PromptId) {
        self.rooms.remove_if(&prompt, |_, room| room.upgrade().is_none_or(|room| room.is_ended()));
        self.tapes.retain(|_, tape| tape.strong_count() > 0);
    }

    /// Runs that this node drives now.
    pub fn going(&self) -> usize {
        self.checkpoint.count()
    }

    pub(super) fn announce(&self, run: &RunSummary) {
        let room = self.rooms.get(&run.prompt).and_then(|room| room.upgrade());
        if let Some(room) = room {
            room.announce(run);
        }
    }

    /// Starts what a room has cut for one of its members; the member gets the reply.
    pub fn start_for(self: &Arc<Self>, room: &Arc<Room>, member: Arc<Member>, command: CommandId, cut: Cut) {
        let start = Start::from_cut(room.prompt, command, member.person(None), cut);
        let runs = self.clone();
        self.reply_with(member, command, async move { runs.start(start).await });
    }

    pub fn cancel_for(
        self: &Arc<Self>,
        room: &Arc<Room>,
        member: Arc<Member>,
        command: CommandId,
        run: RunId,
    ) {
        let (runs, prompt, by) = (self.clone(), room.prompt, member.id);
        self.reply_with(member, command, async move { runs.cancel(prompt, run, by).await });
    }

    pub fn regenerate_for(
        self: &Arc<Self>,
        room: &Arc<Room>,
        member: Arc<Member>,
        command: CommandId,
        run: RunId,
    ) {
        let (runs, prompt, by) = (self.clone(), room.prompt, member.person(None));
        self.reply_with(member, command, async move { runs.regenerate(prompt, run, command, by).await });
    }

    pub fn continue_for(
        self: &Arc<Self>,
        room: &Arc<Room>,
        member: Arc<Member>,
        command: CommandId,
        run: RunId,
    ) {
        let (runs, prompt, by) = (self.clone(), room.prompt, member.person(None));
        self.reply_with(member, command, async move { runs.continue_from(prompt, run, command, by).await });
    }

    fn reply_with(
        self: &Arc<Self>,
        member: Arc<Member>,
        id: CommandId,
        work: impl Future<Output = Result<RunSummary, Refusal>> + Send + 'static,
    ) {
        let (done, under_way) = watch::channel(None);
        let key = (member.id, id);
        let mut earlier = match self.commands.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(under_way);
                None
            }
            Entry::Occupied(occupied) => Some(occupied.get().clone()),
        };
        let runs = self.clone();
        self.tasks.spawn(async move {
            let result = match &mut earlier {
                None => {
                    let result = work.await;
                    done.send_replace(Some(result.clone()));
                    runs.commands.remove(&key);
                    result
                }
                Some(earlier) => match earlier.wait_for(Option::is_some).await {
                    Ok(result) => result.clone().unwrap_or(Err(Refusal::Internal)),
                    Err(_) => Err(Refusal::Internal),
                },
            };
            let body = match result {
                Ok(run) => ReplyBody::Ok { run: Box::new(run) },
                Err(refusal) => ReplyBody::Error(Box::new(refusal.problem(None))),
            };
            member.reply(ServerFrame::Reply(Box::new(Reply { id, body })).encode());
        });
    }

    /// Writes the run down and sends it on its way. A command that was seen before is only looked up.
    pub async fn start(self: &Arc<Self>, start: Start) -> Result<RunSummary, Refusal> {
        if self.tasks.is_draining() {
            return Err(Refusal::Draining);
        }
        let Some(model) = self.models.find(&start.model_id) else {
            return Err(Refusal::ModelUnknown { model: start.model_id });
        };
        let id = RunId(Uuid::now_v7());
        let slots = model.lane().slots as usize;
        let decision = self.gate.lock().ask(id, &model.lane().name, slots, start.by.id);
        match decision {
            Decision::Refused(GateRefusal::LaneQueueFull { waiting }) => {
                return Err(Refusal::LaneQueueFull { waiting });
            }
            Decision::Refused(GateRefusal::MemberQueueFull { waiting }) => {
                return Err(Refusal::MemberQueueFull { waiting });
            }
            Decision::Queued(_) | Decision::Admitted => {}
        }
        // From here on the place at the gate is given back whatever happens.
        let place = self.place(id, matches!(decision, Decision::Admitted));
        let new = new_run(id, self.node, &start, &model);
        // Where a slot is free the attempt is written with the run: one commit before the request leaves.
        let attempt = matches!(decision, Decision::Admitted)
            .then(|| new_attempt(id, Epoch::FIRST, self.node, &model, &start.source.request));
        let started = match &attempt {
            Some(attempt) => self.store.start_and_admit_run(&new, attempt).await,
            None => self.store.start_run(&new).await,
        };
        let mut run = match started.map_err(unavailable)? {
            StartOutcome::Started(run) => run,
            StartOutcome::Repeated(run) => return Ok(run),
            StartOutcome::Gone => return Err(Refusal::PromptDeleted),
        };
        if let Decision::Queued(queue) = decision {
            run.queue = Some(queue);
        }
        self.announce(&run);
        let request = start.source.request;
        self.drive(
            Drive { place, run: run.clone(), model, request, attempt, stored: Offset(0) },
            Output::new(id),
        );
        Ok(run)
    }

    /// Drives a run whose row is there, in the epoch of its summary.
    pub(super) fn drive(self: &Arc<Self>, drive: Drive, output: Output) {
        let Drive { place, run, model, request, attempt, stored } = drive;
        let tape = Tape::new(run.prompt, run.id, output);
        self.tapes.insert(run.id, Arc::downgrade(&tape));
        let going = Going::new(run.epoch, tape, stored);
        self.checkpoint.add(&going);
        let job = Job { runs: self.clone(), going, place, run, model, request, attempt };
        self.tasks.spawn(runner::drive(job));
    }

    /// A place at the gate for a run that is not asked for but taken over.
    pub(super) fn place_for(self: &Arc<Self>, run: RunId, model: &Model, member: MemberId) -> Place {
        let lane = model.lane();
        let decision = self.gate.lock().ask(run, &lane.name, lane.slots as usize, member);
        // What was running when its driver died goes on even if the queue is full.
        self.place(run, !matches!(decision, Decision::Queued(_)))
    }

    /// Stops a run: at once if it is here, and by its row wherever it is.
    pub async fn cancel(&self, prompt: PromptId, run: RunId, by: MemberId) -> Result<RunSummary, Refusal> {
        let going = self.checkpoint.find(run).filter(|going| going.tape.prompt == prompt);
        if let Some(going) = going {
            going.cancel(by);
        }
        let known = self.run_of(prompt, run).await?;
        if known.state.is_terminal() {
            return Ok(known);
        }
        self.store.request_cancel(run, by).await.map_err(unavailable)?.ok_or(Refusal::RunNotFound)
    }

    /// The same request once more, as a run of its own.
    pub async fn regenerate(
        self: &Arc<Self>,
        prompt: PromptId,
        run: RunId,
        command: CommandId,
        by: Person,
    ) -> Result<RunSummary, Refusal> {
        let parent = self.run_of(prompt, run).await?;
        let mut source = self.source(run).await?;
        source.request.prefill = None;
        let origin = RunOrigin::Regenerate;
        self.start(Start { prompt, command, by, origin, parent: Some(run), model_id: parent.model, source })
            .await
    }

    /// A child run that goes on where this one's text ends, where the model is known to accept that.
    pub async fn continue_from(
        self: &Arc<Self>,
        prompt: PromptId,
        run: RunId,
        command: CommandId,
        by: Person,
    ) -> Result<RunSummary, Refusal> {
        let parent = self.run_of(prompt, run).await?;
        if !parent.state.is_terminal() {
            return Err(Refusal::RunStillGoing);
        }
        let model = self.models.find(&parent.model);
        if !model.is_some_and(|model| model.info.prefill) {
            return Err(Refusal::ModelCannotContinue { model: parent.model });
        }
        let mut source = self.source(run).await?;
        let stored = self.store.run_output(run).await.map_err(unavailable)?.ok_or(Refusal::RunNotFound)?;
        let mut text = source.request.prefill.take().unwrap_or_default();
        for record in &stored.records {
            if record.kind != BlockKind::Text {
                return Err(Refusal::RunHasNoText);
            }
            text.push_str(&String::from_utf8_lossy(&record.bytes));
        }
        let kept = text.trim_end();
        if kept.is_empty() {
            return Err(Refusal::RunHasNoText);
        }
        source.request.prefill = Some(kept.to_owned());
        let origin = RunOrigin::Continue;
        self.start(Start { prompt, command, by, origin, parent: Some(run), model_id: parent.model, source })
            .await
    }

    /// A run of this prompt; another prompt's is as if it did not exist.
    pub async fn run_of(&self, prompt: PromptId, run: RunId) -> Result<RunSummary, Refusal> {
        let found = self.store.run(run).await.map_err(unavailable)?;
        found.filter(|found| found.prompt == prompt).ok_or(Refusal::RunNotFound)
    }

    /// The output of a run, live or read back from the store.
    pub async fn tape(&self, prompt: PromptId, run: RunId) -> Result<Arc<Tape>, Refusal> {
        if let Some(tape) = self.known_tape(run) {
            return if tape.prompt == prompt { Ok(tape) } else { Err(Refusal::RunNotFound) };
        }
        let _permit = self.reads.acquire().await.map_err(|_| Refusal::Draining)?;
        if let Some(tape) = self.known_tape(run) {
            return if tape.prompt == prompt { Ok(tape) } else { Err(Refusal::RunNotFound) };
        }
        let summary = self.run_of(prompt, run).await?;
        let stored = self.store.run_output(run).await.map_err(unavailable)?.ok_or(Refusal::RunNotFound)?;
        let claims = self.store.run_claims(run).await.map_err(unavailable)?;
        let starts = claims.into_iter().map(|claim| (claim.epoch, claim.start)).collect();
        let records = stored.records.into_iter().map(|record| (record.block, record.kind, record.bytes));
        let output = Output::stored(run, stored.epoch, starts, records, summary.state.is_terminal());
        let tape = Tape::new(prompt, run, output);
        if summary.state.is_terminal() {
            self.tapes.insert(run, Arc::downgrade(&tape));
        }
        Ok(tape)
    }

    pub async fn source(&self, run: RunId) -> Result<Source, Refusal> {
        let detail = self.store.run_detail(run).await.map_err(unavailable)?.ok_or(Refusal::RunNotFound)?;
        serde_json::from_str(&detail.source_json).map_err(|error| {
            tracing::error!(run.id = %run, %error, "a run's source cannot be read");
            Refusal::Internal
        })
    }

    fn known_tape(&self, run: RunId) -> Option<Arc<Tape>> {
        self.tapes.get(&run).and_then(|tape| tape.upgrade())
    }

    pub(super) fn forget_tape(&self, run: RunId) {
        self.tapes.remove_if(&run, |_, tape| tape.strong_count() == 0);
    }

    pub(super) fn queue_place(&self, run: RunId) -> Option<promptroom_protocol::QueuePlace> {
        self.gate.lock().place(run)
    }

    fn place(self: &Arc<Self>, run: RunId, admitted: bool) -> Place {
        let bell = Arc::new(Notify::new());
        if admitted {
            bell.notify_one();
        }
        self.waiting.lock().insert(run, bell.clone());
        // It may have been admitted between the question and this.
        if !admitted && self.gate.lock().place(run).is_none() {
            bell.notify_one();
        }
        Place { runs: self.clone(), run, bell }
    }

    fn leave_gate(&self, run: RunId) {
        self.waiting.lock().remove(&run);
        let admitted = {
            let mut gate = self.gate.lock();
            gate.leave(run);
            gate.release(run)
        };
        let waiting = self.waiting.lock();
        for next in admitted {
            if let Some(bell) = waiting.get(&next) {
                bell.notify_one();
            }
        }
    }
}

/// A run that is ready to be driven.
pub(super) struct Drive {
    pub place: Place,
    pub run: RunSummary,
    pub model: Model,
    pub request: ModelRequest,
    /// The attempt that was written with the run.
    pub attempt: Option<NewAttempt>,
    /// How much of the output is in the store.
    pub stored: Offset,
}

/// A run's place at the gate, in the queue or past it; dropping it gives it back.
pub struct Place {
    runs: Arc<Runs>,
    run: RunId,
    bell: Arc<Notify>,
}

impl Place {
    /// Resolves when the run may start.
    pub async fn admitted(&self) {
        self.bell.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.runs.leave_gate(self.run);
    }
}

impl Start {
    pub fn from_cut(prompt: PromptId, command: CommandId, by: Person, cut: Cut) -> Start {
        let source = Source {
            content: cut.source,
            variant: cut.variant_id,
            values: cut.values,
            unset: cut.unset,
            request: cut.request,
        };
        Start { prompt, command, by, origin: RunOrigin::Run, parent: None, model_id: cut.model_id, source }
    }
}

/// The record of a request that is about to leave.
pub(super) fn new_attempt(
    run: RunId,
    epoch: Epoch,
    node: NodeId,
    model: &Model,
    request: &ModelRequest,
) -> NewAttempt {
    let texts = request.messages.iter().map(|message| message.text.as_str());
    let texts = texts.chain(request.system.as_deref()).chain(request.prefill.as_deref());
    NewAttempt {
        id: AttemptId(Uuid::now_v7()),
        run,
        epoch,
        node,
        price_json: serde_json::to_string(&model.info.price).unwrap_or_default(),
        input_tokens: texts.map(estimate_tokens).sum(),
        now_ms: now_ms(),
    }
}

fn new_run(id: RunId, node: NodeId, start: &Start, model: &Model) -> NewRun {
    let request = &start.source.request;
    NewRun {
        id,
        prompt: start.prompt,
        command: start.command,
        by: start.by.id,
        node,
        origin: start.origin,
        parent: start.parent,
        variant: start.source.variant.clone(),
        model: start.model_id.clone(),
        parameters: serde_json::to_value(&request.parameters).unwrap_or_default(),
        request_json: model.wire_request(request).to_string(),
        source_json: serde_json::to_string(&start.source).unwrap_or_default(),
        hash: request_hash(request, &start.model_id),
        now_ms: now_ms(),
    }
}

/// A failure of the store, told to people; operators find it in the log.
pub fn unavailable(error: StoreError) -> Refusal {
    if error.is_transient() {
        tracing::warn!(%error, "the store did not answer");
        Refusal::StoreUnavailable
    } else {
        tracing::error!(%error, "the store failed");
        Refusal::Internal
    }
}
