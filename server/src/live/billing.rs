//! What an attempt comes to: while it goes on, when it ends, and when nobody saw its end.

use crate::domain::ledger::{Price, UsageReport, cost, estimate_tokens_of};
use crate::live::{clock::now_ms, runs::Runs};
use crate::model::{Model, ModelEvent, ModelStream};
use crate::store::{AttemptId, Bill, OpenAttempt};
use promptroom_protocol::{Nanodollars, RunId, Usage};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// A provider that writes on after we hung up is read to its end for its usage, this long at most.
const BACKGROUND_READ: Duration = Duration::from_secs(120);
const STORE_RETRY: Duration = Duration::from_millis(500);

/// An attempt as its driver holds it.
#[derive(Clone, Copy)]
pub(super) struct OpenCall {
    pub id: AttemptId,
    pub run: RunId,
    /// What its input is thought to be, until the provider says.
    pub input_tokens: u64,
}

/// What arrived of one attempt.
#[derive(Clone, Copy, Default)]
pub(super) struct Received {
    pub usage: UsageReport,
    pub events: u64,
    ascii_bytes: u64,
    other_bytes: u64,
}

/// What the attempts before this one came to.
#[derive(Clone, Copy, Default)]
pub struct Before {
    pub usage: Option<Usage>,
    pub cost: Option<Nanodollars>,
}

impl Received {
    pub(super) fn count(&mut self, text: &str) {
        let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
        self.events += 1;
        self.ascii_bytes += ascii;
        self.other_bytes += text.len() as u64 - ascii;
    }

    /// As the provider reported it; what it left out is estimated, and marked so.
    pub(super) fn settle(&self, input_estimate: u64) -> Usage {
        self.usage.settle(input_estimate, estimate_tokens_of(self.ascii_bytes, self.other_bytes))
    }
}

impl Before {
    /// The whole run: what was before, and this attempt so far.
    pub(super) fn with(&self, bill: Bill) -> Bill {
        let Some(before) = self.usage else { return bill };
        let usage = Usage {
            input_tokens: before.input_tokens + bill.usage.input_tokens,
            cached_input_tokens: before.cached_input_tokens + bill.usage.cached_input_tokens,
            output_tokens: before.output_tokens + bill.usage.output_tokens,
            reasoning_tokens: before.reasoning_tokens + bill.usage.reasoning_tokens,
            estimated: before.estimated || bill.usage.estimated,
        };
        let cost = self.cost.zip(bill.cost).map(|(before, now)| Nanodollars(before.0 + now.0));
        Bill { usage, cost }
    }
}

pub(super) fn bill(model: &Model, usage: Usage) -> Bill {
    Bill { usage, cost: model.info.price.as_ref().map(|price| cost(price, &usage)) }
}

/// A request that left and of which nothing came back: its input was most likely read, and is charged as an estimate.
pub(super) fn unanswered(model: &Model, call: OpenCall) -> Bill {
    bill(model, Received::default().settle(call.input_tokens))
}

/// What an attempt came to that nobody saw the end of: as reported, or as much as was received.
pub(super) fn estimate(open: &OpenAttempt) -> Bill {
    let reported = open.usage;
    let output = reported.output_tokens.max(estimate_tokens_of(open.received_bytes, 0));
    let report = UsageReport {
        input_tokens: Some(reported.input_tokens),
        cached_input_tokens: Some(reported.cached_input_tokens),
        output_tokens: None,
        reasoning_tokens: Some(reported.reasoning_tokens),
    };
    let usage = report.settle(reported.input_tokens, output);
    let price: Option<Price> = serde_json::from_str(&open.price_json).unwrap_or_else(|error| {
        // Unknown is told as unknown; a guess would be believed.
        tracing::error!(run.id = %open.run, %error, "the price of an attempt cannot be read");
        None
    });
    Bill { usage, cost: price.map(|price| cost(&price, &usage)) }
}

/// Reads a stream that nobody waits for any more to its end, because its provider bills all of it; then the room is
/// told what the run came to.
pub(super) async fn read_on(
    mut stream: ModelStream,
    runs: Arc<Runs>,
    model: Model,
    call: OpenCall,
    mut received: Received,
) {
    let end = Instant::now() + BACKGROUND_READ;
    loop {
        let event = tokio::select! {
            biased;
            // What has come until now is settled, as an estimate.
            () = runs.tasks.stopped() => break,
            event = tokio::time::timeout_at(end, stream.next()) => event,
        };
        match event {
            Ok(Some(Ok(ModelEvent::Delta { text, .. }))) => received.count(&text),
            Ok(Some(Ok(ModelEvent::Usage(report)))) => received.usage.update(report),
            Ok(Some(Ok(ModelEvent::Stop { .. }) | Err(_)) | None) | Err(_) => break,
        }
    }
    drop(stream);
    settle(&runs, call, &bill(&model, received.settle(call.input_tokens))).await;
}

async fn settle(runs: &Runs, call: OpenCall, bill: &Bill) {
    loop {
        match runs.store.settle_attempt(call.id, bill, now_ms()).await {
            Ok(_) => break,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, run.id = %call.run, "the usage of a stopped run waits for the store");
                tokio::select! {
                    biased;
                    // Whoever takes over what this node left settles it as an estimate.
                    () = runs.tasks.stopped() => return,
                    () = sleep(STORE_RETRY) => {}
                }
            }
            Err(error) => {
                tracing::error!(%error, run.id = %call.run, "the true usage of a stopped run was not written");
                return;
            }
        }
    }
    match runs.store.run(call.run).await {
        Ok(Some(run)) => runs.announce(&run),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, run.id = %call.run, "a settled run could not be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(tokens: u64, estimated: bool) -> Usage {
        Usage {
            input_tokens: tokens,
            cached_input_tokens: 0,
            output_tokens: tokens,
            reasoning_tokens: 0,
            estimated,
        }
    }

    #[test]
    fn a_recovered_run_counts_all_of_its_attempts() {
        let now = Bill { usage: usage(5, false), cost: Some(Nanodollars(50)) };
        assert_eq!(Before::default().with(now), now);
        let before = Before { usage: Some(usage(7, true)), cost: Some(Nanodollars(70)) };
        assert_eq!(before.with(now), Bill { usage: usage(12, true), cost: Some(Nanodollars(120)) });
        let unpriced = Before { cost: None, ..before };
        assert_eq!(unpriced.with(now).cost, None, "a sum without a part of unknown price would be wrong");
    }

    #[test]
    fn a_call_that_was_not_answered_is_charged_its_input_as_an_estimate() {
        let settled = Received::default().settle(42);
        assert_eq!((settled.input_tokens, settled.output_tokens, settled.estimated), (42, 0, true));
    }
}
