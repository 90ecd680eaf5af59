//! Cutting a run: what exactly one press of Run sends, from a prompt as it stands at that moment.

use super::variables::substitute;
use super::{
    ChatMessage, InputSet, ModelRequest, ParameterRefusal, Parameters, PromptContent, VariableKind, Variant,
};
use promptroom_protocol::Overrides;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// A run's request and all that it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cut {
    pub variant_id: String,
    /// `lane/model`
    pub model_id: String,
    pub request: ModelRequest,
    /// The values that went into the texts, by variable.
    pub values: BTreeMap<String, String>,
    /// Variables in the texts that have no value and were left as `{{name}}`.
    pub unset: Vec<String>,
    pub source: PromptContent,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CutRefusal {
    #[error("This prompt has no such variant any more.")]
    UnknownVariant,
    #[error("This prompt has no such input set any more.")]
    UnknownInputs,
    #[error("No model is chosen.")]
    NoModel,
    #[error("“{0}” is not the name of a model: it must be written as lane/model.")]
    ModelName(String),
    #[error(transparent)]
    Parameter(#[from] ParameterRefusal),
    #[error("The value of “{name}” is not {}.", expected(*.kind))]
    Value { name: String, kind: VariableKind },
    #[error("There is nothing to send: all messages are empty.")]
    Empty,
}

/// Cuts a run of the first variant, or that of `variant`; with the first input set, or that of `inputs`.
///
/// A variable takes its value from the overrides, else the set, else its default; an empty one in the set or the
/// default counts as none. Messages without text are left out.
pub fn cut(
    content: &PromptContent,
    variant: Option<&str>,
    inputs: Option<&str>,
    overrides: &Overrides,
) -> Result<Cut, CutRefusal> {
    let variant = match variant {
        Some(id) => content.variants.iter().find(|variant| variant.id == id),
        None => content.variants.first(),
    };
    let variant = variant.ok_or(CutRefusal::UnknownVariant)?;
    let inputs = match inputs {
        Some(id) => Some(content.inputs.iter().find(|set| set.id == id).ok_or(CutRefusal::UnknownInputs)?),
        None => content.inputs.first(),
    };
    let model_id = overrides.model.as_deref().unwrap_or(&variant.model);
    let model = model_name(model_id)?;
    let mut parameters = variant.parameters.clone();
    parameters.extend(overrides.parameters.clone());
    let parameters = Parameters::read(&parameters)?;
    let mut filling = Filling { content, inputs, overrides, values: BTreeMap::new(), unset: BTreeSet::new() };
    let (system, messages) = filling.texts(variant);
    if messages.is_empty() && system.is_none() {
        return Err(CutRefusal::Empty);
    }
    filling.check_kinds()?;
    let Filling { values, unset, .. } = filling;
    Ok(Cut {
        variant_id: variant.id.clone(),
        model_id: model_id.to_owned(),
        request: ModelRequest { model: model.to_owned(), system, messages, parameters, prefill: None },
        values,
        unset: unset.into_iter().collect(),
        source: content.clone(),
    })
}

/// The part after the lane; it may itself hold slashes.
fn model_name(model_id: &str) -> Result<&str, CutRefusal> {
    if model_id.is_empty() {
        return Err(CutRefusal::NoModel);
    }
    match model_id.split_once('/') {
        Some((lane, model)) if !lane.is_empty() && !model.is_empty() => Ok(model),
        _ => Err(CutRefusal::ModelName(model_id.chars().take(128).collect())),
    }
}

struct Filling<'a> {
    content: &'a PromptContent,
    inputs: Option<&'a InputSet>,
    overrides: &'a Overrides,
    values: BTreeMap<String, String>,
    unset: BTreeSet<String>,
}

impl Filling<'_> {
    fn texts(&mut self, variant: &Variant) -> (Option<String>, Vec<ChatMessage>) {
        let system = self.fill(&variant.system);
        let messages = variant
            .messages
            .iter()
            .map(|message| ChatMessage { role: message.role, text: self.fill(&message.text()) });
        let messages = messages.filter(|message| !message.text.trim().is_empty()).collect();
        (Some(system).filter(|system| !system.trim().is_empty()), messages)
    }

    fn fill(&mut self, text: &str) -> String {
        substitute(text, |name| {
            let value = self.value(name);
            match &value {
                Some(value) => drop(self.values.insert(name.to_owned(), value.clone())),
                None => drop(self.unset.insert(name.to_owned())),
            }
            value
        })
    }

    fn value(&self, name: &str) -> Option<String> {
        let given = |value: &&String| !value.is_empty();
        let set = || self.inputs.and_then(|set| set.values.get(name)).filter(given);
        let variable = || self.content.variables.iter().find(|variable| variable.name == name);
        let default = || variable().map(|variable| &variable.default).filter(given);
        self.overrides.values.get(name).or_else(set).or_else(default).cloned()
    }

    fn check_kinds(&self) -> Result<(), CutRefusal> {
        for variable in &self.content.variables {
            let Some(value) = self.values.get(&variable.name) else { continue };
            let value = value.trim();
            let fits = match variable.kind {
                VariableKind::Text => true,
                VariableKind::Json => serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok(),
                VariableKind::Number => value.parse::<f64>().is_ok_and(f64::is_finite),
                VariableKind::Boolean => matches!(value, "true" | "false"),
            };
            if !fits {
                return Err(CutRefusal::Value { name: variable.name.clone(), kind: variable.kind });
            }
        }
        Ok(())
    }
}

