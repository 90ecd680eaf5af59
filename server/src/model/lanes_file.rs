//! The file that names OpenAI-compatible lanes; see `lanes.example.toml`.

use super::{
    ConfigProblem, LaneConfig, LaneModel,
    http::checked_base_url,
    lane_config::{CancelBehaviour, PrefillStyle},
    listing::is_name,
};
use crate::domain::ledger::Price;
use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;

const RESERVED: [&str; 3] = ["demo", "openai", "anthropic"];
const LANES_MAX: usize = 100;
const SLOTS_DEFAULT: u32 = 4;
const SLOTS_MAX: u32 = 1_000;
const DOLLARS_PER_MTOK_MAX: f64 = 1_000_000.0;

/// Reads all lanes; `key` is left empty for whoever reads the environment.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn parse_lanes(toml: &str) -> Result<Vec<LaneConfig>, ConfigProblem> {
    let place = Place { toml };
    let file: File = toml::from_str(toml).map_err(|error| {
        let why = error.message().lines().next().unwrap_or("it is not TOML").to_owned();
        place.problem(error.span().as_ref(), &why)
    })?;
    if file.lane.len() > LANES_MAX {
        return Err(ConfigProblem(format!("more than {LANES_MAX} lanes")));
    }
    let mut lanes: Vec<LaneConfig> = Vec::new();
    for row in file.lane {
        let at = row.name.span();
        let lane = lane(row, &place)?;
        if lanes.iter().any(|other| other.name == lane.name) {
            return Err(
                place.problem(Some(&at), &format!("there are two lanes with the name {:?}", lane.name))
            );
        }
        lanes.push(lane);
    }
    Ok(lanes)
}

fn lane(row: LaneRow, place: &Place<'_>) -> Result<LaneConfig, ConfigProblem> {
    let at = row.name.span();
    let name = row.name.into_inner();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !(1..=40).contains(&name.len()) || !name.chars().all(plain) {
        let why = format!("lane name {name:?} must be 1 to 40 of a-z, 0-9, - and _");
        return Err(place.problem(Some(&at), &why));
    }
    if RESERVED.contains(&name.as_str()) {
        return Err(place.problem(Some(&at), &format!("the lane name {name:?} is taken by a built-in lane")));
    }
    let base_url = checked_base_url(row.base_url.get_ref())
        .map_err(|why| place.problem(Some(&row.base_url.span()), &why))?;
    let slots = row.slots.as_ref().map_or(SLOTS_DEFAULT, |slots| *slots.get_ref());
    if !(1..=SLOTS_MAX).contains(&slots) {
        let span = row.slots.as_ref().map(Spanned::span);
        return Err(place.problem(span.as_ref(), &format!("slots must be 1 to {SLOTS_MAX}")));
    }
    let mut models: Vec<LaneModel> = Vec::new();
    for row in row.models {
        let at = row.name.span();
        let model = model(row, place)?;
        if models.iter().any(|other| other.name == model.name) {
            return Err(
                place.problem(Some(&at), &format!("lane {name:?} has the model {:?} twice", model.name))
            );
        }
        models.push(model);
    }
    Ok(LaneConfig {
        name,
        base_url,
        key_variable: row.key_variable,
        key: None,
        models,
        prefill: row.prefill,
        cancel: row.cancel,
        slots,
    })
}

fn model(row: ModelRow, place: &Place<'_>) -> Result<LaneModel, ConfigProblem> {
    if !is_name(row.name.get_ref()) {
        let why =
            format!("model name {:?} must be 1 to 200 characters without white space", row.name.get_ref());
        return Err(place.problem(Some(&row.name.span()), &why));
    }
    let price = match row.price {
        Some(price) => {
            Some(price_of(price.get_ref()).map_err(|why| place.problem(Some(&price.span()), &why))?)
        }
        None => None,
    };
    Ok(LaneModel {
        name: row.name.into_inner(),
        label: row.label,
        context_tokens: row.context_tokens,
        output_tokens_max: row.output_tokens_max,
        price,
    })
}

