//! The parameters of a request, and what values they may have.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

const MAX_TOKENS_MAX: u32 = 1_000_000;
const STOP_COUNT_MAX: usize = 16;
const STOP_CHARS_MAX: usize = 256;
/// Above this a page cannot show the number exactly.
const SEED_MAX: u64 = (1 << 53) - 1;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParameterRefusal {
    #[error("There is no parameter called “{0}”.")]
    Unknown(String),
    #[error("{name} must be {expected}.")]
    Value { name: &'static str, expected: &'static str },
}

impl Parameters {
    /// Reads parameters by name. `null` and an empty text mean "not set".
    pub fn read(values: &Map<String, Value>) -> Result<Parameters, ParameterRefusal> {
        let mut parameters = Parameters::default();
        for (name, value) in values {
            let known = matches!(name.as_str(), "temperature" | "top_p" | "max_tokens" | "stop" | "seed");
            if !known {
                return Err(ParameterRefusal::Unknown(name.chars().take(64).collect()));
            }
            if !value.is_null() && value.as_str() != Some("") {
                parameters.set(name, value)?;
            }
        }
        Ok(parameters)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), ParameterRefusal> {
        match name {
            "temperature" => {
                let expected = "a number from 0 to 2";
                self.temperature = Some(number(value, 2.0).ok_or(wrong("temperature", expected))?);
            }
            "top_p" => self.top_p = Some(number(value, 1.0).ok_or(wrong("top_p", "a number from 0 to 1"))?),
            "max_tokens" => {
                let tokens = whole(value).and_then(|tokens| u32::try_from(tokens).ok());
                let tokens = tokens.filter(|tokens| (1..=MAX_TOKENS_MAX).contains(tokens));
                self.max_tokens =
                    Some(tokens.ok_or(wrong("max_tokens", "a whole number from 1 to 1,000,000"))?);
            }
            "seed" => {
                let seed = whole(value).filter(|seed| *seed <= SEED_MAX);
                self.seed =
                    Some(seed.ok_or(wrong("seed", "a whole number from 0 to 9,007,199,254,740,991"))?);
            }
            "stop" => {
                let expected = "at most 16 texts of at most 256 characters, one on each line";
                self.stop = stops(value).ok_or(wrong("stop", expected))?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn wrong(name: &'static str, expected: &'static str) -> ParameterRefusal {
    ParameterRefusal::Value { name, expected }
}

fn number(value: &Value, max: f64) -> Option<f64> {
    value.as_f64().filter(|number| (0.0..=max).contains(number))
}

/// A whole number, also where a Yjs client wrote it as a float.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        let fits = number.fract() == 0.0 && (0.0..=SEED_MAX as f64).contains(&number);
        fits.then_some(number as u64)
    })
}

/// The document holds one text with a sequence on each line; the API also takes a list.
fn stops(value: &Value) -> Option<Vec<String>> {
    let stops: Vec<&str> = match value {
        Value::String(lines) => lines.split('\n').collect(),
        Value::Array(items) => items.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let stops: Vec<String> = stops.into_iter().filter(|stop| !stop.is_empty()).map(str::to_owned).collect();
    let fits =
        stops.len() <= STOP_COUNT_MAX && stops.iter().all(|stop| stop.chars().count() <= STOP_CHARS_MAX);
    fits.then_some(stops)
}

#[cfg(test)]
mod tests {
    use super::{ParameterRefusal, Parameters};
    use serde_json::json;

    fn read(value: serde_json::Value) -> Result<Parameters, ParameterRefusal> {
        Parameters::read(value.as_object().expect("an object"))
    }

    #[test]
    fn parameters_are_read_as_pages_and_callers_write_them() {
        let read = read(json!({
            "temperature": 0, "top_p": 0.9, "max_tokens": 256.0, "stop": "END\n\n\t.", "seed": 7
        }));
        let expected = Parameters {
            temperature: Some(0.0),
            top_p: Some(0.9),
            max_tokens: Some(256),
            stop: vec!["END".to_owned(), "\t.".to_owned()],
            seed: Some(7),
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn null_and_empty_mean_not_set() {
        assert_eq!(
            read(json!({ "temperature": null, "stop": "", "max_tokens": "" })),
            Ok(Parameters::default())
        );
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_is_expected() {
        for (value, says) in [
            (json!({ "temperature": 2.1 }), "temperature must be a number from 0 to 2."),
            (json!({ "temperature": "0.7" }), "temperature must be a number from 0 to 2."),
            (json!({ "top_p": -0.1 }), "top_p must be a number from 0 to 1."),
            (json!({ "max_tokens": 0 }), "max_tokens must be a whole number from 1 to 1,000,000."),
            (json!({ "max_tokens": 1.5 }), "max_tokens must be a whole number from 1 to 1,000,000."),
            (
                json!({ "stop": [1] }),
                "stop must be at most 16 texts of at most 256 characters, one on each line.",
            ),
            (json!({ "seed": -1 }), "seed must be a whole number from 0 to 9,007,199,254,740,991."),
            (json!({ "top_k": 5 }), "There is no parameter called “top_k”."),
        ] {
            assert_eq!(read(value).expect_err("refused").to_string(), says);
        }
    }
}
