//! How a run ends, and what people are told when that is not as it should be.

use crate::domain::{output::OUTPUT_BYTES_MAX, refusal::Refusal, run::stopped};
use crate::model::{ModelError, ModelErrorKind};
use crate::store::{AttemptId, Bill};
use promptroom_protocol::{MemberId, Problem, RunId, RunState, StopReason};

const INTERRUPTED: &str =
    "The server was stopped while the model answered, and this model cannot go on in mid-answer.";

/// How a run ended, before the store has been told.
#[derive(Clone, Debug)]
pub struct Ending {
    pub state: RunState,
    pub stop_reason: Option<StopReason>,
    pub stop_sequence: Option<String>,
    pub stopped_by: Option<MemberId>,
    pub problem: Option<Problem>,
    pub settles: Option<(AttemptId, Bill)>,
}

impl Ending {
    pub fn new(state: RunState) -> Ending {
        Ending {
            state,
            stop_reason: None,
            stop_sequence: None,
            stopped_by: None,
            problem: None,
            settles: None,
        }
    }
}

pub(super) fn completed(
    reason: StopReason,
    sequence: Option<String>,
    settles: Option<(AttemptId, Bill)>,
) -> Ending {
    Ending { stop_reason: Some(reason), stop_sequence: sequence, settles, ..Ending::new(stopped(reason)) }
}

pub(super) fn failed(problem: Problem, settles: Option<(AttemptId, Bill)>) -> Ending {
    Ending { problem: Some(problem), settles, ..Ending::new(RunState::Failed) }
}

/// The run put out all that one run may.
pub(super) fn too_long(run: RunId) -> Ending {
    let problem = Refusal::OutputTooLong { limit_bytes: OUTPUT_BYTES_MAX }.problem(Some(run.into()));
    Ending { problem: Some(problem), ..Ending::new(RunState::Truncated) }
}

/// Whether the request had left and nobody knows what became of it.
pub(super) fn may_be_charged(kind: ModelErrorKind) -> bool {
    matches!(kind, ModelErrorKind::CutShort | ModelErrorKind::Stalled)
}

/// What a run is told whose driver failed on our side.
pub(super) fn failed_here(run: RunId) -> Problem {
    Refusal::Internal.problem(Some(run.into()))
}

/// What a run is told that nobody can go on with.
pub(super) fn interrupted(run: RunId) -> Problem {
    Problem {
        kind: "about:blank".to_owned(),
        title: "Interrupted".to_owned(),
        status: 503,
        code: "run.interrupted".to_owned(),
        detail: INTERRUPTED.to_owned(),
        kept: "What had arrived is kept and charged as an estimate.".to_owned(),
        next: "Continue or regenerate.".to_owned(),
        request_id: Some(run.into()),
        retry_after_ms: None,
    }
}

/// What people are told of a model that failed after so many bytes.
pub(super) fn problem(run: RunId, provider: &str, error: &ModelError, received: u64) -> Problem {
    let (kept, next) = if received > 0 {
        (
            "What had arrived is kept and charged, as an estimate where the provider did not say.",
            "Continue or regenerate.",
        )
    } else if may_be_charged(error.kind) {
        (
            "Nothing was received; the provider may charge for the input. Your draft is saved.",
            next_step(error.kind),
        )
    } else {
        ("Nothing was received and nothing was charged. Your draft is saved.", next_step(error.kind))
    };
    Problem {
        kind: "about:blank".to_owned(),
        title: format!("{} did not answer as it should", provider),
        status: error.status.unwrap_or(502),
        code: error.code.to_owned(),
        detail: error.message.clone(),
        kept: kept.to_owned(),
        next: next.to_owned(),
        request_id: Some(run.into()),
        retry_after_ms: error.retry_after_ms,
    }
}

/// Adapters end with a stop or an error; one that did neither was cut.
pub(super) fn ended_early() -> ModelError {
    ModelError {
        kind: ModelErrorKind::CutShort,
        status: None,
        message: "The answer ended without an end marker.".to_owned(),
        retry_after_ms: None,
        code: ModelErrorKind::CutShort.code(),
    }
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
