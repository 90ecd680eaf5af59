//! Every "no" that a person can receive: what happened, what is kept, what to do next.
//!
//! One table gives each its stable code, HTTP status and close code. Codes are part of the interface: they are
//! added, never changed.

mod table;

use promptroom_protocol::{CloseCode, Problem, RequestId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    SignInNeeded,
    LinkUsed,
    InviteUsed,
    TooManySignIns { retry_after_ms: u64 },
    OriginForeign,
    Forbidden { what: &'static str },
    AccessLost,
    RightsChanged,
    LastOwner,
    MemberNotFound,
    PromptNotFound,
    PromptDeleted,
    SlugTaken,
    SlugDeleted,
    BadSlug,
    BadRequest { detail: String },
    BodyTooLarge { limit_bytes: usize },
    RouteNotFound,
    MethodNotAllowed,
    FrameMalformed { detail: String },
    FrameTooLarge { limit_bytes: usize },
    MessageTooLarge,
    VersionUnknown { asked: String },
    ContentUnsupported { what: &'static str },
    DocumentTooLarge { limit_bytes: usize },
    EditOutOfStep,
    EditTooCostly,
    EditTooScattered,
    DocumentCrowded,
    LineageChanged,
    RoomRestarted,
    ReaderTooSlow,
    Idle,
    RoomFull { limit: usize },
    NodeFull,
    Draining,
    StoreUnavailable,
    NotDurableYet,
    RunNotFound,
    RunStillGoing,
    RunHasNoText,
    ModelCannotContinue { model: String },
    RunBadRequest { detail: String },
    ModelUnknown { model: String },
    LaneQueueFull { waiting: usize },
    MemberQueueFull { waiting: usize },
    CommandsTooMany { limit: usize },
    WatchesTooMany { limit: usize },
    OutputTooLong { limit_bytes: u64 },
    CursorInvalid,
    IdempotencyConflict,
    Internal,
}

impl Refusal {
    pub fn code(&self) -> &'static str {
        self.row().code
    }

    pub fn status(&self) -> u16 {
        self.row().status
    }

    pub fn close_code(&self) -> CloseCode {
        self.row().close
    }

    pub fn problem(&self, request_id: Option<RequestId>) -> Problem {
        let row = self.row();
        Problem {
            kind: "about:blank".to_owned(),
            title: row.title.to_owned(),
            status: row.status,
            code: row.code.to_owned(),
            detail: self.detail().unwrap_or_else(|| format!("{}.", row.title)),
            kept: row.kept.to_owned(),
            next: row.next.to_owned(),
            request_id,
            retry_after_ms: self.retry_after_ms(),
        }
    }

    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Refusal::TooManySignIns { retry_after_ms } => Some(*retry_after_ms),
            Refusal::StoreUnavailable | Refusal::NotDurableYet => Some(1_000),
            Refusal::Draining | Refusal::RoomRestarted => Some(500),
            Refusal::RoomFull { .. } | Refusal::NodeFull => Some(10_000),
            Refusal::LaneQueueFull { .. } => Some(10_000),
            _ => None,
        }
    }

    fn detail(&self) -> Option<String> {
        Some(match self {
            Refusal::Forbidden { what } => format!("Your role does not allow to {what}."),
            Refusal::BadRequest { detail }
            | Refusal::RunBadRequest { detail }
            | Refusal::FrameMalformed { detail } => detail.clone(),
            Refusal::BodyTooLarge { limit_bytes }
            | Refusal::FrameTooLarge { limit_bytes }
            | Refusal::DocumentTooLarge { limit_bytes } => format!("The limit is {limit_bytes} bytes."),
            Refusal::OutputTooLong { limit_bytes } => {
                format!("One run may put out {limit_bytes} bytes; the model was stopped there.")
            }
            Refusal::VersionUnknown { asked } => {
                format!("Version {asked:?} of the frames is not spoken here; 1 is.")
            }
            Refusal::ContentUnsupported { what } => format!("A prompt cannot hold {what}."),
            Refusal::RoomFull { limit } => format!("This prompt already has {limit} connections."),
            Refusal::ModelCannotContinue { model } => {
                format!("{model} is not known to go on from a partial answer.")
            }
            Refusal::ModelUnknown { model } => format!("There is no model {model:?} here."),
            Refusal::LaneQueueFull { waiting } => format!("{waiting} runs already wait for this model."),
            Refusal::MemberQueueFull { waiting } => {
                format!("{waiting} of your runs already wait for this model.")
            }
            Refusal::CommandsTooMany { limit } => {
                format!("At most {limit} commands may be under way on a connection.")
            }
            Refusal::WatchesTooMany { limit } => {
                format!("At most {limit} runs can be watched on a connection.")
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_never_help_is_closed_for_good_and_the_rest_for_now() {
        for permanent in [
            Refusal::SignInNeeded,
            Refusal::PromptNotFound,
            Refusal::PromptDeleted,
            Refusal::ContentUnsupported { what: "arrays" },
            Refusal::DocumentTooLarge { limit_bytes: 1 },
            Refusal::FrameMalformed { detail: String::new() },
        ] {
            assert!(permanent.close_code().is_permanent(), "{permanent:?}");
        }
        for transient in [
            Refusal::RoomRestarted,
            Refusal::ReaderTooSlow,
            Refusal::EditOutOfStep,
            Refusal::EditTooCostly,
            Refusal::Draining,
            Refusal::StoreUnavailable,
            Refusal::RoomFull { limit: 1 },
        ] {
            assert!(!transient.close_code().is_permanent(), "{transient:?}");
        }
    }

    #[test]
    fn a_problem_says_what_happened_what_is_kept_and_what_to_do() {
        let problem = Refusal::LaneQueueFull { waiting: 7 }.problem(None);
        assert_eq!((problem.code.as_str(), problem.status), ("run.queue_full", 429));
        assert!(problem.detail.contains('7') && !problem.kept.is_empty() && !problem.next.is_empty());
        assert_eq!(problem.retry_after_ms, Some(10_000));
    }
}
