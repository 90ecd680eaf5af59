//! The request that a model gets, the same for all providers.

use super::{MessageRole, Parameters};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRequest {
    /// The model's name inside its lane.
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    pub messages: Vec<ChatMessage>,
    pub parameters: Parameters,
    /// The beginning of the answer, which the model is to go on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    pub role: MessageRole,
    pub text: String,
}

/// SHA-256 in hex over the canonical JSON of a request and the lane that it goes to.
pub fn request_hash(request: &ModelRequest, model_id: &str) -> String {
    let request = serde_json::to_value(request).unwrap_or_default();
    let mut canonical = String::new();
    write_canonical(&serde_json::json!({ "model": model_id, "request": request }), &mut canonical);
    let mut hash = String::with_capacity(64);
    for byte in Sha256::digest(canonical.as_bytes()) {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// Keys in the order of their bytes and nothing between tokens, whatever order a map has.
pub(in crate::domain) fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                out.push_str(if number > 0 { "," } else { "" });
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (number, (key, item)) in fields.into_iter().enumerate() {
                out.push_str(if number > 0 { "," } else { "" });
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(item, out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ModelRequest, request_hash};
    use crate::domain::prompt::Parameters;

    fn request() -> ModelRequest {
        ModelRequest {
            model: "m".to_owned(),
            system: None,
            messages: Vec::new(),
            parameters: Parameters::default(),
            prefill: None,
        }
    }

    #[test]
    fn the_hash_tells_lanes_texts_and_parameters_apart() {
        let plain = request_hash(&request(), "a/m");
        let warm = ModelRequest {
            parameters: Parameters { temperature: Some(0.5), ..Parameters::default() },
            ..request()
        };
        assert_eq!(plain, request_hash(&request(), "a/m"));
        assert_eq!(plain.len(), 64);
        assert_ne!(plain, request_hash(&request(), "b/m"));
        assert_ne!(plain, request_hash(&warm, "a/m"));
    }
}
