//! What is publicly known of models, as data: names, sizes, prices with their date, and what they accept.

use crate::domain::ledger::Price;

/// Output tokens that are asked for where the provider wants a number and the prompt has none.
pub(super) const OUTPUT_TOKENS_DEFAULT: u32 = 8_192;

pub(super) const PARAMETERS_ALL: &[&str] = &["temperature", "top_p", "max_tokens", "stop", "seed"];
const PARAMETERS_ANTHROPIC: &[&str] = &["temperature", "top_p", "max_tokens", "stop"];
/// Reasoning models refuse sampling parameters and stop sequences.
const PARAMETERS_REASONING: &[&str] = &["max_tokens"];

/// What is known of one model.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) label: String,
    pub(super) context_tokens: Option<u64>,
    pub(super) output_tokens_max: Option<u32>,
    pub(super) price: Option<Price>,
    pub(super) parameters: &'static [&'static str],
    /// Known to go on from a partial answer; unknown is no.
    pub(super) prefill: bool,
    /// OpenAI's reasoning models take `max_completion_tokens` and no sampling parameters.
    pub(super) reasoning: bool,
    pub(super) notice: Option<&'static str>,
}

/// The models that a lane offers when its provider cannot be asked.
pub(super) fn known(provider: Provider) -> impl Iterator<Item = &'static str> {
    rows(provider).iter().map(|row| row.name)
}

/// Whose names these are: the same name on somebody else's endpoint may have another price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Anthropic,
    OpenAi,
}

/// What is known of `name`, which may carry a date: `gpt-4.1-mini-2025-04-14`.
pub(super) fn facts(provider: Provider, name: &str) -> Facts {
    let row = rows(provider).iter().find(|row| is_version_of(name, row.name));
    let reasoning = provider == Provider::OpenAi && is_reasoning(name);
    Facts {
        label: row.map_or(name, |row| row.label).to_owned(),
        context_tokens: row.map(|row| row.context_tokens),
        output_tokens_max: row.map(|row| row.output_tokens_max),
        price: row.map(Row::price),
        parameters: match provider {
            Provider::Anthropic => PARAMETERS_ANTHROPIC,
            Provider::OpenAi => parameters_of(name),
        },
        prefill: row.is_some_and(|row| row.prefill),
        reasoning,
        notice: None,
    }
}

/// The parameters that a model on the OpenAI wire takes.
pub(super) fn parameters_of(name: &str) -> &'static [&'static str] {
    if is_reasoning(name) { PARAMETERS_REASONING } else { PARAMETERS_ALL }
}

/// OpenAI's reasoning families, also behind a gateway that writes the maker before the name.
pub(super) fn is_reasoning(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    ["o1", "o3", "o4", "gpt-5"].iter().any(|family| {
        name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
    }) && !name.contains("-chat")
}

fn is_version_of(name: &str, row: &str) -> bool {
    name.strip_prefix(row).is_some_and(|rest| {
        rest.is_empty()
            || rest.strip_prefix('-').is_some_and(|date| date.starts_with("20") || date == "latest")
    })
}

struct Row {
    name: &'static str,
    label: &'static str,
    context_tokens: u64,
    output_tokens_max: u32,
    /// Thousandths of a dollar per million tokens: input, cached input, output.
    price_millis: [u64; 3],
    prefill: bool,
}

impl Row {
    fn price(&self) -> Price {
        let [input, cached, output] = self.price_millis.map(|millis| millis * 1_000_000);
        Price {
            input_nanos_per_mtok: input,
            cached_input_nanos_per_mtok: cached,
            output_nanos_per_mtok: output,
            as_of: AS_OF.to_owned(),
        }
    }
}

const AS_OF: &str = "2025-12-01";

fn rows(provider: Provider) -> &'static [Row] {
    match provider {
        Provider::Anthropic => ANTHROPIC,
        Provider::OpenAi => OPENAI,
    }
}

const fn claude(
    name: &'static str,
    label: &'static str,
    output_tokens_max: u32,
    price_millis: [u64; 3],
) -> Row {
    Row { name, label, context_tokens: 200_000, output_tokens_max, price_millis, prefill: true }
}

const fn gpt(
    name: &'static str,
    label: &'static str,
    context_tokens: u64,
    output_tokens_max: u32,
    price_millis: [u64; 3],
) -> Row {
    Row { name, label, context_tokens, output_tokens_max, price_millis, prefill: false }
}

