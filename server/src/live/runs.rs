//! The runs of this node: starting, stopping and finding them.
//!
//! A run belongs to the server, not to whoever pressed the button: nothing here ends because a socket did.

use crate::domain::{
    gate::GateLimits,
    ledger::estimate_tokens,
    output::Output,
    prompt::{Cut, ModelRequest, request_hash},
    refusal::Refusal,
    run::Source,
};
use crate::live::{
    billing::Before,
    checkpoint::{Checkpoint, Going},
    clock::now_ms,
    commands::{Asked, UnderWay},
    place::{Place, Places},
    room::Room,
    runner::{self, Job},
    tape::Tape,
    tasks::Tasks,
};
use crate::model::{Model, Models};
use crate::store::{AttemptId, NewAttempt, NewRun, NodeId, StartOutcome, Store, StoreError};
use dashmap::DashMap;
use promptroom_protocol::{
    BlockKind, CommandId, Epoch, MemberId, Offset, Person, PromptId, RunId, RunOrigin, RunSummary,
};
use std::sync::{Arc, Weak};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Finished outputs that are read back from the store at one time.
const READS_AT_ONCE: usize = 8;

pub struct Runs {
    pub(super) store: Arc<Store>,
    pub(super) models: Arc<Models>,
    pub(super) checkpoint: Arc<Checkpoint>,
    pub(super) tasks: Tasks,
    pub(super) node: NodeId,
    pub(super) places: Arc<Places>,
    /// Held while a run is taken over.
    pub(super) recovering: tokio::sync::Mutex<()>,
    /// Commands under way: a repeat gets the answer of the first, which was cut before it.
    pub(super) commands: DashMap<(MemberId, CommandId), UnderWay>,
    tapes: DashMap<RunId, Weak<Tape>>,
    reads: Semaphore,
    rooms: DashMap<PromptId, Weak<Room>>,
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
            places: Places::new(limits),
            recovering: tokio::sync::Mutex::default(),
            commands: DashMap::new(),
            tapes: DashMap::new(),
            reads: Semaphore::new(READS_AT_ONCE),
            rooms: DashMap::new(),
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

    /// Tells whoever is in the run's room, or reads its output, how it stands.
    pub(super) fn announce(&self, run: &RunSummary) {
        if let Some(tape) = self.known_tape(run.id) {
            tape.note(run);
        }
        let room = self.rooms.get(&run.prompt).and_then(|room| room.upgrade());
        if let Some(room) = room {
            room.announce(run);
        }
    }

    /// Writes the run down and sends it on its way. A command that was seen before is only looked up.
    pub(super) async fn start(self: &Arc<Self>, start: Start) -> Result<RunSummary, Refusal> {
        if self.tasks.is_draining() {
            return Err(Refusal::Draining);
        }
        let Some(model) = self.models.find(&start.model_id) else {
            return Err(Refusal::ModelUnknown { model: start.model_id });
        };
        let id = RunId(Uuid::now_v7());
        // From here on the place at the gate is given back whatever happens.
        let (place, queue) = self.places.ask(id, &model, start.by.id)?;
        let new = new_run(id, self.node, &start, &model).map_err(unwritable)?;
        // Where a slot is free the attempt is written with the run: one commit before the request leaves.
        let attempt = match queue {
            None => Some(
                new_attempt(id, Epoch::FIRST, self.node, &model, &start.source.request)
                    .map_err(unwritable)?,
            ),
            Some(_) => None,
        };
        let started = match &attempt {
            Some(attempt) => self.store.start_and_admit_run(&new, attempt).await,
            None => self.store.start_run(&new).await,
        };
        let mut run = match started {
            Ok(StartOutcome::Started(run)) => run,
            Ok(StartOutcome::Repeated(run)) => {
                drop(place);
                return self.repeated(start.asked(), run).await;
            }
            Ok(StartOutcome::Gone) => return Err(Refusal::PromptDeleted),
            Err(error) => {
                if matches!(error, StoreError::Unavailable(_)) {
                    self.resolve_doubt(id);
                }
                return Err(unavailable(error));
            }
        };
        run.queue = queue;
        let (request, before) = (start.source.request, Before::default());
        let drive = Drive { place, run: run.clone(), model, request, attempt, stored: Offset(0), before };
        self.drive(drive, Output::new(id));
        Ok(run)
    }

    /// Drives a run whose row is there, in the epoch of its summary. It can be read before anybody is told of it.
    pub(super) fn drive(self: &Arc<Self>, drive: Drive, output: Output) {
        let Drive { place, run, model, request, attempt, stored, before } = drive;
        let tape = Tape::new(&run, output);
        self.tapes.insert(run.id, Arc::downgrade(&tape));
        let going = Going::new(run.epoch, tape, stored);
        self.checkpoint.add(&going);
        self.announce(&run);
        let job = Job { runs: self.clone(), going, place, run, model, request, attempt, before };
        self.tasks.spawn(runner::drive(job));
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
        let asked = Asked { prompt, command, by: by.id, origin: RunOrigin::Regenerate, parent: Some(run) };
        let started = match self.again(prompt, run).await {
            Ok((model_id, source)) => Box::pin(self.start(Start::child(asked, by, model_id, source))).await,
            Err(refusal) => Err(refusal),
        };
        self.or_repeated(asked, started).await
    }

