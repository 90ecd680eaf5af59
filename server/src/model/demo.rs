//! Models that are not: they answer from the prompt itself, so that everything can be tried without a key.
//!
//! The same request with the same seed gives the same bytes, whatever the pace.

mod script;
mod passages;
mod words;

use super::{
    catalog::{Facts, PARAMETERS_ALL},
    error::{ModelError, ModelErrorKind},
    event::ModelEvent,
};
use crate::domain::ledger::{Price, UsageReport, estimate_tokens};
use crate::domain::prompt::ModelRequest;
use promptroom_protocol::{BlockKind, StopReason};
use script::Script;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const OVERLOADED_RETRY_AFTER_MS: u64 = 5_000;
const FAILING_TOKENS: u64 = 40;
/// A reader that was away longer than this is not owed the tokens of that time at once.
const CATCH_UP: Duration = Duration::from_millis(500);

/// Which of the demo models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demo {
    Markdown,
    Slow,
    Long,
    Tools,
    Failing,
    Overloaded,
}

impl Demo {
    pub(super) const ALL: [Demo; 6] =
        [Demo::Markdown, Demo::Slow, Demo::Long, Demo::Tools, Demo::Failing, Demo::Overloaded];

    pub(super) fn name(self) -> &'static str {
        match self {
            Demo::Markdown => "markdown",
            Demo::Slow => "slow",
            Demo::Long => "long",
            Demo::Tools => "tools",
            Demo::Failing => "failing",
            Demo::Overloaded => "overloaded",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Demo> {
        Demo::ALL.into_iter().find(|demo| demo.name() == name)
    }

    pub(super) fn facts(self) -> Facts {
        Facts {
            label: match self {
                Demo::Markdown => "Demo: markdown",
                Demo::Slow => "Demo: one minute",
                Demo::Long => "Demo: one megabyte",
                Demo::Tools => "Demo: reasoning and a tool call",
                Demo::Failing => "Demo: breaks off",
                Demo::Overloaded => "Demo: overloaded",
            }
            .to_owned(),
            context_tokens: Some(1_000_000),
            output_tokens_max: Some(1_000_000),
            price: Some(Price::FREE),
            parameters: PARAMETERS_ALL,
            prefill: !matches!(self, Demo::Tools | Demo::Long),
            reasoning: false,
            notice: Some("Demo, not an AI: it answers from your prompt itself."),
        }
    }

    fn pace(self, pace_ms: Option<u64>) -> Pace {
        let (first_ms, token_ms, tokens_per_delta) = match self {
            Demo::Markdown | Demo::Tools | Demo::Failing | Demo::Overloaded => (150, 20, 1),
            Demo::Slow => (500, 300, 1),
            Demo::Long => (150, 2, 40),
        };
        Pace {
            first: Duration::from_millis(pace_ms.unwrap_or(first_ms)),
            between: Duration::from_millis(pace_ms.unwrap_or(token_ms)),
            tokens_per_delta,
        }
    }
}

struct Pace {
    first: Duration,
    between: Duration,
    tokens_per_delta: usize,
}

/// An answer being "written". `next` is cancel-safe: it waits first and then acts without waiting.
pub(super) struct DemoStream {
    script: Script,
    pace: Pace,
    due: Instant,
    fails_after_tokens: Option<u64>,
    input_tokens: u64,
    end: End,
}

/// What is still to be said after the text.
enum End {
    Writing,
    Stopping { reason: StopReason, sequence: Option<String> },
    Over,
}

impl DemoStream {
    pub(super) fn start(
        demo: Demo,
        request: &ModelRequest,
        pace_ms: Option<u64>,
    ) -> Result<DemoStream, ModelError> {
        if demo == Demo::Overloaded {
            let message = "Demo: this model is always overloaded, so that you can see what that looks like.";
            return Err(ModelError::new(ModelErrorKind::Overloaded, message)
                .with_status(529)
                .with_retry_after(Some(OVERLOADED_RETRY_AFTER_MS)));
        }
        let pace = demo.pace(pace_ms);
        Ok(DemoStream {
            script: Script::new(demo, request),
            due: Instant::now() + pace.first,
            pace,
            fails_after_tokens: (demo == Demo::Failing).then_some(FAILING_TOKENS),
            input_tokens: request_tokens(request),
            end: End::Writing,
        })
    }

    pub(super) async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        match std::mem::replace(&mut self.end, End::Over) {
            End::Over => return None,
            End::Stopping { reason, sequence } => return Some(Ok(ModelEvent::Stop { reason, sequence })),
            End::Writing => self.end = End::Writing,
        }
        // At full speed nothing else ever waits, and the other tasks of this thread want their turn.
        tokio::task::yield_now().await;
        sleep_until(self.due).await;
        let now = Instant::now();
        self.due = if now > self.due + CATCH_UP { now } else { self.due } + self.pace.between;
        if self.fails_after_tokens.is_some_and(|tokens| self.script.tokens_written() >= tokens) {
            self.end = End::Over;
            let message = "Demo: the stream broke off on purpose, so that you can see what that looks like.";
            return Some(Err(ModelError::new(ModelErrorKind::CutShort, message)));
        }
        match self.script.write(self.pace.tokens_per_delta) {
            script::Written::Text { block, kind, text } => Some(Ok(ModelEvent::Delta { block, kind, text })),
            script::Written::End { reason, sequence } => {
                self.end = End::Stopping { reason, sequence };
                Some(Ok(ModelEvent::Usage(self.usage())))
            }
        }
    }

    fn usage(&self) -> UsageReport {
        UsageReport {
            input_tokens: Some(self.input_tokens),
            cached_input_tokens: Some(0),
            output_tokens: Some(self.script.tokens_written()),
            reasoning_tokens: Some(self.script.tokens_of(BlockKind::Reasoning)),
        }
    }
}

fn request_tokens(request: &ModelRequest) -> u64 {
    let messages = request.messages.iter().map(|message| message.text.as_str());
    request
        .system
        .as_deref()
        .into_iter()
        .chain(messages)
        .chain(request.prefill.as_deref())
        .map(estimate_tokens)
        .sum()
}
