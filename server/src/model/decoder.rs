//! From a provider's events to ours: what all decoders share.

use super::{ModelError, ModelErrorKind, ModelEvent, anthropic::AnthropicDecoder, openai::OpenAiDecoder};
use promptroom_protocol::{BlockKind, StopReason};
use std::collections::VecDeque;

/// Whether an event brought the answer further, or only showed that the provider lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Progress,
    Alive,
    /// Nothing will come after this.
    Done,
}

/// Why the model stopped, and at which stop sequence.
pub(super) type Finish = (StopReason, Option<String>);

pub(super) enum Decoder {
    Anthropic(AnthropicDecoder),
    OpenAi(OpenAiDecoder),
}

impl Decoder {
    pub(super) fn event(&mut self, data: &str, out: &mut VecDeque<ModelEvent>) -> Result<Seen, ModelError> {
        match self {
            Decoder::Anthropic(decoder) => decoder.event(data, out),
            Decoder::OpenAi(decoder) => decoder.event(data, out),
        }
    }

    /// Set once the model has said why it stopped.
    pub(super) fn finish(&self) -> Option<&Finish> {
        match self {
            Decoder::Anthropic(decoder) => decoder.finish(),
            Decoder::OpenAi(decoder) => decoder.finish(),
        }
    }
}

/// Numbers blocks in the order in which their first text arrives.
#[derive(Default)]
pub(super) struct Blocks {
    next: u32,
}

impl Blocks {
    pub(super) fn open(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }
}

/// The line that a tool call's block begins with.
pub(super) fn tool_header(id: &str, name: &str) -> String {
    format!("{}\n", serde_json::json!({ "id": id, "name": name }))
}

pub(super) fn delta(out: &mut VecDeque<ModelEvent>, block: u32, kind: BlockKind, text: String) -> Seen {
    if text.is_empty() {
        return Seen::Alive;
    }
    out.push_back(ModelEvent::Delta { block, kind, text });
    Seen::Progress
}

pub(super) fn malformed(provider: &str, error: &serde_json::Error) -> ModelError {
    let message = format!("{provider} sent something that is not what it documents ({error}).");
    ModelError::new(ModelErrorKind::Malformed, message)
}
