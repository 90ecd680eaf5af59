//! Taking over a run that nobody drives: it goes on, begins again or is interrupted, as its output allows.

use crate::domain::{
    output::Output,
    prompt::ModelRequest,
    refusal::Refusal,
    run::{Recovery, Source, recover},
};
use crate::live::{
    billing::{Before, estimate},
    checkpoint::{Ending, Going},
    clock::now_ms,
    runs::{Drive, Runs},
    tape::Tape,
};
use crate::store::{Claim, ClaimOutcome, StoreError, StoredRecord};
use bytes::Bytes;
use promptroom_protocol::{BlockKind, Epoch, MemberId, Offset, Problem, RunId, RunState, RunSummary};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

const DOUBT_PAUSE: Duration = Duration::from_secs(1);
const INTERRUPTED: &str =
    "The server was stopped while the model answered, and this model cannot go on in mid-answer.";

/// All that is read of a run before it is claimed: once it is ours nothing may fail any more.
struct Found {
    run: RunSummary,
    records: Vec<StoredRecord>,
    starts: Vec<(Epoch, Offset)>,
    source: Option<Source>,
}

impl Runs {
    /// Claims the run in a new epoch and drives or ends it. Does nothing if it is driven here, or over.
    pub(super) async fn recover(self: &Arc<Self>, id: RunId) -> Result<(), StoreError> {
        // One at a time: of two that find it undriven the second must see what the first did.
        let _alone = self.recovering.lock().await;
        if self.checkpoint.find(id).is_some() {
            return Ok(());
        }
        let Some(found) = self.find_undriven(id).await? else { return Ok(()) };
        let model = self.models.find(&found.run.model);
        let prefill = model.as_ref().is_some_and(|model| model.info.prefill);
        let blocks: Vec<(u32, BlockKind, &[u8])> =
            found.records.iter().map(|record| (record.block, record.kind, &record.bytes[..])).collect();
        let recovery = recover(&blocks, found.run.attempts, prefill);
        let trim_to = match &recovery {
            Recovery::Prefill { trim_to, .. } => Some(*trim_to),
            Recovery::Restart | Recovery::Interrupt => None,
        };
        let claim = Claim { run: id, seen: found.run.epoch, node: self.node, trim_to, now_ms: now_ms() };
        let ClaimOutcome::Claimed { epoch, stored, cancel } = self.store.claim_run(&claim, estimate).await?
        else {
            return Ok(());
        };
        let Found { run, records, mut starts, source } = found;
        starts.push((epoch, stored));
        let output = Output::stored(id, epoch, starts, up_to(stored, records), false);
        let run = self.claimed(run, epoch, stored).await;
        let request = if cancel.is_some() { None } else { source.and_then(|source| next(recovery, source)) };
        if let (Some(request), Some(model)) = (request, model) {
            tracing::info!(run.id = %id, epoch = epoch.0, from = stored.0, "a run goes on");
            let before = Before { usage: run.usage, cost: run.cost };
            let place = self.places.take_over(id, &model, run.by.id);
            self.drive(Drive { place, run, model, request, attempt: None, stored, before }, output);
        } else {
            self.end_undriven(run, output, stored, cancel).await;
        }
        Ok(())
    }

