//! What somebody must do later: runs of dead drivers, snapshots, and who was last seen when.

use crate::domain::{
    document::Document,
    ledger::{Price, UsageReport, cost, estimate_tokens_of},
    output::Output,
    run::{Recovery, Source, recover},
};
use crate::live::{
    checkpoint::{Ending, Going},
    clock::now_ms,
    runs::{Drive, Runs},
    tape::Tape,
    tasks::Tasks,
};
use crate::store::{Bill, Claim, ClaimOutcome, OpenAttempt, Store, StoreError, StoredOutput, UnfinishedRun};
use promptroom_protocol::{BlockKind, PromptId, RunState, Seq};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

const PACE: Duration = Duration::from_secs(2);
const SEEN_PACE: Duration = Duration::from_secs(60);
/// A room is snapshotted when so much has come since its last snapshot.
const SNAPSHOT_ROWS: u64 = 500;
const SNAPSHOT_BYTES: u64 = 1 << 20;
const SNAPSHOTS_AT_ONCE: u32 = 4;
const INTERRUPTED: &str =
    "The server was stopped while the model answered, and this model cannot go on in mid-answer.";

pub struct Reaper {
    store: Arc<Store>,
    runs: Arc<Runs>,
    tasks: Tasks,
    /// Rooms whose rows did not merge, and their head then: tried again only when much has come since.
    unmerged: HashMap<PromptId, Seq>,
}

impl Reaper {
    pub fn start(store: Arc<Store>, runs: Arc<Runs>, tasks: &Tasks) {
        let reaper = Reaper { store, runs, tasks: tasks.clone(), unmerged: HashMap::new() };
        tasks.spawn(reaper.watch());
    }

    async fn watch(mut self) {
        let mut taken_over = false;
        let mut seen_at = Instant::now();
        loop {
            // The data directory's lock is ours, so whoever drove these runs is dead.
            if !taken_over {
                match self.take_over().await {
                    Ok(()) => taken_over = true,
                    Err(error) => tracing::warn!(%error, "the runs of the last life wait for the store"),
                }
            }
            if let Err(error) = self.snapshot_due().await {
                tracing::warn!(%error, "snapshots wait");
            }
            if seen_at.elapsed() >= SEEN_PACE {
                seen_at = Instant::now();
                if let Err(error) = self.store.write_last_seen().await {
                    tracing::warn!(%error, "who was last seen when was not written");
                }
            }
            tokio::select! {
                () = sleep(PACE) => {}
                () = self.tasks.stopped() => return,
            }
        }
    }

    async fn take_over(&self) -> Result<(), StoreError> {
        loop {
            let unfinished = self.store.unfinished_runs(self.runs.node).await?;
            if unfinished.is_empty() {
                break;
            }
            for run in unfinished {
                self.recover(run).await?;
            }
        }
        self.store.settle_orphans(&[self.runs.node], estimate, now_ms()).await?;
        Ok(())
    }

