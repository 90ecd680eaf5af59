//! What members ask of runs: each command is answered once, however often it is sent.

use crate::domain::{prompt::Cut, refusal::Refusal};
use crate::live::{member::Member, room::Room, runs::Runs, start::Start};
use crate::store::NodeId;
use dashmap::Entry;
use promptroom_protocol::{
    CommandId, MemberId, Person, PromptId, Reply, ReplyBody, RunId, RunOrigin, RunSummary, ServerFrame,
};
use std::{future::Future, sync::Arc};
use tokio::sync::watch;

/// A command under way; a repeat gets its answer.
pub(super) type UnderWay = watch::Receiver<Option<Result<RunSummary, Refusal>>>;

/// What a command would start, to know a repeat of it from another command under the same id.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub prompt: PromptId,
    pub command: CommandId,
    pub by: MemberId,
    pub origin: RunOrigin,
    pub parent: Option<RunId>,
}

impl Asked {
    /// The run that this command started, unless it started another one than is asked for now.
    pub(super) fn same(&self, run: RunSummary) -> Result<RunSummary, Refusal> {
        let is_same = run.prompt == self.prompt && run.origin == self.origin && run.parent == self.parent;
        if is_same { Ok(run) } else { Err(Refusal::IdempotencyConflict) }
    }
}

impl Runs {
    /// Starts what a room has cut for one of its members; the member gets the reply.
    pub fn start_for(
        self: &Arc<Self>,
        room: &Arc<Room>,
        member: Arc<Member>,
        command: CommandId,
        cut: Result<Cut, Refusal>,
    ) {
        let (prompt, by) = (room.prompt, member.person(None));
        let runs = self.clone();
        self.reply_with(member, command, async move { runs.run(prompt, command, by, cut).await });
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

    /// Does `work` to its end, whoever hangs up meanwhile; the same command of the same member that comes while it is
    /// under way waits for its answer instead of doing it again.
    pub async fn once(
        self: &Arc<Self>,
        by: MemberId,
        command: CommandId,
        work: impl Future<Output = Result<RunSummary, Refusal>> + Send + 'static,
    ) -> Result<RunSummary, Refusal> {
        let mut under_way = self.begin(by, command, work);
        match under_way.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Err(Refusal::Internal)),
            // It panicked.
            Err(_) => Err(Refusal::Internal),
        }
    }

    fn begin(
        self: &Arc<Self>,
        by: MemberId,
        command: CommandId,
        work: impl Future<Output = Result<RunSummary, Refusal>> + Send + 'static,
    ) -> UnderWay {
        let (done, under_way) = watch::channel(None);
        let key = (by, command);
        match self.commands.entry(key) {
            // A sender that is gone without an answer panicked.
            Entry::Occupied(earlier) if earlier.get().has_changed().is_ok() => return earlier.get().clone(),
            Entry::Occupied(mut dead) => {
                dead.insert(under_way.clone());
            }
            Entry::Vacant(vacant) => {
                vacant.insert(under_way.clone());
            }
        }
        let runs = self.clone();
        self.tasks.spawn(async move {
            let result = work.await;
            runs.commands.remove(&key);
            done.send_replace(Some(result));
        });
        under_way
    }

    fn reply_with(
        self: &Arc<Self>,
        member: Arc<Member>,
        id: CommandId,
        work: impl Future<Output = Result<RunSummary, Refusal>> + Send + 'static,
    ) {
        let request = member.request_id;
        // Begun here and not in the task, so that commands keep their order.
        let mut under_way = self.begin(member.id, id, work);
        self.tasks.spawn(async move {
            let result = match under_way.wait_for(Option::is_some).await {
                Ok(result) => result.clone().unwrap_or(Err(Refusal::Internal)),
                Err(_) => Err(Refusal::Internal),
            };
            let body = match result {
                Ok(run) => ReplyBody::Ok { run: Box::new(run) },
                Err(refusal) => ReplyBody::Error(Box::new(refusal.problem(Some(request)))),
            };
            member.reply(ServerFrame::Reply(Box::new(Reply { id, body })).encode());
        });
    }

    /// Runs what was cut. A repeated command gets the run that it started, even where it would be refused now.
    pub async fn run(
        self: &Arc<Self>,
        prompt: PromptId,
        command: CommandId,
        by: Person,
        cut: Result<Cut, Refusal>,
    ) -> Result<RunSummary, Refusal> {
        let asked = Asked { prompt, command, by: by.id, origin: RunOrigin::Run, parent: None };
        let started = match cut {
            Ok(cut) => Box::pin(self.start(Start::from_cut(prompt, command, by, cut))).await,
            Err(refusal) => Err(refusal),
        };
        self.or_repeated(asked, started).await
    }

    /// Lets a refusal stand only if the command did not start a run before.
    pub(super) async fn or_repeated(
        self: &Arc<Self>,
        asked: Asked,
        started: Result<RunSummary, Refusal>,
    ) -> Result<RunSummary, Refusal> {
        let refusal = match started {
            Ok(run) => return Ok(run),
            Err(refusal) => refusal,
        };
        match self.store.run_by_command(asked.by, asked.command).await {
            Ok(Some(run)) => self.repeated(asked, run).await,
            Ok(None) | Err(_) => Err(refusal),
        }
    }

    /// The run of a repeated command; one that nobody drives, because its start here was in doubt, is driven from now on.
    /// What another node drives, or left behind, is not touched.
    pub(super) async fn repeated(
        self: &Arc<Self>,
        asked: Asked,
        run: RunSummary,
    ) -> Result<RunSummary, Refusal> {
        let run = asked.same(run)?;
        if run.state.is_terminal() || self.checkpoint.find(run.id).is_some() {
            return Ok(run);
        }
        let is_ours = |owner: NodeId| owner == self.node;
        if let Err(error) = Box::pin(self.recover(run.id, is_ours)).await {
            tracing::warn!(%error, run.id = %run.id, "a run that nobody drives could not be taken over");
        }
        Ok(run)
    }
}
