//! What a prompt is: messages, variables, parameters; and how it becomes the request that a model gets.

mod cut;
mod parameters;
mod patch;
mod request;
mod variables;

pub use cut::{Cut, CutRefusal, cut};
pub use parameters::{ParameterRefusal, Parameters};
pub use patch::{ContentPatch, InputSetPatch, MessagePatch, PartPatch, VariablePatch, VariantPatch};
pub use request::{ChatMessage, ModelRequest, request_hash};
pub use variables::is_variable_name;

pub(in crate::domain) use request::write_canonical;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A prompt's content, in order and without what is deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptContent {
    pub title: String,
    pub variants: Vec<Variant>,
    pub variables: Vec<Variable>,
    pub inputs: Vec<InputSet>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    pub id: String,
    pub name: String,
    /// `lane/model`
    pub model: String,
    /// As the document holds them; checked when a run is cut.
    pub parameters: serde_json::Map<String, serde_json::Value>,
    pub system: String,
    pub messages: Vec<Message>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub id: String,
    pub role: MessageRole,
    pub parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageRole {
    User,
    Assistant,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Part {
    Text { id: String, text: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variable {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: VariableKind,
    /// Used where an input set has no value; empty means none.
    pub default: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VariableKind {
    Text,
    Json,
    Number,
    Boolean,
}

/// A named set of values, by variable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSet {
    pub id: String,
    pub name: String,
    pub values: BTreeMap<String, String>,
}

/// Characters of a title that lists show.
const TITLE_CHARS_SHOWN: usize = 300;

/// The title as lists show it: its beginning, if somebody wrote a book there.
pub fn shown_title(title: &str) -> String {
    title.chars().take(TITLE_CHARS_SHOWN).collect()
}

impl Message {
    /// Its parts as one text.
    pub fn text(&self) -> String {
        self.parts.iter().map(|Part::Text { text, .. }| text.as_str()).collect()
    }
}

impl MessageRole {
    pub fn name(self) -> &'static str {
        match self {
            MessageRole::User => "user",
            MessageRole::Assistant => "assistant",
        }
    }
}

impl VariableKind {
    pub fn name(self) -> &'static str {
        match self {
            VariableKind::Text => "text",
            VariableKind::Json => "json",
            VariableKind::Number => "number",
            VariableKind::Boolean => "boolean",
        }
    }

    pub fn parse(name: &str) -> Option<VariableKind> {
        [VariableKind::Text, VariableKind::Json, VariableKind::Number, VariableKind::Boolean]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}
