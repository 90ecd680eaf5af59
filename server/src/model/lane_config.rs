//! What the configuration says of lanes, and what a caller may know of one.

use super::Secret;
use crate::domain::ledger::Price;
use serde::Deserialize;
use std::fmt;

/// Everything that the models need from the configuration.
#[derive(Clone, Debug, Default)]
pub struct ModelsConfig {
    pub demo: bool,
    /// Milliseconds between the demo models' tokens instead of their own pace; 0 is as fast as possible.
    pub demo_pace_ms: Option<u64>,
    pub anthropic: Option<ProviderConfig>,
    pub openai: Option<ProviderConfig>,
    pub lanes: Vec<LaneConfig>,
}

/// A provider whose wire is built in.
#[derive(Clone, Debug)]
pub struct ProviderConfig {
    pub key: Secret,
    /// As the provider's own SDK knows it; the public address if absent.
    pub base_url: Option<String>,
}

/// One OpenAI-compatible endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneConfig {
    pub name: String,
    /// With `/v1`, where the server has it.
    pub base_url: String,
    /// The environment variable that holds the key; whoever reads the environment fills in `key`.
    pub key_variable: Option<String>,
    pub key: Option<Secret>,
    /// Empty: ask the endpoint.
    pub models: Vec<LaneModel>,
    pub prefill: PrefillStyle,
    pub cancel: CancelBehaviour,
    pub slots: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneModel {
    pub name: String,
    pub label: Option<String>,
    pub context_tokens: Option<u64>,
    pub output_tokens_max: Option<u32>,
    pub price: Option<Price>,
}

/// How an endpoint is asked to go on in the middle of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefillStyle {
    #[default]
    None,
    /// vLLM: `continue_final_message`.
    ContinueFinalMessage,
    /// llama.cpp, Anthropic: the last message is the assistant's.
    AssistantMessage,
}

/// What a provider does when its caller hangs up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelBehaviour {
    #[default]
    Stops,
    /// It writes to the end and bills all of it.
    RunsOn,
}

/// What a caller may know of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneInfo {
    pub name: String,
    /// For people: "Anthropic", "OpenAI", the lane's own name.
    pub provider: String,
    /// Runs at one time.
    pub slots: u32,
    pub cancel: CancelBehaviour,
    pub prefill: PrefillStyle,
}

/// A configuration that cannot work: one line that says where and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem(pub String);

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigProblem {}