    /// A child run that goes on where this one's text ends, where the model is known to accept that.
    pub async fn continue_from(
        self: &Arc<Self>,
        prompt: PromptId,
        run: RunId,
        command: CommandId,
        by: Person,
    ) -> Result<RunSummary, Refusal> {
        let asked = Asked { prompt, command, by: by.id, origin: RunOrigin::Continue, parent: Some(run) };
        let started = match self.further(prompt, run).await {
            Ok((model_id, source)) => Box::pin(self.start(Start::child(asked, by, model_id, source))).await,
            Err(refusal) => Err(refusal),
        };
        self.or_repeated(asked, started).await
    }

    async fn again(&self, prompt: PromptId, run: RunId) -> Result<(String, Source), Refusal> {
        let parent = self.run_of(prompt, run).await?;
        let mut source = self.source(run).await?;
        source.request.prefill = None;
        Ok((parent.model, source))
    }

    async fn further(&self, prompt: PromptId, run: RunId) -> Result<(String, Source), Refusal> {
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
        Ok((parent.model, source))
    }

    /// A run of this prompt; another prompt's is as if it did not exist.
    pub async fn run_of(&self, prompt: PromptId, run: RunId) -> Result<RunSummary, Refusal> {
        let found = self.store.run(run).await.map_err(unavailable)?;
        found.filter(|found| found.prompt == prompt).ok_or(Refusal::RunNotFound)
    }

    /// The output of a run: that of its driver, or read back from the store where it is over. Refused for the moment
    /// while a run that is not over has no driver: what is stored of it never ends.
    pub async fn tape(&self, prompt: PromptId, run: RunId) -> Result<Arc<Tape>, Refusal> {
        if let Some(tape) = self.known_tape(run) {
            return if tape.prompt == prompt { Ok(tape) } else { Err(Refusal::RunNotFound) };
        }
        let _permit = self.reads.acquire().await.map_err(|_| Refusal::Draining)?;
        let mut summary = self.run_of(prompt, run).await?;
        if let Some(tape) = self.known_tape(run) {
            return Ok(tape);
        }
        if !summary.state.is_terminal() {
            // It may have ended between the two looks.
            summary = self.run_of(prompt, run).await?;
        }
        if !summary.state.is_terminal() {
            return Err(Refusal::StoreUnavailable);
        }
        let stored = self.store.run_output(run).await.map_err(unavailable)?.ok_or(Refusal::RunNotFound)?;
        let claims = self.store.run_claims(run).await.map_err(unavailable)?;
        let starts = claims.into_iter().map(|claim| (claim.epoch, claim.start)).collect();
        let records = stored.records.into_iter().map(|record| (record.block, record.kind, record.bytes));
        let tape = Tape::new(&summary, Output::stored(run, stored.epoch, starts, records, true));
        self.tapes.insert(run, Arc::downgrade(&tape));
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
        self.tapes.get(&run).and_then(|tape| tape.upgrade()).filter(|tape| !tape.is_abandoned())
    }

    pub(super) fn forget_tape(&self, run: RunId) {
        self.tapes.remove_if(&run, |_, tape| tape.strong_count() == 0);
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
    pub before: Before,
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

    fn child(asked: Asked, by: Person, model_id: String, source: Source) -> Start {
        let Asked { prompt, command, origin, parent, .. } = asked;
        Start { prompt, command, by, origin, parent, model_id, source }
    }

    fn asked(&self) -> Asked {
        let Start { prompt, command, ref by, origin, parent, .. } = *self;
        Asked { prompt, command, by: by.id, origin, parent }
    }
}

/// The record of a request that is about to leave.
pub(super) fn new_attempt(
    run: RunId,
    epoch: Epoch,
    node: NodeId,
    model: &Model,
    request: &ModelRequest,
) -> serde_json::Result<NewAttempt> {
    let texts = request.messages.iter().map(|message| message.text.as_str());
    let texts = texts.chain(request.system.as_deref()).chain(request.prefill.as_deref());
    Ok(NewAttempt {
        id: AttemptId(Uuid::now_v7()),
        run,
        epoch,
        node,
        price_json: serde_json::to_string(&model.info.price)?,
        input_tokens: texts.map(estimate_tokens).sum(),
        now_ms: now_ms(),
    })
}

pub(super) fn new_run(id: RunId, node: NodeId, start: &Start, model: &Model) -> serde_json::Result<NewRun> {
    let request = &start.source.request;
    Ok(NewRun {
        id,
        prompt: start.prompt,
        command: start.command,
        by: start.by.id,
        node,
        origin: start.origin,
        parent: start.parent,
        variant: start.source.variant.clone(),
        model: start.model_id.clone(),
        parameters: serde_json::to_value(&request.parameters)?,
        request_json: model.wire_request(request).to_string(),
        source_json: serde_json::to_string(&start.source)?,
        hash: request_hash(request, &start.model_id),
        now_ms: now_ms(),
    })
}

/// What is to be written down has no JSON; nothing is run that could not be read again.
fn unwritable(error: serde_json::Error) -> Refusal {
    tracing::error!(%error, "a run cannot be written down");
    Refusal::Internal
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
