//! Taking over a run that nobody drives: it goes on, begins again or is interrupted, as its output allows.

use crate::domain::{
    output::Output,
    prompt::ModelRequest,
    run::{Recovery, Source, recover},
};
use crate::live::{
    billing::{Before, estimate},
    clock::now_ms,
    endings::{Ending, interrupted},
    going::Going,
    runs::{Drive, RECOVERIES_AT_ONCE, Runs},
    tape::Tape,
};
use crate::store::{Claim, ClaimOutcome, NodeId, StoreError, StoredRecord};
use bytes::Bytes;
use promptroom_protocol::{BlockKind, Epoch, MemberId, Offset, RunId, RunState, RunSummary};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

const DOUBT_PAUSE: Duration = Duration::from_secs(1);

/// All that is read of a run before it is claimed: once it is ours nothing may fail any more.
struct Found {
    run: RunSummary,
    /// In which it was found undriven: whoever claims it first has it.
    seen: Epoch,
    /// How much was read; what its driver has stored since, should it live after all, is withdrawn.
    stored: Offset,
    records: Vec<StoredRecord>,
    starts: Vec<(Epoch, Offset)>,
    source: Option<Source>,
}

impl Runs {
    /// Claims the run in a new epoch and drives or ends it, if nobody owns it or its owner `is_gone`. Does nothing if
    /// it is driven here, or over.
    pub(super) async fn recover(
        self: &Arc<Self>,
        id: RunId,
        is_gone: impl Fn(NodeId) -> bool,
    ) -> Result<(), StoreError> {
        // Of two that find it undriven the second must see what the first did.
        let _alone = self.recovering[(id.0.as_u128() % RECOVERIES_AT_ONCE as u128) as usize].lock().await;
        if self.tasks.is_draining() || self.is_minded(id) {
            return Ok(());
        }
        let Some(found) = self.find_undriven(id, is_gone).await? else { return Ok(()) };
        let model = self.models.find(&found.run.model);
        let prefill = model.as_ref().is_some_and(|model| model.info.prefill);
        let blocks: Vec<(u32, BlockKind, &[u8])> =
            found.records.iter().map(|record| (record.block, record.kind, &record.bytes[..])).collect();
        let recovery = recover(&blocks, found.run.attempts, prefill);
        let trim_to = match &recovery {
            Recovery::Prefill { trim_to, .. } => *trim_to,
            Recovery::Restart | Recovery::Interrupt => found.stored,
        };
        let (node, trim_to) = (self.node, Some(trim_to));
        let claim = Claim { run: id, seen: found.seen, node, trim_to, now_ms: now_ms() };
        let claimed = self.store.claim_run(&claim, estimate).await;
        if claimed.as_ref().is_err_and(StoreError::is_transient) {
            // It may be ours all the same, and then nobody else takes it.
            self.resolve_doubt(id);
        }
        let ClaimOutcome::Claimed { epoch, stored, cancel } = claimed? else { return Ok(()) };
        let Found { run, records, mut starts, source, .. } = found;
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

    /// Whether it is driven here, or will be as soon as the store has answered.
    pub(super) fn is_minded(&self, id: RunId) -> bool {
        self.checkpoint.find(id).is_some() || self.starting.lock().contains(&id)
    }

    /// A start or a claim whose commit failed may have been done all the same: then the run is driven, whether or not
    /// its author asks again.
    pub(super) fn resolve_doubt(self: &Arc<Self>, id: RunId) {
        let runs = self.clone();
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = runs.tasks.stopped() => return,
                    () = sleep(DOUBT_PAUSE) => {}
                }
                // Where it says that we drive it, and we do not, nobody does.
                match runs.recover(id, |owner| owner == runs.node).await {
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

    async fn find_undriven(
        &self,
        id: RunId,
        is_gone: impl Fn(NodeId) -> bool,
    ) -> Result<Option<Found>, StoreError> {
        let Some(driver) = self.store.run_driver(id).await? else { return Ok(None) };
        if driver.node.is_some_and(|owner| !is_gone(owner)) {
            return Ok(None);
        }
        let Some(run) = self.store.run(id).await? else { return Ok(None) };
        let Some(output) = self.store.run_output(id).await? else { return Ok(None) };
        if run.state.is_terminal() || output.epoch != driver.epoch {
            return Ok(None);
        }
        let claims = self.store.run_claims(id).await?;
        let starts = claims.into_iter().map(|claim| (claim.epoch, claim.start)).collect();
        let detail = self.store.run_detail(id).await?;
        let source = detail.and_then(|detail| {
            let source = serde_json::from_str(&detail.source_json);
            source
                .inspect_err(|error| tracing::error!(run.id = %id, %error, "a run's source cannot be read"))
                .ok()
        });
        let (seen, stored) = (driver.epoch, output.stored);
        Ok(Some(Found { run, seen, stored, records: output.records, starts, source }))
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
        tracing::info!(run.id = %run.id, state = state.name(), "a run that lost its driver is ended");
        // Its readers follow it to its end.
        let going = Going::new(run.epoch, Tape::driven(&run, output, &self.bus), stored);
        let problem = (state == RunState::Interrupted).then(|| interrupted(run.id));
        let ending = Ending { stopped_by: cancel, problem, ..Ending::new(state) };
        match self.checkpoint.end(going, ending).await {
            Ok(run) => {
                self.announce(&run);
                self.follow_soon();
            }
            Err(why) => tracing::error!(run.id = %run.id, ?why, "a run's end was not written"),
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
