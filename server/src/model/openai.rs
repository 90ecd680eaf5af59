//! OpenAI Chat Completions, and the servers that speak the same: vLLM, llama.cpp, LM Studio, LiteLLM, DeepSeek …
//!
//! `[DONE]` ends a stream, and so does the end of the connection once a finish reason was seen: the answer is
//! then whole, and only its usage may be missing. Without a finish reason the answer was cut short.

use super::{
    ModelError, ModelErrorKind, ModelEvent,
    catalog::Facts,
    decoder::{Blocks, Finish, Seen, delta, malformed, tool_header},
    lane_config::PrefillStyle,
    trouble::{kind_of_status, trouble_of},
};
use crate::domain::ledger::UsageReport;
use crate::domain::prompt::{MessageRole, ModelRequest};
use promptroom_protocol::{BlockKind, StopReason};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};

pub(super) const BASE_URL: &str = "https://api.openai.com/v1";
pub(super) const PATH: &str = "/chat/completions";
const DONE: &str = "[DONE]";
const TOOL_CALLS_MAX: usize = 1_000;

/// The body of a request; `name` is the model's name without its lane.
pub(super) fn body(name: &str, facts: &Facts, prefill: PrefillStyle, request: &ModelRequest) -> Value {
    let parameters = &request.parameters;
    let accepts = |parameter: &str| facts.parameters.contains(&parameter);
    let mut body = Map::new();
    body.insert("model".into(), name.into());
    let mut messages: Vec<Value> = Vec::new();
    if let Some(system) = request.system.as_deref().filter(|system| !system.trim().is_empty()) {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.extend(request.messages.iter().map(|message| said(message.role, &message.text)));
    let prefilled = request.prefill.as_deref().filter(|_| facts.prefill && prefill != PrefillStyle::None);
    messages.extend(prefilled.map(|text| said(MessageRole::Assistant, text)));
    body.insert("messages".into(), messages.into());
    let mut set = |parameter: &str, key: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|_| accepts(parameter)) {
            body.insert(key.to_owned(), value);
        }
    };
    set("temperature", "temperature", parameters.temperature.map(Value::from));
    set("top_p", "top_p", parameters.top_p.map(Value::from));
    let max_tokens = if facts.reasoning { "max_completion_tokens" } else { "max_tokens" };
    set("max_tokens", max_tokens, parameters.max_tokens.map(Value::from));
    set("stop", "stop", (!parameters.stop.is_empty()).then(|| json!(parameters.stop)));
    set("seed", "seed", parameters.seed.map(Value::from));
    body.insert("stream".into(), true.into());
    let mut stream_options = json!({ "include_usage": true });
    if prefill == PrefillStyle::ContinueFinalMessage {
        // vLLM then counts in every chunk, so that a stopped run is billed nearly exactly.
        stream_options["continuous_usage_stats"] = true.into();
        if prefilled.is_some() {
            body.insert("continue_final_message".into(), true.into());
            body.insert("add_generation_prompt".into(), false.into());
        }
    }
    body.insert("stream_options".into(), stream_options);
    Value::Object(body)
}

fn said(role: MessageRole, text: &str) -> Value {
    let role = match role {
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
    };
    json!({ "role": role, "content": text })
}

/// Holds which block is being written, and what is known of each tool call.
pub(super) struct OpenAiDecoder {
    provider: String,
    blocks: Blocks,
    /// The block of text or reasoning that goes on until something else is said.
    open: Option<(u32, BlockKind)>,
    tools: BTreeMap<u64, ToolCall>,
    refused: bool,
    finish: Option<Finish>,
}

#[derive(Default)]
struct ToolCall {
    id: String,
    /// Set once the header is written.
    block: Option<u32>,
}

impl OpenAiDecoder {
    pub(super) fn new(provider: &str) -> OpenAiDecoder {
        OpenAiDecoder {
            provider: provider.to_owned(),
            blocks: Blocks::default(),
            open: None,
            tools: BTreeMap::new(),
            refused: false,
            finish: None,
        }
    }

    pub(super) fn finish(&self) -> Option<&Finish> {
        self.finish.as_ref()
    }

    pub(super) fn event(&mut self, data: &str, out: &mut VecDeque<ModelEvent>) -> Result<Seen, ModelError> {
        if data.trim() == DONE {
            return Ok(Seen::Done);
        }
        if data.trim().is_empty() {
            return Ok(Seen::Alive);
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| malformed(&self.provider, &error))?;
        if chunk.error.is_some() || chunk.object.as_deref() == Some("error") {
            return Err(self.trouble(data));
        }
        let mut seen = Seen::Alive;
        for choice in chunk.choices.into_iter().flatten().filter(|choice| choice.index == 0) {
            if self.choice(choice, out)? == Seen::Progress {
                seen = Seen::Progress;
            }
        }
        out.extend(chunk.usage.map(|usage| ModelEvent::Usage(usage.report())));
        Ok(seen)
    }