fn expected(kind: VariableKind) -> &'static str {
    match kind {
        VariableKind::Text => "a text",
        VariableKind::Json => "valid JSON",
        VariableKind::Number => "a number",
        VariableKind::Boolean => "true or false",
    }
}

#[cfg(test)]
mod tests {
    use super::{CutRefusal, cut};
    use crate::domain::prompt::{MessageRole, PromptContent, VariableKind};
    use promptroom_protocol::Overrides;
    use serde_json::json;

    fn content() -> PromptContent {
        serde_json::from_value(json!({
            "title": "Tea",
            "variants": [{
                "id": "main", "name": "A", "model": "router/acme/tea-1", "parameters": { "temperature": 0.2 },
                "system": "Speak {{lang}}.",
                "messages": [
                    { "id": "1", "role": "user", "parts": [{ "kind": "text", "id": "p", "text": "Say {{word}}, " },
                        { "kind": "text", "id": "q", "text": "{{times}} times, {{who}}." }] },
                    { "id": "2", "role": "assistant", "parts": [{ "kind": "text", "id": "p", "text": " \n" }] },
                ],
            }],
            "variables": [
                { "name": "lang", "type": "text", "default": "German" },
                { "name": "times", "type": "number", "default": "3" },
                { "name": "word", "type": "text", "default": "no" },
            ],
            "inputs": [
                { "id": "default", "name": "Default", "values": { "word": "{{lang}}", "lang": "" } },
                { "id": "other", "name": "Other", "values": { "word": "hi" } },
            ],
        }))
        .expect("a prompt")
    }

    #[test]
    fn a_run_takes_values_from_overrides_then_the_set_then_the_default() {
        let overrides =
            Overrides { values: [("times".to_owned(), "4".to_owned())].into(), ..Overrides::default() };
        let cut = cut(&content(), None, None, &overrides).expect("a cut");
        assert_eq!(cut.model_id, "router/acme/tea-1");
        assert_eq!(cut.request.model, "acme/tea-1");
        assert_eq!(cut.request.system.as_deref(), Some("Speak German."));
        assert_eq!(cut.request.messages.len(), 1);
        assert_eq!(cut.request.messages[0].role, MessageRole::User);
        assert_eq!(cut.request.messages[0].text, "Say {{lang}}, 4 times, {{who}}.");
        assert_eq!(cut.request.parameters.temperature, Some(0.2));
        assert_eq!(cut.unset, ["who"]);
        assert_eq!(cut.values["word"], "{{lang}}");
        assert_eq!(cut.source, content());
    }

    #[test]
    fn a_run_uses_the_variant_the_set_and_the_parameters_that_were_asked_for() {
        let overrides = Overrides {
            model: Some("demo/markdown".to_owned()),
            parameters: json!({ "temperature": null, "seed": 1 }).as_object().cloned().unwrap_or_default(),
            ..Overrides::default()
        };
        let cut = cut(&content(), Some("main"), Some("other"), &overrides).expect("a cut");
        assert_eq!(cut.request.messages[0].text, "Say hi, 3 times, {{who}}.");
        assert_eq!((cut.request.parameters.temperature, cut.request.parameters.seed), (None, Some(1)));
        assert_eq!(cut.request.model, "markdown");
    }

    #[test]
    fn what_cannot_run_is_refused_in_words() {
        let none = Overrides::default();
        let refusal = |content: &PromptContent, variant, inputs| cut(content, variant, inputs, &none).err();
        assert_eq!(refusal(&content(), Some("b"), None), Some(CutRefusal::UnknownVariant));
        assert_eq!(refusal(&content(), None, Some("b")), Some(CutRefusal::UnknownInputs));
        let mut prompt = content();
        prompt.inputs[0].values.insert("times".to_owned(), "many".to_owned());
        let refused = refusal(&prompt, None, None);
        assert_eq!(refused, Some(CutRefusal::Value { name: "times".to_owned(), kind: VariableKind::Number }));
        assert_eq!(
            refused.map(|no| no.to_string()),
            Some("The value of “times” is not a number.".to_owned())
        );
        prompt.variants[0].system.clear();
        prompt.variants[0].messages.remove(0);
        assert_eq!(refusal(&prompt, None, None), Some(CutRefusal::Empty));
        prompt.variants[0].model = "tea".to_owned();
        assert_eq!(refusal(&prompt, None, None), Some(CutRefusal::ModelName("tea".to_owned())));
        prompt.variants[0].model.clear();
        assert_eq!(refusal(&prompt, None, None), Some(CutRefusal::NoModel));
        prompt.variants.clear();
        assert_eq!(refusal(&prompt, None, None), Some(CutRefusal::UnknownVariant));
    }
}
