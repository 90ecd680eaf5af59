//! Anthropic Messages: the request, and its stream of typed events.

use super::{
    ModelError, ModelErrorKind, ModelEvent,
    catalog::{Facts, OUTPUT_TOKENS_DEFAULT},
    decoder::{Blocks, Finish, Seen, delta, malformed, tool_header},
};
use crate::domain::ledger::UsageReport;
use crate::domain::prompt::{MessageRole, ModelRequest};
use promptroom_protocol::{BlockKind, StopReason};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, VecDeque};

pub(super) const BASE_URL: &str = "https://api.anthropic.com";
pub(super) const PATH: &str = "/v1/messages";
pub(super) const VERSION: &str = "2023-06-01";
const BLOCKS_MAX: usize = 10_000;

/// The body of a request; `name` is the model's name without its lane.
pub(super) fn body(name: &str, facts: &Facts, request: &ModelRequest) -> Value {
    let parameters = &request.parameters;
    let mut body = Map::new();
    body.insert("model".into(), name.into());
    let default =
        facts.output_tokens_max.map_or(OUTPUT_TOKENS_DEFAULT, |most| most.min(OUTPUT_TOKENS_DEFAULT));
    body.insert("max_tokens".into(), parameters.max_tokens.unwrap_or(default).into());
    if let Some(system) = request.system.as_deref().filter(|system| !system.trim().is_empty()) {
        body.insert("system".into(), system.into());
    }
    let mut messages: Vec<Value> =
        request.messages.iter().map(|message| said(message.role, &message.text)).collect();
    if let Some(prefill) = request.prefill.as_deref().filter(|_| facts.prefill) {
        messages.push(said(MessageRole::Assistant, prefill));
    }
    body.insert("messages".into(), messages.into());
    // Newer models refuse temperature and top_p together; temperature is the one that people mean.
    match (parameters.temperature, parameters.top_p) {
        (Some(temperature), _) => body.insert("temperature".into(), temperature.into()),
        (None, Some(top_p)) => body.insert("top_p".into(), top_p.into()),
        (None, None) => None,
    };
    // A stop sequence of nothing but white space is refused.
    let stop: Vec<&String> = parameters.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if !stop.is_empty() {
        body.insert("stop_sequences".into(), json!(stop));
    }
    body.insert("stream".into(), true.into());
    Value::Object(body)
}

fn said(role: MessageRole, text: &str) -> Value {
    let role = match role {
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
    };
    json!({ "role": role, "content": text })
}

/// The kind of an error by its documented type.
pub(super) fn error_kind(error_type: &str) -> ModelErrorKind {
    match error_type {
        "overloaded_error" => ModelErrorKind::Overloaded,
        "rate_limit_error" => ModelErrorKind::RateLimited,
        "invalid_request_error" | "request_too_large" => ModelErrorKind::BadRequest,
        "authentication_error" | "permission_error" => ModelErrorKind::Unauthorized,
        "not_found_error" => ModelErrorKind::NotFound,
        _ => ModelErrorKind::Provider,
    }
}

/// Holds what the events refer back to.
pub(super) struct AnthropicDecoder {
    provider: String,
    blocks: Blocks,
    /// The provider's index → what the block is, and our number once it has text.
    open: HashMap<u64, (BlockKind, Option<u32>)>,
    finish: Option<Finish>,
}

impl AnthropicDecoder {
    pub(super) fn new(provider: &str) -> AnthropicDecoder {
        AnthropicDecoder {
            provider: provider.to_owned(),
            blocks: Blocks::default(),
            open: HashMap::new(),
            finish: None,
        }
    }

    pub(super) fn finish(&self) -> Option<&Finish> {
        self.finish.as_ref()
    }