fn price_of(row: &PriceRow) -> Result<Price, String> {
    let nanos = |name: &str, dollars: f64| {
        if (0.0..=DOLLARS_PER_MTOK_MAX).contains(&dollars) {
            return Ok((dollars * 1e9).round() as u64);
        }
        Err(format!("the price of {name} must be 0 to {DOLLARS_PER_MTOK_MAX} dollars per million tokens"))
    };
    Ok(Price {
        input_nanos_per_mtok: nanos("input", row.input)?,
        cached_input_nanos_per_mtok: nanos("cached_input", row.cached_input.unwrap_or(row.input))?,
        output_nanos_per_mtok: nanos("output", row.output)?,
        as_of: row.as_of.clone().unwrap_or_default(),
    })
}

struct Place<'a> {
    toml: &'a str,
}

impl Place<'_> {
    fn problem(&self, span: Option<&Range<usize>>, why: &str) -> ConfigProblem {
        let Some(span) = span else { return ConfigProblem(why.to_owned()) };
        let before = self.toml.as_bytes().get(..span.start).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        ConfigProblem(format!("line {line}: {why}"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    lane: Vec<LaneRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LaneRow {
    name: Spanned<String>,
    base_url: Spanned<String>,
    key_variable: Option<String>,
    #[serde(default)]
    models: Vec<ModelRow>,
    #[serde(default)]
    prefill: PrefillStyle,
    #[serde(default)]
    cancel: CancelBehaviour,
    slots: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelRow {
    name: Spanned<String>,
    label: Option<String>,
    context_tokens: Option<u64>,
    output_tokens_max: Option<u32>,
    price: Option<Spanned<PriceRow>>,
}

/// Dollars per million tokens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceRow {
    input: f64,
    cached_input: Option<f64>,
    output: f64,
    as_of: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../lanes.example.toml");

    fn line_of(toml: &str) -> String {
        parse_lanes(toml).unwrap_err().to_string()
    }

    #[test]
    fn the_example_is_read_as_it_stands() {
        let lanes = parse_lanes(EXAMPLE).unwrap();
        let names: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        assert_eq!(names, ["local", "vllm", "groq"]);
        assert_eq!(lanes[1].prefill, PrefillStyle::ContinueFinalMessage);
        assert_eq!(lanes[2].cancel, CancelBehaviour::RunsOn);
        assert_eq!(lanes[2].key_variable.as_deref(), Some("GROQ_API_KEY"));
        let price = lanes[2].models[0].price.as_ref().unwrap();
        assert_eq!((price.input_nanos_per_mtok, price.output_nanos_per_mtok), (590_000_000, 790_000_000));
    }

    #[test]
    fn an_empty_file_has_no_lanes() {
        assert_eq!(parse_lanes("# nothing\n"), Ok(Vec::new()));
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let lane = "[[lane]]\nname = \"a\"\nbase_url = \"http://x/v1\"\n";
        assert!(line_of(&format!("{lane}colour = 1\n")).starts_with("line 4: unknown field `colour`"));
        assert!(line_of("[[lane]]\nname = \"a\"\n").contains("base_url"));
        assert!(line_of("[[lane]]\nname = a\n").starts_with("line 2: "));
        assert!(line_of(&format!("{lane}prefill = \"maybe\"\n")).starts_with("line 4: "));
        assert!(line_of(&format!("{lane}slots = 0\n")).starts_with("line 4: slots"));
        assert_eq!(line_of(&format!("{lane}{lane}")), "line 5: there are two lanes with the name \"a\"");
        let models = "models = [\n  { name = \"m\" },\n  { name = \"m\" },\n]\n";
        assert_eq!(line_of(&format!("{lane}{models}")), "line 6: lane \"a\" has the model \"m\" twice");
        let price = "models = [{ name = \"m\", price = { input = -1.0, output = 2.0 } }]\n";
        assert!(line_of(&format!("{lane}{price}")).starts_with("line 4: the price of input"));
    }

    #[test]
    fn a_bad_name_or_address_is_told_with_its_line() {
        for name in ["demo", "openai", "anthropic", "", "Has Capitals", "a/b"] {
            let toml = format!("[[lane]]\nname = \"{name}\"\nbase_url = \"http://x\"\n");
            assert!(line_of(&toml).starts_with("line 2: "), "{name}");
        }
        for url in ["x", "file:///etc/passwd", "http://u:p@x"] {
            let toml = format!("[[lane]]\nname = \"a\"\nbase_url = \"{url}\"\n");
            assert!(line_of(&toml).starts_with("line 3: "), "{url}");
        }
    }
}