    /// A start whose commit failed may have been done all the same: then the run is driven, whether or not its author
    /// asks again.
    pub(super) fn resolve_doubt(self: &Arc<Self>, id: RunId) {
        let runs = self.clone();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = sleep(DOUBT_PAUSE) => {}
                    () = runs.tasks.stopped() => return,
                }
                match runs.recover(id).await {
                    Ok(()) => return,
                    Err(error) if error.is_transient() => {}
                    Err(error) => {
                        tracing::error!(%error, run.id = %id, "a run whose start was in doubt is lost");
                        return;
                    }
                }
            }
        });
    }

    async fn find_undriven(&self, id: RunId) -> Result<Option<Found>, StoreError> {
        let Some(run) = self.store.run(id).await? else { return Ok(None) };
        if run.state.is_terminal() {
            return Ok(None);
        }
        let Some(stored) = self.store.run_output(id).await? else { return Ok(None) };
        let claims = self.store.run_claims(id).await?;
        let starts = claims.into_iter().map(|claim| (claim.epoch, claim.start)).collect();
        let detail = self.store.run_detail(id).await?;
        let source = detail.and_then(|detail| {
            let source = serde_json::from_str(&detail.source_json);
            source
                .inspect_err(|error| tracing::error!(run.id = %id, %error, "a run's source cannot be read"))
                .ok()
        });
        Ok(Some(Found { run, records: stored.records, starts, source }))
    }

    /// The run as its room is to see it: from the store, or where that is away just now, as it was read before.
    async fn claimed(&self, known: RunSummary, epoch: Epoch, stored: Offset) -> RunSummary {
        match self.store.run(known.id).await {
            Ok(Some(run)) => run,
            Ok(None) | Err(_) => RunSummary { epoch, bytes: stored, state: RunState::Recovering, ..known },
        }
    }

    async fn end_undriven(
        self: &Arc<Self>,
        run: RunSummary,
        output: Output,
        stored: Offset,
        cancel: Option<MemberId>,
    ) {
        let state = if cancel.is_some() { RunState::Cancelled } else { RunState::Interrupted };
        tracing::info!(run.id = %run.id, state = state.name(), "a run of the last life is ended");
        let going = Going::new(run.epoch, Tape::new(&run, output), stored);
        let problem = (state == RunState::Interrupted).then(interrupted);
        let ending = Ending { stopped_by: cancel, problem, ..Ending::new(state) };
        match self.checkpoint.end(going, ending).await {
            Ok(run) => self.announce(&run),
            Err(refusal) => {
                tracing::error!(run.id = %run.id, code = refusal.code(), "a run's end was not written");
            }
        }
    }
}

/// The request with which it goes on; none if it is over.
fn next(recovery: Recovery, source: Source) -> Option<ModelRequest> {
    let mut request = source.request;
    match recovery {
        Recovery::Restart => Some(request),
        Recovery::Prefill { text, .. } => {
            let begun = request.prefill.take().unwrap_or_default();
            request.prefill = Some(begun + &text);
            Some(request)
        }
        Recovery::Interrupt => None,
    }
}

/// What is left of the records when all from `end` on is withdrawn.
fn up_to(end: Offset, records: Vec<StoredRecord>) -> Vec<(u32, BlockKind, Bytes)> {
    let mut left = usize::try_from(end.0).unwrap_or(usize::MAX);
    let mut kept = Vec::with_capacity(records.len());
    for StoredRecord { block, kind, mut bytes } in records {
        bytes.truncate(left);
        left -= bytes.len();
        kept.push((block, kind, bytes));
    }
    kept
}

fn interrupted() -> Problem {
    Problem {
        kind: "about:blank".to_owned(),
        title: "Interrupted".to_owned(),
        status: 503,
        code: "run.interrupted".to_owned(),
        detail: INTERRUPTED.to_owned(),
        kept: "What had arrived is kept and charged as an estimate.".to_owned(),
        next: "Continue or regenerate.".to_owned(),
        request_id: None,
        retry_after_ms: None,
    }
}

/// What a run is told whose driver failed on our side.
pub(super) fn failed_here() -> Problem {
    Refusal::Internal.problem(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn withdrawn_bytes_are_cut_off_within_a_record() {
        let record = |block, bytes: &'static [u8]| StoredRecord {
            block,
            kind: BlockKind::Text,
            bytes: Bytes::from_static(bytes),
        };
        let kept = up_to(Offset(5), vec![record(0, b"abc"), record(1, b"defg"), record(2, b"h")]);
        let text: Vec<&[u8]> = kept.iter().map(|(_, _, bytes)| &bytes[..]).collect();
        assert_eq!(text, [&b"abc"[..], b"de", b""]);
    }
}
