//! What goes wrong between us and a model, told so that a person knows what to do next.

use std::fmt;

const MESSAGE_CHARS_MAX: usize = 500;
/// Of what a provider or the network says; the rest of a message is ours.
pub(super) const DETAIL_CHARS_MAX: usize = 300;

/// A call that failed, before its first token or after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelError {
    pub kind: ModelErrorKind,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// For people: at most 500 characters, without secrets.
    pub message: String,
    /// How long the provider asks us to wait.
    pub retry_after_ms: Option<u64>,
    /// Stable and dotted: `provider.cut_short`.
    pub code: &'static str,
}

/// What a caller decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelErrorKind {
    Overloaded,
    RateLimited,
    BadRequest,
    Unauthorized,
    NotFound,
    Unreachable,
    /// The stream ended before the model did.
    CutShort,
    /// The connection lives, the model says nothing.
    Stalled,
    /// What arrived is not what the provider documents.
    Malformed,
    /// Anything else that the provider calls an error.
    Provider,
}

impl ModelErrorKind {
    pub fn code(self) -> &'static str {
        match self {
            ModelErrorKind::Overloaded => "provider.overloaded",
            ModelErrorKind::RateLimited => "provider.rate_limited",
            ModelErrorKind::BadRequest => "provider.bad_request",
            ModelErrorKind::Unauthorized => "provider.unauthorized",
            ModelErrorKind::NotFound => "provider.not_found",
            ModelErrorKind::Unreachable => "provider.unreachable",
            ModelErrorKind::CutShort => "provider.cut_short",
            ModelErrorKind::Stalled => "provider.stalled",
            ModelErrorKind::Malformed => "provider.malformed",
            ModelErrorKind::Provider => "provider.error",
        }
    }

    /// Whether the same request may be sent again after a while: it did not reach the model, or the model did not take
    /// it. What broke off later may have been read, and paid for, already.
    pub fn is_transient(self) -> bool {
        matches!(self, ModelErrorKind::Overloaded | ModelErrorKind::RateLimited | ModelErrorKind::Unreachable)
    }
}

impl ModelError {
    pub(super) fn new(kind: ModelErrorKind, message: impl AsRef<str>) -> ModelError {
        ModelError {
            kind,
            status: None,
            message: bounded(message.as_ref(), MESSAGE_CHARS_MAX),
            retry_after_ms: None,
            code: kind.code(),
        }
    }

    pub(super) fn with_status(self, status: u16) -> ModelError {
        ModelError { status: Some(status), ..self }
    }

    pub(super) fn with_retry_after(self, retry_after_ms: Option<u64>) -> ModelError {
        ModelError { retry_after_ms, ..self }
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ModelError {}

/// One line of at most `chars_max` characters.
pub(super) fn bounded(text: &str, chars_max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= chars_max {
        return line;
    }
    line.chars().take(chars_max - 1).chain(['…']).collect()
}
