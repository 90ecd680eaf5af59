//! What the double does for a model, read from the model's name.

use crate::clock::Stamp;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// What `/v1/models` lists; any number may stand in their place.
pub const MODELS: &[&str] = &[
    "numbered-1000",
    "paced-50-400",
    "stamped-50-400",
    "cut-after-20",
    "unfinished-20",
    "slow-start-2000",
    "fail-429",
    "fail-500",
];

const TOKENS_MAX: u64 = 10_000_000;
/// Of a numbered token.
const NUMBER_BYTES: usize = 8;

/// One way to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    pub first_after: Duration,
    /// Zero is as fast as it is read.
    pub interval: Duration,
    /// Where the output begins: behind what a prefill holds of it already.
    pub from: Start,
    /// Of the whole output, a prefill included.
    pub tokens: u64,
    pub text: Text,
    pub ending: Ending,
    /// No stream at all, but this status.
    pub refuses: Option<StatusCode>,
}

/// A place in the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    pub token: u64,
    /// Of that token.
    pub bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// Its own number, seven digits and a space.
    Numbered,
    /// The moment it was due, so that a reader can tell how late it came.
    Stamped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A finish reason, usage if asked for, and `[DONE]`.
    Finish,
    /// The body ends properly, but nobody said why: not a success.
    Unfinished,
    /// The connection breaks.
    Cut,
}

/// The output of `numbered-*` and `paced-*` of that many tokens.
pub fn numbered_text(tokens: u64) -> String {
    (0..tokens).map(|number| Text::Numbered.token(number, Stamp(0))).collect()
}

impl Script {
    /// `numbered-<tokens>`, `paced-<tokens a second>-<tokens>`, `stamped-…` alike, `cut-after-<tokens>`,
    /// `unfinished-<tokens>`, `slow-start-<ms>`, `fail-<status>`. What follows a dot only tells runs apart.
    pub fn parse(model: &str) -> Option<Script> {
        let plain = Script {
            first_after: Duration::ZERO,
            interval: Duration::ZERO,
            from: Start::default(),
            tokens: 0,
            text: Text::Numbered,
            ending: Ending::Finish,
            refuses: None,
        };
        let quick = Duration::from_millis(5);
        let (model, _) = model.split_once('.').unwrap_or((model, ""));
        let (name, number) = model.rsplit_once('-')?;
        let number = number.parse::<u64>().ok().filter(|number| *number <= TOKENS_MAX)?;
        let script = match name.split_once('-').unwrap_or((name, "")) {
            ("numbered", "") => Script { tokens: number, ..plain },
            ("paced", rate) => Script { tokens: number, interval: interval(rate)?, ..plain },
            ("stamped", rate) => {
                Script { tokens: number, interval: interval(rate)?, text: Text::Stamped, ..plain }
            }
            ("cut", "after") => Script { tokens: number, interval: quick, ending: Ending::Cut, ..plain },
            ("unfinished", "") => {
                Script { tokens: number, interval: quick, ending: Ending::Unfinished, ..plain }
            }
            ("slow", "start") => {
                Script { tokens: 20, first_after: Duration::from_millis(number), interval: quick, ..plain }
            }
            ("fail", "") => {
                Script { refuses: Some(StatusCode::from_u16(u16::try_from(number).ok()?).ok()?), ..plain }
            }
            _ => return None,
        };
        Some(script)
    }

    /// The script after what the request ends with, if that is a numbered answer that has begun.
    pub fn continued(self, request: &Value) -> Script {
        let last = request["messages"].as_array().and_then(|messages| messages.last());
        let begun = last.filter(|message| message["role"] == "assistant");
        let Some(begun) = begun.and_then(|message| message["content"].as_str()) else { return self };
        if self.text != Text::Numbered || !numbered_text(self.tokens).starts_with(begun) {
            return self;
        }
        let from = Start { token: (begun.len() / NUMBER_BYTES) as u64, bytes: begun.len() % NUMBER_BYTES };
        Script { from, ..self }
    }

    /// The script within the request's own limit, and why it then stops.
    pub fn limited(self, request: &Value) -> (Script, &'static str) {
        let limit = ["max_completion_tokens", "max_tokens"].iter().find_map(|name| request[*name].as_u64());
        match limit {
            Some(limit) if self.from.token + limit < self.tokens => {
                (Script { tokens: self.from.token + limit, ..self }, "length")
            }
            _ => (self, "stop"),
        }
    }

    pub fn whole_answer(self, request: &Value) -> Value {
        let (script, reason) = self.limited(request);
        let text: String = (0..script.tokens).map(|number| script.text.token(number, Stamp::now())).collect();
        json!({
            "id": "double", "object": "chat.completion", "created": 0, "model": request["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}],
            "usage": usage(request, script.tokens),
        })
    }
}

impl Text {
    pub fn token(self, number: u64, due: Stamp) -> String {
        match self {
            Text::Numbered => format!("{number:07} "),
            Text::Stamped => due.text(),
        }
    }
}

/// Input tokens are the words of the messages.
pub fn usage(request: &Value, output: u64) -> Value {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let input: usize = messages
        .iter()
        .filter_map(|message| message["content"].as_str())
        .map(|text| text.split_whitespace().count())
        .sum();
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input as u64 + output})
}

fn interval(rate: &str) -> Option<Duration> {
    let rate: u32 = rate.parse().ok()?;
    (rate > 0).then(|| Duration::from_secs(1) / rate)
}