    pub(super) fn event(&mut self, data: &str, out: &mut VecDeque<ModelEvent>) -> Result<Seen, ModelError> {
        let event: Event = serde_json::from_str(data).map_err(|error| malformed(&self.provider, &error))?;
        match event {
            Event::MessageStart { message } => {
                // Its count of output is a placeholder of a few tokens, and must not be billed.
                let usage = message.usage.map(|usage| UsageReport { output_tokens: None, ..usage.report() });
                out.extend(usage.map(ModelEvent::Usage));
                Ok(Seen::Alive)
            }
            Event::ContentBlockStart { index, content_block } => self.block_start(index, content_block, out),
            Event::ContentBlockDelta { index, delta } => Ok(self.block_delta(index, delta, out)),
            Event::MessageDelta { delta, usage } => {
                out.extend(usage.map(|usage| ModelEvent::Usage(usage.report())));
                if let Some(reason) = delta.stop_reason {
                    self.finish = Some((stop_reason(&reason), delta.stop_sequence));
                }
                Ok(Seen::Progress)
            }
            Event::MessageStop => Ok(Seen::Done),
            Event::Error { error } => {
                let message = format!("{} broke off: {}", self.provider, error.message);
                Err(ModelError::new(error_kind(&error.kind), message))
            }
            Event::Ping | Event::Unknown => Ok(Seen::Alive),
        }
    }

    fn block_start(
        &mut self,
        index: u64,
        block: Block,
        out: &mut VecDeque<ModelEvent>,
    ) -> Result<Seen, ModelError> {
        if self.open.len() >= BLOCKS_MAX {
            return Err(ModelError::new(
                ModelErrorKind::Malformed,
                format!("{} opened too many blocks.", self.provider),
            ));
        }
        let (kind, text) = match block {
            Block::Text { text } => (BlockKind::Text, text),
            Block::Thinking { thinking } => (BlockKind::Reasoning, thinking),
            Block::ToolUse { id, name } => (BlockKind::ToolCall, tool_header(&id, &name)),
            // Its deltas, if any, show that the provider lives.
            Block::Unknown => return Ok(Seen::Alive),
        };
        self.open.insert(index, (kind, None));
        Ok(self.text(index, text, out))
    }

    fn block_delta(&mut self, index: u64, delta: Delta, out: &mut VecDeque<ModelEvent>) -> Seen {
        match delta {
            Delta::Text { text } => self.text(index, text, out),
            Delta::Thinking { thinking } => self.text(index, thinking, out),
            Delta::InputJson { partial_json } => self.text(index, partial_json, out),
            // Written by the model although we do not keep it: it is not stalled.
            Delta::Signature | Delta::Citations => Seen::Progress,
            Delta::Unknown => Seen::Alive,
        }
    }

    fn text(&mut self, index: u64, text: String, out: &mut VecDeque<ModelEvent>) -> Seen {
        let Some((kind, number)) = self.open.get_mut(&index) else { return Seen::Alive };
        if text.is_empty() {
            return Seen::Alive;
        }
        let block = *number.get_or_insert_with(|| self.blocks.open());
        delta(out, block, *kind, text)
    }
}

fn stop_reason(reason: &str) -> StopReason {
    match reason {
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolCalls,
        "pause_turn" => StopReason::Pause,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextFull,
        // "end_turn", and reasons that are newer than this table: the model did end.
        _ => StopReason::End,
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Head,
    },
    ContentBlockStart {
        index: u64,
        content_block: Block,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    MessageDelta {
        delta: Tail,
        #[serde(default)]
        usage: Option<Tokens>,
    },
    MessageStop,
    Ping,
    Error {
        error: Trouble,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Tail {
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    stop_sequence: Option<String>,
}

#[derive(Deserialize)]
struct Trouble {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
    },
    ToolUse {
        id: String,
        name: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "signature_delta")]
    Signature,
    #[serde(rename = "citations_delta")]
    Citations,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
}

impl Tokens {
    /// Anthropic counts cached input apart from `input_tokens`; ours is all of it.
    fn report(self) -> UsageReport {
        let cached = self.cache_read_input_tokens;
        let beside = cached.unwrap_or(0) + self.cache_creation_input_tokens.unwrap_or(0);
        UsageReport {
            input_tokens: self.input_tokens.map(|tokens| tokens + beside),
            cached_input_tokens: cached,
            output_tokens: self.output_tokens,
            reasoning_tokens: None,
        }
    }
}
