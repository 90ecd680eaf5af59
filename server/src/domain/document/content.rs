//! Reads a prompt out of the document. Anything may be in there: what does not fit the schema is skipped.

use crate::domain::prompt::{
    InputSet, Message, MessageRole, Part, PromptContent, Variable, VariableKind, Variant,
};
use serde_json::{Map as JsonMap, Number, Value};
use yrs::{Any, GetString, Map, MapRef, Out, ReadTxn};

pub(super) fn read(txn: &impl ReadTxn) -> PromptContent {
    PromptContent {
        title: title(txn),
        variants: entries(txn, txn.get_map("variants")).map(|(id, map)| variant(txn, id, &map)).collect(),
        variables: entries(txn, txn.get_map("variables"))
            .map(|(name, map)| variable(txn, name, &map))
            .collect(),
        inputs: entries(txn, txn.get_map("inputs")).map(|(id, map)| input_set(txn, id, &map)).collect(),
    }
}

pub(super) fn title(txn: &impl ReadTxn) -> String {
    txn.get_text("title").map(|text| text.get_string(txn)).unwrap_or_default()
}

/// The entries of a keyed list that are not deleted, by their order and then by their id.
pub(super) fn entries<T: ReadTxn>(txn: &T, list: Option<MapRef>) -> impl Iterator<Item = (String, MapRef)> {
    let mut entries = all_entries(txn, list);
    entries.retain(|(_, _, map)| !matches!(map.get(txn, "deleted"), Some(Out::Any(Any::Bool(true)))));
    entries.into_iter().map(|(_, id, map)| (id, map))
}

/// Those and the deleted ones: order, id, map.
fn all_entries<T: ReadTxn>(txn: &T, list: Option<MapRef>) -> Vec<(String, String, MapRef)> {
    let mut entries = Vec::new();
    if let Some(list) = list {
        for (id, value) in list.iter(txn) {
            if let Out::YMap(map) = value {
                entries.push((string(txn, &map, "order"), id.to_owned(), map));
            }
        }
    }
    entries.sort_by(|left, right| (&left.0, &left.1).cmp(&(&right.0, &right.1)));
    entries
}

pub(super) fn string<T: ReadTxn>(txn: &T, map: &MapRef, key: &str) -> String {
    match map.get(txn, key) {
        Some(Out::Any(Any::String(value))) => value.to_string(),
        _ => String::new(),
    }
}

pub(super) fn nested<T: ReadTxn>(txn: &T, map: &MapRef, key: &str) -> Option<MapRef> {
    match map.get(txn, key) {
        Some(Out::YMap(nested)) => Some(nested),
        _ => None,
    }
}

/// A value as JSON; what JSON has not becomes `null`.
pub(super) fn json(value: &Any) -> Value {
    match value {
        Any::Null | Any::Undefined | Any::Buffer(_) => Value::Null,
        Any::Bool(value) => Value::Bool(*value),
        Any::Number(yrs::Number::Int(value)) => Value::Number((*value).into()),
        Any::Number(yrs::Number::Float(value)) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
        Any::String(value) => Value::String(value.to_string()),
        Any::Array(items) => Value::Array(items.iter().map(json).collect()),
        Any::Map(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), json(value))).collect())
        }
    }
}

fn variant<T: ReadTxn>(txn: &T, id: String, map: &MapRef) -> Variant {
    let messages = entries(txn, nested(txn, map, "messages"));
    Variant {
        id,
        name: string(txn, map, "name"),
        model: string(txn, map, "model"),
        parameters: nested(txn, map, "params").map(|params| parameters(txn, &params)).unwrap_or_default(),
        system: text(txn, map, "system"),
        messages: messages.map(|(id, map)| message(txn, id, &map)).collect(),
    }
}

fn parameters<T: ReadTxn>(txn: &T, params: &MapRef) -> JsonMap<String, Value> {
    let values = params.iter(txn).filter_map(|(name, value)| match value {
        Out::Any(value) => Some((name.to_owned(), json(&value))),
        _ => None,
    });
    values.collect()
}

fn message<T: ReadTxn>(txn: &T, id: String, map: &MapRef) -> Message {
    let role =
        if string(txn, map, "role") == "assistant" { MessageRole::Assistant } else { MessageRole::User };
    let parts =
        entries(txn, nested(txn, map, "parts")).filter(|(_, part)| string(txn, part, "kind") == "text");
    let parts = parts.map(|(id, part)| Part::Text { id, text: text(txn, &part, "text") }).collect();
    Message { id, role, parts }
}

fn variable<T: ReadTxn>(txn: &T, name: String, map: &MapRef) -> Variable {
    let kind = VariableKind::parse(&string(txn, map, "type")).unwrap_or(VariableKind::Text);
    Variable { name, kind, default: text(txn, map, "default") }
}

fn input_set<T: ReadTxn>(txn: &T, id: String, map: &MapRef) -> InputSet {
    let mut set = InputSet { id, name: string(txn, map, "name"), values: [].into() };
    if let Some(values) = nested(txn, map, "values") {
        for (name, value) in values.iter(txn) {
            if let Out::YText(value) = value {
                set.values.insert(name.to_owned(), value.get_string(txn));
            }
        }
    }
    set
}

fn text<T: ReadTxn>(txn: &T, map: &MapRef, key: &str) -> String {
    match map.get(txn, key) {
        Some(Out::YText(text)) => text.get_string(txn),
        _ => String::new(),
    }
}
