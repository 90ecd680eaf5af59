//! What an attempt is billed: as the provider reported it, or else as an estimate that is marked so.

use promptroom_protocol::{Nanodollars, Usage};
use serde::{Deserialize, Serialize};

/// Nanodollars per million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub input_nanos_per_mtok: u64,
    pub cached_input_nanos_per_mtok: u64,
    pub output_nanos_per_mtok: u64,
    /// The day on which this was the public price, `YYYY-MM-DD`; empty where nothing is charged.
    pub as_of: String,
}

impl Price {
    pub const FREE: Price = Price {
        input_nanos_per_mtok: 0,
        cached_input_nanos_per_mtok: 0,
        output_nanos_per_mtok: 0,
        as_of: String::new(),
    };
}

/// What `usage` costs, rounded to the nearest nanodollar.
pub fn cost(price: &Price, usage: &Usage) -> Nanodollars {
    let cached = usage.cached_input_tokens.min(usage.input_tokens);
    let parts = [
        (usage.input_tokens - cached, price.input_nanos_per_mtok),
        (cached, price.cached_input_nanos_per_mtok),
        (usage.output_tokens, price.output_nanos_per_mtok),
    ];
    let total: u128 = parts.iter().map(|(tokens, nanos)| u128::from(*tokens) * u128::from(*nanos)).sum();
    Nanodollars(i64::try_from((total + 500_000) / 1_000_000).unwrap_or(i64::MAX))
}

/// A guess where a provider says nothing: four bytes of ASCII to a token, two bytes of anything else.
///
/// English comes out within about a fifth of the usual tokenisers, other scripts rather too high than too low.
pub fn estimate_tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    estimate_tokens_of(ascii, text.len() as u64 - ascii)
}

/// The same for text that was counted as it went by: its ASCII bytes, and all others.
pub fn estimate_tokens_of(ascii_bytes: u64, other_bytes: u64) -> u64 {
    ascii_bytes.div_ceil(4) + other_bytes.div_ceil(2)
}

/// Tokens as the provider counts them; `None` is unknown, which is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageReport {
    /// All input, cached input included.
    pub input_tokens: Option<u64>,
    /// Part of `input_tokens`.
    pub cached_input_tokens: Option<u64>,
    /// All output, reasoning included.
    pub output_tokens: Option<u64>,
    /// Part of `output_tokens`.
    pub reasoning_tokens: Option<u64>,
}

impl UsageReport {
    /// Lays a later report over this one: what it leaves out stays as it was.
    pub fn update(&mut self, later: UsageReport) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.cached_input_tokens = later.cached_input_tokens.or(self.cached_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.reasoning_tokens = later.reasoning_tokens.or(self.reasoning_tokens);
    }

    /// Fills what the provider did not say with estimates, and marks the result so.
    pub fn settle(self, input_estimate: u64, output_estimate: u64) -> Usage {
        Usage {
            input_tokens: self.input_tokens.unwrap_or(input_estimate),
            cached_input_tokens: self.cached_input_tokens.unwrap_or(0),
            output_tokens: self.output_tokens.unwrap_or(output_estimate),
            reasoning_tokens: self.reasoning_tokens.unwrap_or(0),
            estimated: self.input_tokens.is_none() || self.output_tokens.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_zero_is_not_replaced_by_an_estimate() {
        let report = UsageReport { input_tokens: Some(9), output_tokens: Some(0), ..UsageReport::default() };
        let usage = report.settle(100, 100);
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (9, 0, false));
    }

    #[test]
    fn what_is_unknown_is_estimated_and_marked() {
        let usage = UsageReport { input_tokens: Some(9), ..UsageReport::default() }.settle(100, 7);
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.estimated), (9, 7, true));
    }

    #[test]
    fn a_later_report_keeps_what_it_leaves_out() {
        let mut report =
            UsageReport { input_tokens: Some(25), output_tokens: Some(1), ..UsageReport::default() };
        report.update(UsageReport { output_tokens: Some(15), ..UsageReport::default() });
        assert_eq!((report.input_tokens, report.output_tokens), (Some(25), Some(15)));
    }

    #[test]
    fn an_estimate_counts_ascii_in_fours_and_other_scripts_in_twos() {
        assert_eq!(estimate_tokens(""), 0);
        assert_eq!(estimate_tokens("four"), 1);
        assert_eq!(estimate_tokens("fives"), 2);
        assert_eq!(estimate_tokens("日本"), 3);
    }
}