    fn choice(&mut self, choice: Choice, out: &mut VecDeque<ModelEvent>) -> Result<Seen, ModelError> {
        let mut seen = Seen::Alive;
        let said = choice.delta.unwrap_or_default();
        // Two names for the same thing, of which some servers send both.
        let reasoning = said.reasoning_content.filter(|text| !text.is_empty()).or(said.reasoning);
        for (kind, text) in [
            (BlockKind::Reasoning, reasoning),
            (BlockKind::Text, said.content),
            (BlockKind::Text, said.refusal.clone()),
        ] {
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                seen = self.text(kind, text, out);
            }
        }
        self.refused |= said.refusal.is_some_and(|text| !text.is_empty());
        for call in said.tool_calls.into_iter().flatten() {
            if self.tool_call(call, out)? == Seen::Progress {
                seen = Seen::Progress;
            }
        }
        // Some servers send an empty reason until there is one.
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            if reason == "insufficient_system_resource" {
                let message = format!("{} broke off: it is out of capacity.", self.provider);
                return Err(ModelError::new(ModelErrorKind::Overloaded, message));
            }
            // vLLM names the stop sequence that was met.
            let sequence = choice.stop_reason.and_then(|reason| reason.as_str().map(str::to_owned));
            self.finish = Some((self.stop_reason(&reason, sequence.is_some()), sequence));
            seen = Seen::Progress;
        }
        Ok(seen)
    }

    fn text(&mut self, kind: BlockKind, text: String, out: &mut VecDeque<ModelEvent>) -> Seen {
        let block = match self.open {
            Some((block, open)) if open == kind => block,
            _ => self.blocks.open(),
        };
        self.open = Some((block, kind));
        delta(out, block, kind, text)
    }

    fn tool_call(&mut self, call: CallDelta, out: &mut VecDeque<ModelEvent>) -> Result<Seen, ModelError> {
        self.open = None;
        if self.tools.len() >= TOOL_CALLS_MAX {
            let message = format!("{} asked for too many tool calls.", self.provider);
            return Err(ModelError::new(ModelErrorKind::Malformed, message));
        }
        // Some servers give whole calls one after the other under the same index, or under none.
        let index = call.index.unwrap_or(0);
        let known = self.tools.entry(index).or_default();
        let id = call.id.unwrap_or_default();
        let function = call.function.unwrap_or_default();
        if !id.is_empty() && !known.id.is_empty() && id != known.id {
            *known = ToolCall::default();
        }
        if !id.is_empty() {
            known.id = id;
        }
        let name = function.name.unwrap_or_default();
        let arguments = function.arguments.unwrap_or_default();
        let block = match known.block {
            Some(block) => block,
            None if name.is_empty() && arguments.is_empty() => return Ok(Seen::Alive),
            None => {
                if known.id.is_empty() {
                    known.id = format!("call_{index}");
                }
                let block = self.blocks.open();
                known.block = Some(block);
                delta(out, block, BlockKind::ToolCall, tool_header(&known.id, &name));
                block
            }
        };
        delta(out, block, BlockKind::ToolCall, arguments);
        Ok(Seen::Progress)
    }

    fn stop_reason(&self, reason: &str, at_sequence: bool) -> StopReason {
        match reason {
            "length" => StopReason::MaxTokens,
            "tool_calls" | "function_call" => StopReason::ToolCalls,
            "content_filter" => StopReason::ContentFilter,
            _ if self.refused => StopReason::Refusal,
            _ if at_sequence => StopReason::StopSequence,
            // "stop", and reasons that only some servers know: the model did end.
            _ => StopReason::End,
        }
    }

    fn trouble(&self, data: &str) -> ModelError {
        let trouble = trouble_of(data.as_bytes());
        let kind = match trouble.kind.as_str() {
            "server_error" => ModelErrorKind::Provider,
            "overloaded_error" => ModelErrorKind::Overloaded,
            "rate_limit_exceeded" | "rate_limit_error" => ModelErrorKind::RateLimited,
            "invalid_request_error" | "BadRequestError" => ModelErrorKind::BadRequest,
            _ => trouble.status.map_or(ModelErrorKind::Provider, kind_of_status),
        };
        let error = ModelError::new(kind, format!("{} broke off: {}", self.provider, trouble.message));
        ModelError { status: trouble.status, ..error }
    }
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    object: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Tokens>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    delta: Option<Said>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    stop_reason: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionDelta>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(default)]
    completion_tokens_details: Option<OutputDetails>,
    /// DeepSeek's name for cached input.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

impl Tokens {
    fn report(self) -> UsageReport {
        let cached = self.prompt_tokens_details.and_then(|details| details.cached_tokens);
        UsageReport {
            input_tokens: self.prompt_tokens,
            cached_input_tokens: cached.or(self.prompt_cache_hit_tokens),
            output_tokens: self.completion_tokens,
            reasoning_tokens: self.completion_tokens_details.and_then(|details| details.reasoning_tokens),
        }
    }
}
