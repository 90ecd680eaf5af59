//! The runs of this node: starting, stopping and finding them.
//!
//! A run belongs to the server, not to whoever pressed the button: nothing here ends because a socket did.

use crate::bus::{Bus, Topic};
use crate::domain::{gate::GateLimits, output::Output, prompt::ModelRequest, refusal::Refusal, run::Source};
use crate::live::{
    billing::Before,
    checkpoint::Checkpoint,
    clock::new_id,
    commands::{Asked, UnderWay},
    going::Going,
    place::{Place, Places},
    room::Room,
    runner::{self, Job},
    start::{Start, Starting, new_attempt, new_run, unwritable},
    tape::Tape,
    tasks::Tasks,
};
use crate::model::{Model, Models};
use crate::store::{NewAttempt, NodeId, StartOutcome, Store, StoreError, StoredRecord};
use dashmap::{DashMap, Entry};
use promptroom_protocol::{
    BlockKind, CommandId, Epoch, MemberId, Offset, Person, PromptId, RunId, RunOrigin, RunSummary,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Finished outputs that are read back from the store at one time.
const READS_AT_ONCE: usize = 8;
/// Runs that are taken over at one time.
pub(super) const RECOVERIES_AT_ONCE: usize = 8;

pub struct Runs {
    pub(super) store: Arc<Store>,
    pub(super) models: Arc<Models>,
    pub(super) checkpoint: Arc<Checkpoint>,
    pub(super) bus: Bus,
    pub(super) tasks: Tasks,
    pub(super) node: NodeId,
    pub(super) places: Arc<Places>,
    /// Nobody else uses the database: whatever is not driven here is driven by nobody.
    pub(super) alone: bool,
    /// One of them is held while a run is taken over, by its id.
    pub(super) recovering: [Mutex<()>; RECOVERIES_AT_ONCE],
    /// Runs whose start is on its way to the store: they are driven as soon as its answer is here.
    pub(super) starting: parking_lot::Mutex<BTreeSet<RunId>>,
    /// Commands under way: a repeat gets the answer of the first, which was cut before it.
    pub(super) commands: DashMap<(MemberId, CommandId), UnderWay>,
    /// Drivers let go of their runs, for others to take.
    pub(super) leaving: CancellationToken,
    pub(super) drivers: TaskTracker,
    /// Rung when a run that is followed has more than is here.
    pub(super) follow: Notify,
    pub(super) tapes: DashMap<RunId, Weak<Tape>>,
    /// This node's life is in the store, so that its death will be seen.
    known: CancellationToken,
    reads: Semaphore,
    rooms: DashMap<PromptId, Weak<Room>>,
}

/// What the runs of a node need.
pub struct RunsParts {
    pub store: Arc<Store>,
    pub models: Arc<Models>,
    pub checkpoint: Arc<Checkpoint>,
    pub bus: Bus,
    pub limits: GateLimits,
    pub node: NodeId,
    /// This process holds the lock on the database.
    pub alone: bool,
    pub tasks: Tasks,
}

impl Runs {
    pub fn new(parts: RunsParts) -> Arc<Self> {
        let RunsParts { store, models, checkpoint, bus, limits, node, alone, tasks } = parts;
        let runs = Arc::new(Runs {
            store,
            models,
            checkpoint,
            bus,
            tasks,
            node,
            places: Places::new(limits),
            alone,
            recovering: Default::default(),
            starting: parking_lot::Mutex::default(),
            commands: DashMap::new(),
            leaving: CancellationToken::new(),
            drivers: TaskTracker::new(),
            follow: Notify::new(),
            tapes: DashMap::new(),
            known: CancellationToken::new(),
            reads: Semaphore::new(READS_AT_ONCE),
            rooms: DashMap::new(),
        });
        if alone {
            runs.is_known();
        }
        runs.tasks.spawn_vital("runs of other nodes", runs.clone().follow());
        runs
    }

    /// From now on the room is told of its runs.
    pub fn attach(&self, room: &Arc<Room>) {
        self.rooms.insert(room.prompt, Arc::downgrade(room));
    }

    pub fn detach(&self, prompt: PromptId) {
        self.rooms.remove_if(&prompt, |_, room| room.upgrade().is_none_or(|room| room.is_ended()));
        self.tapes.retain(|_, tape| tape.strong_count() > 0);
    }

    pub(super) fn room(&self, prompt: PromptId) -> Option<Arc<Room>> {
        self.rooms.get(&prompt).and_then(|room| room.upgrade())
    }

    /// From now on runs may be driven here: should this node die, others will see it.
    pub(super) fn is_known(&self) {
        self.known.cancel();
    }

    pub(super) async fn until_known(&self) {
        self.known.cancelled().await;
    }

    /// Runs that this node drives now.
    pub fn going(&self) -> usize {
        self.checkpoint.count()
    }

    /// Writes the run down and sends it on its way. A command that was seen before is only looked up.
    pub(super) async fn start(self: &Arc<Self>, start: Start) -> Result<RunSummary, Refusal> {
        if self.tasks.is_draining() {
            return Err(Refusal::Draining);
        }
        if !self.known.is_cancelled() {
            return Err(Refusal::StoreUnavailable);
        }
        let Some(model) = self.models.find(&start.model_id) else {
            return Err(Refusal::ModelUnknown { model: start.model_id });
        };
        let id = RunId(new_id());
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
        let starting = Starting::begin(self, id);
        let started = match &attempt {
            Some(attempt) => self.store.start_and_admit_run(&new, attempt).await,
            None => self.store.start_run(&new).await,
        };
        let mut run = match started {
            Ok(StartOutcome::Started(run)) => run,
            Ok(StartOutcome::Repeated(run)) => {
                drop((place, starting));
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
        drop(starting);
        Ok(run)
    }

    /// Drives a run whose row is there, in the epoch of its summary. It can be read before anybody is told of it.
    pub(super) fn drive(self: &Arc<Self>, drive: Drive, output: Output) {
        let Drive { place, run, model, request, attempt, stored, before } = drive;
        let tape = self.tape_to_drive(&run, output);
        let going = Going::new(run.epoch, tape.clone(), stored);
        self.checkpoint.add(&going);
        self.announce(&run);
        if self.bus.has_others() && !tape.is_heard() {
            // A stop that is asked for elsewhere is heard at once; its row says so too, a little later.
            let hearing = self.clone();
            self.tasks.spawn(async move {
                tape.keep_hearing(hearing.bus.subscribe(Topic::Room(tape.prompt)).await);
            });
        }
        let job = Job { runs: self.clone(), going, place, run, model, request, attempt, before };
        self.tasks.spawn(self.drivers.track_future(runner::drive(job)));
    }

    /// The tape that its readers hold already, if there are any.
    fn tape_to_drive(&self, run: &RunSummary, output: Output) -> Arc<Tape> {
        match self.tapes.entry(run.id) {
            Entry::Occupied(mut known) => {
                if let Some(tape) = known.get().upgrade().filter(|tape| !tape.is_abandoned()) {
                    tape.drive(run, output);
                    return tape;
                }
                let tape = Tape::driven(run, output, &self.bus);
                known.insert(Arc::downgrade(&tape));
                tape
            }
            Entry::Vacant(vacant) => {
                let tape = Tape::driven(run, output, &self.bus);
                vacant.insert(Arc::downgrade(&tape));
                tape
            }
        }
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
        let asked = self.store.request_cancel(run, by).await.map_err(unavailable)?;
        self.tell_cancel(prompt, run, by);
        asked.ok_or(Refusal::RunNotFound)
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

    /// The output of a run, wherever it is driven: written here, followed, or read back from the store where it is over.
    pub async fn tape(&self, prompt: PromptId, run: RunId) -> Result<Arc<Tape>, Refusal> {
        if let Some(tape) = self.known_tape(run) {
            return if tape.prompt == prompt { Ok(tape) } else { Err(Refusal::RunNotFound) };
        }
        let _permit = self.reads.acquire().await.map_err(|_| Refusal::Draining)?;
        let summary = self.run_of(prompt, run).await?;
        let tape = if summary.state.is_terminal() {
            self.stored_tape(&summary).await?
        } else {
            let tape = Tape::followed(&summary, &self.bus);
            // Before it is read for the first time: what is told meanwhile counts.
            tape.keep_hearing(self.bus.subscribe(Topic::Room(prompt)).await);
            tape
        };
        let mut known = self.tapes.entry(run).or_default();
        if let Some(tape) = known.upgrade().filter(|tape| !tape.is_abandoned()) {
            return Ok(tape);
        }
        *known = Arc::downgrade(&tape);
        drop(known);
        self.follow_soon();
        Ok(tape)
    }

    /// What a run has put out until now, as its viewers see it: on its driver's node, or where it is stored.
    pub async fn output(&self, prompt: PromptId, run: RunId) -> Result<Vec<StoredRecord>, Refusal> {
        let here = self.known_tape(run).filter(|tape| tape.prompt == prompt);
        if let Some(output) = here.and_then(|tape| tape.all()) {
            return Ok(output);
        }
        let stored = self.store.run_output(run).await.map_err(unavailable)?;
        stored.map(|stored| stored.records).ok_or(Refusal::RunNotFound)
    }

    async fn stored_tape(&self, run: &RunSummary) -> Result<Arc<Tape>, Refusal> {
        let stored = self.store.run_output(run.id).await.map_err(unavailable)?.ok_or(Refusal::RunNotFound)?;
        let claims = self.store.run_claims(run.id).await.map_err(unavailable)?;
        let starts = claims.into_iter().map(|claim| (claim.epoch, claim.start)).collect();
        let records = stored.records.into_iter().map(|record| (record.block, record.kind, record.bytes));
        let output = Output::stored(run.id, stored.epoch, starts, records, true);
        Ok(Tape::over(run, output, &self.bus))
    }

    pub async fn source(&self, run: RunId) -> Result<Source, Refusal> {
        let detail = self.store.run_detail(run).await.map_err(unavailable)?.ok_or(Refusal::RunNotFound)?;
        serde_json::from_str(&detail.source_json).map_err(|error| {
            tracing::error!(run.id = %run, %error, "a run's source cannot be read");
            Refusal::Internal
        })
    }

    pub(super) fn known_tape(&self, run: RunId) -> Option<Arc<Tape>> {
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