    /// Claims a run and continues, restarts or interrupts it, as its output allows.
    async fn recover(&self, unfinished: UnfinishedRun) -> Result<(), StoreError> {
        let UnfinishedRun { mut run, .. } = unfinished;
        let stored = self.store.run_output(run.id).await?.unwrap_or(StoredOutput {
            epoch: run.epoch,
            stored: run.bytes,
            records: Vec::new(),
        });
        let model = self.runs.models.find(&run.model);
        let prefill = model.as_ref().is_some_and(|model| model.info.prefill);
        let blocks: Vec<(u32, BlockKind, &[u8])> =
            stored.records.iter().map(|record| (record.block, record.kind, &record.bytes[..])).collect();
        let recovery = recover(&blocks, run.attempts, prefill);
        let trim_to = match &recovery {
            Recovery::Prefill { trim_to, .. } => Some(*trim_to),
            Recovery::Restart | Recovery::Interrupt => None,
        };
        let claim = Claim { run: run.id, seen: run.epoch, node: self.runs.node, trim_to, now_ms: now_ms() };
        let ClaimOutcome::Claimed { epoch, stored: from, cancel } =
            self.store.claim_run(&claim, estimate).await?
        else {
            return Ok(());
        };
        run.epoch = epoch;
        run.bytes = from;
        let claims = self.store.run_claims(run.id).await?;
        let starts = claims.into_iter().map(|claim| (claim.epoch, claim.start)).collect();
        let records = self.store.run_output(run.id).await?.map(|stored| stored.records).unwrap_or_default();
        let records = records.into_iter().map(|record| (record.block, record.kind, record.bytes));
        let output = Output::stored(run.id, epoch, starts, records, false);
        let source = self.runs.source(run.id).await.ok();
        let request = match (recovery, cancel, source) {
            (Recovery::Restart, None, Some(Source { request, .. })) => Some(request),
            (Recovery::Prefill { text, .. }, None, Some(Source { mut request, .. })) => {
                let begun = request.prefill.take().unwrap_or_default();
                request.prefill = Some(begun + &text);
                Some(request)
            }
            _ => None,
        };
        if let (Some(request), Some(model)) = (request, model) {
            tracing::info!(run.id = %run.id, epoch = epoch.0, from = from.0, "a run goes on");
            run.state = RunState::Recovering;
            self.runs.announce(&run);
            let place = self.runs.place_for(run.id, &model, run.by.id);
            self.runs.drive(Drive { place, run, model, request, attempt: None, stored: from }, output);
            return Ok(());
        }
        let state = if cancel.is_some() { RunState::Cancelled } else { RunState::Interrupted };
        tracing::info!(run.id = %run.id, state = state.name(), "a run of the last life is ended");
        let going = Going::new(epoch, Tape::new(run.prompt, run.id, output), from);
        let problem = (state == RunState::Interrupted).then(interrupted);
        let ending = Ending {
            state,
            stop_reason: None,
            stop_sequence: None,
            stopped_by: cancel,
            problem_json: problem.and_then(|problem| serde_json::to_string(&problem).ok()),
            settles: None,
        };
        if let Ok(run) = self.runs.checkpoint.end(going, ending).await {
            self.runs.announce(&run);
        }
        Ok(())
    }

    async fn snapshot_due(&mut self) -> Result<(), StoreError> {
        for prompt in self.store.snapshots_due(SNAPSHOT_ROWS, SNAPSHOT_BYTES, SNAPSHOTS_AT_ONCE).await? {
            if let Err(error) = self.snapshot(prompt).await {
                tracing::warn!(prompt.id = %prompt, %error, "a snapshot was not made");
            }
        }
        Ok(())
    }

    /// Builds a snapshot from the store alone, and believes it only when it reads back as the same document.
    async fn snapshot(&mut self, prompt: PromptId) -> Result<(), StoreError> {
        let Some(image) = self.store.snapshot_base(prompt).await? else { return Ok(()) };
        let (lineage, seq) = (image.lineage, image.head);
        if self.unmerged.get(&prompt).is_some_and(|at| seq.0 < at.0 + SNAPSHOT_ROWS) {
            return Ok(());
        }
        let previous = image.snapshot.as_ref().map(|(seq, _)| *seq);
        let merging = self.tasks.block(move || {
            let snapshot = image.snapshot.as_ref().map(|(_, bytes)| &bytes[..]);
            let merged = Document::merge(snapshot, image.rows.iter().map(|(_, row)| &row[..])).ok()?;
            let again = Document::merge(Some(&merged.bytes), std::iter::empty()).ok()?;
            (again.digest == merged.digest).then_some(merged.bytes)
        });
        let Ok(Some(bytes)) = merging.await else {
            self.unmerged.insert(prompt, seq);
            return Err(StoreError::Corrupt(format!(
                "the rows of prompt {prompt} do not merge into a document"
            )));
        };
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        let length = bytes.len();
        if self.store.put_snapshot(prompt, lineage, seq, bytes.into(), sha256, previous).await? {
            tracing::debug!(prompt.id = %prompt, seq = seq.0, bytes = length, "snapshot");
        }
        Ok(())
    }
}

/// What an attempt came to that nobody saw the end of: as reported, or as much as was received.
fn estimate(open: &OpenAttempt) -> Bill {
    let reported = open.usage;
    let output = reported.output_tokens.max(estimate_tokens_of(open.received_bytes, 0));
    let report = UsageReport {
        input_tokens: Some(reported.input_tokens),
        cached_input_tokens: Some(reported.cached_input_tokens),
        output_tokens: None,
        reasoning_tokens: Some(reported.reasoning_tokens),
    };
    let usage = report.settle(reported.input_tokens, output);
    let price: Option<Price> = serde_json::from_str(&open.price_json).unwrap_or(None);
    Bill { usage, cost: price.map(|price| cost(&price, &usage)) }
}

fn interrupted() -> promptroom_protocol::Problem {
    promptroom_protocol::Problem {
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