/// All of these accept a prefilled answer; from 4.6 on none does, so newer ones are unknown on purpose.
const ANTHROPIC: &[Row] = &[
    claude("claude-sonnet-4-5", "Claude Sonnet 4.5", 64_000, [3_000, 300, 15_000]),
    claude("claude-haiku-4-5", "Claude Haiku 4.5", 64_000, [1_000, 100, 5_000]),
    claude("claude-opus-4-5", "Claude Opus 4.5", 64_000, [5_000, 500, 25_000]),
    claude("claude-opus-4-1", "Claude Opus 4.1", 32_000, [15_000, 1_500, 75_000]),
    claude("claude-sonnet-4", "Claude Sonnet 4", 64_000, [3_000, 300, 15_000]),
];

const OPENAI: &[Row] = &[
    gpt("gpt-4.1", "GPT-4.1", 1_047_576, 32_768, [2_000, 500, 8_000]),
    gpt("gpt-4.1-mini", "GPT-4.1 mini", 1_047_576, 32_768, [400, 100, 1_600]),
    gpt("gpt-4.1-nano", "GPT-4.1 nano", 1_047_576, 32_768, [100, 25, 400]),
    gpt("gpt-4o", "GPT-4o", 128_000, 16_384, [2_500, 1_250, 10_000]),
    gpt("gpt-4o-mini", "GPT-4o mini", 128_000, 16_384, [150, 75, 600]),
    gpt("gpt-5", "GPT-5", 400_000, 128_000, [1_250, 125, 10_000]),
    gpt("gpt-5-mini", "GPT-5 mini", 400_000, 128_000, [250, 25, 2_000]),
    gpt("gpt-5-nano", "GPT-5 nano", 400_000, 128_000, [50, 5, 400]),
    gpt("o3", "o3", 200_000, 100_000, [2_000, 500, 8_000]),
    gpt("o4-mini", "o4-mini", 200_000, 100_000, [1_100, 275, 4_400]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ledger::cost;
    use promptroom_protocol::{Nanodollars, Usage};

    fn usage(input: u64, cached: u64, output: u64) -> Usage {
        Usage { input_tokens: input, cached_input_tokens: cached, output_tokens: output, ..Usage::default() }
    }

    fn price_of(name: &str) -> Price {
        let provider = if name.starts_with("claude") { Provider::Anthropic } else { Provider::OpenAi };
        facts(provider, name).price.unwrap()
    }

    #[test]
    fn a_million_tokens_cost_the_public_price() {
        let sonnet = price_of("claude-sonnet-4-5");
        assert_eq!(cost(&sonnet, &usage(1_000_000, 0, 1_000_000)), Nanodollars(18_000_000_000));
        assert_eq!(cost(&sonnet, &usage(1_000_000, 1_000_000, 0)), Nanodollars(300_000_000));
        let nano = price_of("gpt-4.1-nano");
        assert_eq!(cost(&nano, &usage(1_000_000, 0, 1_000_000)), Nanodollars(500_000_000));
    }

    #[test]
    fn a_price_neither_overflows_nor_goes_below_zero() {
        let price = price_of("claude-opus-4-1");
        assert_eq!(cost(&price, &usage(5, 9, 0)), Nanodollars(7_500));
        assert_eq!(cost(&price, &usage(u64::MAX, 0, u64::MAX)), Nanodollars(i64::MAX));
        assert_eq!(cost(&Price::FREE, &usage(10, 0, 10)), Nanodollars(0));
    }

    #[test]
    fn a_dated_name_is_the_same_model_and_a_longer_name_is_another() {
        assert_eq!(facts(Provider::OpenAi, "gpt-4.1-2025-04-14").label, "GPT-4.1");
        assert_eq!(facts(Provider::OpenAi, "gpt-4.1-mini").label, "GPT-4.1 mini");
        assert_eq!(facts(Provider::Anthropic, "claude-sonnet-4-20250514").label, "Claude Sonnet 4");
        assert_eq!(facts(Provider::Anthropic, "claude-sonnet-4-5-20250929").label, "Claude Sonnet 4.5");
        assert!(facts(Provider::OpenAi, "gpt-4.1-turbo").price.is_none());
        assert!(facts(Provider::OpenAi, "gpt-5.1").price.is_none());
    }

    #[test]
    fn prefill_is_only_for_models_that_are_known_to_take_it() {
        assert!(facts(Provider::Anthropic, "claude-haiku-4-5").prefill);
        assert!(!facts(Provider::Anthropic, "claude-sonnet-4-6").prefill);
        assert!(!facts(Provider::Anthropic, "claude-something-new").prefill);
        assert!(!facts(Provider::OpenAi, "gpt-4.1").prefill);
    }

    #[test]
    fn reasoning_models_take_no_sampling_parameters() {
        for name in ["o3", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-5.1", "openai/o1"] {
            assert_eq!(parameters_of(name), ["max_tokens"], "{name}");
        }
        for name in ["gpt-4o", "o365-helper", "gpt-50", "gpt-5-chat-latest", "llama-3"] {
            assert_eq!(parameters_of(name), PARAMETERS_ALL, "{name}");
        }
    }
}
