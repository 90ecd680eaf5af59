//! Edits of our own, for callers of the HTTP API: as small as they can be, so that carets and typing survive.
//!
//! Nothing nested is ever removed from its map: Yjs itself diverges when somebody undoes that.

use super::Broken;
use super::content::{entries, nested, string};
use super::order::arrange;
use crate::domain::prompt::{
    ContentPatch, InputSetPatch, MessagePatch, MessageRole, ParameterRefusal, Parameters, PartPatch,
    PromptContent, VariablePatch, VariantPatch, is_variable_name,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use thiserror::Error;
use yrs::{
    Any, GetString, Map, MapPrelim, MapRef, Out, ReadTxn, Text, TextPrelim, TextRef, TransactionMut, WriteTxn,
};

const ID_CHARS_MAX: usize = 64;
pub(super) const FIRST_PART: &str = "text";

/// Why a change was not made; the document is as it was, except after `Broken`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EditRefusal {
    #[error("The prompt has no variant “{0}”.")]
    UnknownVariant(String),
    #[error("The prompt has no input set “{0}”.")]
    UnknownInputs(String),
    #[error("“{0}” cannot be a variable: a name has letters, digits, “_”, “-” and “.”.")]
    VariableName(String),
    #[error("“{0}” cannot be an id here: one has 1 to 64 characters and stands once in a list.")]
    Id(String),
    #[error("A message takes either “text” or “parts”.")]
    TextAndParts,
    #[error(transparent)]
    Parameter(#[from] ParameterRefusal),
    #[error("The prompt would become too large.")]
    TooLarge,
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Whether all of a patch can be written.
pub(super) fn check(content: &PromptContent, patch: &ContentPatch) -> Result<(), EditRefusal> {
    for variant in &patch.variants {
        let known = match &variant.id {
            Some(id) => content.variants.iter().any(|known| known.id == *id),
            None => !content.variants.is_empty(),
        };
        if !known {
            return Err(EditRefusal::UnknownVariant(variant.id.clone().unwrap_or_default()));
        }
        Parameters::read(&variant.parameters)?;
        check_messages(variant.messages.as_deref().unwrap_or_default())?;
    }
    for set in &patch.inputs {
        let known = match &set.id {
            Some(id) => content.inputs.iter().any(|known| known.id == *id),
            None => !content.inputs.is_empty(),
        };
        if !known {
            return Err(EditRefusal::UnknownInputs(set.id.clone().unwrap_or_default()));
        }
    }
    let values = patch.inputs.iter().flat_map(|set| set.values.keys());
    for name in patch.variables.iter().map(|variable| &variable.name).chain(values) {
        if !is_variable_name(name) || name.chars().count() > ID_CHARS_MAX {
            return Err(EditRefusal::VariableName(name.chars().take(ID_CHARS_MAX).collect()));
        }
    }
    Ok(())
}

/// Writes what differs. `ids` begins the ids of what is new; it must never have been used.
pub(super) fn write(txn: &mut TransactionMut<'_>, patch: &ContentPatch, ids: &str) {
    let mut ids = Ids { prefix: ids, count: 0 };
    if let Some(title) = &patch.title {
        let text = txn.get_or_insert_text("title");
        retype(txn, &text, title);
    }
    for variant in &patch.variants {
        if let Some(map) = existing(txn, "variants", variant.id.as_deref()) {
            write_variant(txn, &map, variant, &mut ids);
        }
    }
    for variable in &patch.variables {
        write_variable(txn, variable);
    }
    for set in &patch.inputs {
        if let Some(map) = existing(txn, "inputs", set.id.as_deref()) {
            write_input_set(txn, &map, set);
        }
    }
}

/// Sets a plain value where it is not so already.
pub(super) fn set(txn: &mut TransactionMut<'_>, map: &MapRef, key: &str, value: Any) {
    let unchanged = matches!(map.get(txn, key), Some(Out::Any(current)) if current == value);
    if !unchanged {
        map.insert(txn, key, value);
    }
}

pub(super) fn add_entry(txn: &mut TransactionMut<'_>, list: &MapRef, id: &str, order: &str) -> MapRef {
    let entry = list.insert(txn, id, MapPrelim::default());
    set(txn, &entry, "order", order.into());
    set(txn, &entry, "deleted", Any::Bool(false));
    entry
}

/// A new message of the user's, without a part yet.
pub(super) fn add_message(txn: &mut TransactionMut<'_>, messages: &MapRef, id: &str, order: &str) -> MapRef {
    let message = add_entry(txn, messages, id, order);
    set(txn, &message, "role", MessageRole::User.name().into());
    message.insert(txn, "parts", MapPrelim::default());
    message
}

struct Ids<'a> {
    prefix: &'a str,
    count: u32,
}

impl Ids<'_> {
    fn next(&mut self) -> String {
        self.count += 1;
        format!("{}-{:x}", self.prefix, self.count)
    }

    /// The first part of every message has the same id, so that two who add it add one.
    fn part(&mut self, live: &[(String, MapRef)]) -> String {
        if live.is_empty() { FIRST_PART.to_owned() } else { self.next() }
    }
}

fn check_messages(messages: &[MessagePatch]) -> Result<(), EditRefusal> {
    check_ids(messages.iter().filter_map(|message| message.id.as_ref()))?;
    for message in messages {
        if message.text.is_some() && message.parts.is_some() {
            return Err(EditRefusal::TextAndParts);
        }
        let parts = message.parts.as_deref().unwrap_or_default();
        check_ids(parts.iter().filter_map(|PartPatch::Text { id, .. }| id.as_ref()))?;
    }
    Ok(())
}

fn check_ids<'a>(ids: impl Iterator<Item = &'a String>) -> Result<(), EditRefusal> {
    let mut seen = HashSet::new();
    for id in ids {
        if id.is_empty() || id.chars().count() > ID_CHARS_MAX || !seen.insert(id) {
            return Err(EditRefusal::Id(id.chars().take(ID_CHARS_MAX).collect()));
        }
    }
    Ok(())
}

fn existing(txn: &mut TransactionMut<'_>, root: &str, id: Option<&str>) -> Option<MapRef> {
    let list = txn.get_or_insert_map(root);
    let mut live = entries(&*txn, Some(list));
    match id {
        Some(id) => live.find(|(known, _)| known == id),
        None => live.next(),
    }
    .map(|(_, map)| map)
}

fn write_variant(txn: &mut TransactionMut<'_>, map: &MapRef, patch: &VariantPatch, ids: &mut Ids<'_>) {
    for (key, value) in [("name", &patch.name), ("model", &patch.model)] {
        if let Some(value) = value {
            set(txn, map, key, value.as_str().into());
        }
    }
    if let Some(system) = &patch.system {
        write_text(txn, map, "system", system);
    }
    if !patch.parameters.is_empty() {
        let params = open(txn, map, "params");
        for (name, value) in &patch.parameters {
            write_parameter(txn, &params, name, value);
        }
    }
    if let Some(messages) = &patch.messages {
        let list = open(txn, map, "messages");
        write_messages(txn, &list, messages, ids);
    }
}

fn write_parameter(txn: &mut TransactionMut<'_>, params: &MapRef, name: &str, value: &Value) {
    let value = match value {
        Value::Null => {
            if params.contains_key(txn, name) {
                params.remove(txn, name);
            }
            return;
        }
        Value::Array(lines) => {
            Any::from(lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
        }
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Any::from(whole),
            None => Any::from(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => text.as_str().into(),
        Value::Bool(_) | Value::Object(_) => return,
    };
    set(txn, params, name, value);
}

fn write_messages(txn: &mut TransactionMut<'_>, list: &MapRef, patch: &[MessagePatch], ids: &mut Ids<'_>) {
    let named: Vec<String> =
        patch.iter().map(|message| message.id.clone().unwrap_or_else(|| ids.next())).collect();
    let gone: Vec<MapRef> = entries(&*txn, Some(list.clone()))
        .filter(|(id, _)| !named.contains(id))
        .map(|(_, map)| map)
        .collect();
    for message in gone {
        set(txn, &message, "deleted", Any::Bool(true));
    }
    let orders = arranged(&*txn, list, &named);
    for ((message, id), order) in patch.iter().zip(&named).zip(&orders) {
        let (map, text) = match nested(&*txn, list, id) {
            Some(map) => (map, None),
            None => (add_message(txn, list, id, order), Some("")),
        };
        set(txn, &map, "order", order.as_str().into());
        revive(txn, &map);
        if let Some(role) = message.role {
            set(txn, &map, "role", role.name().into());
        }
        if let Some(parts) = &message.parts {
            let parts = parts.iter().map(|PartPatch::Text { id, text }| (id.as_deref(), text.as_str()));
            write_parts(txn, &map, &parts.collect::<Vec<_>>(), ids);
        } else if let Some(text) = message.text.as_deref().or(text) {
            write_parts(txn, &map, &[(None, text)], ids);
        }
    }
}

/// The texts of a message, in order. One without an id takes the next part that is there; those left over become
/// empty, since the schema has no deleted parts.
fn write_parts(
    txn: &mut TransactionMut<'_>,
    message: &MapRef,
    patch: &[(Option<&str>, &str)],
    ids: &mut Ids<'_>,
) {
    let list = open(txn, message, "parts");
    let live: Vec<(String, MapRef)> = entries(&*txn, Some(list.clone()))
        .filter(|(_, part)| string(&*txn, part, "kind") == "text")
        .collect();
    let asked: HashSet<&str> = patch.iter().filter_map(|(id, _)| *id).collect();
    let mut free = live.iter().filter(|(id, _)| !asked.contains(id.as_str()));
    let named: Vec<String> = patch
        .iter()
        .map(|(id, _)| match id {
            Some(id) => (*id).to_owned(),
            None => free.next().map_or_else(|| ids.part(&live), |(id, _)| id.clone()),
        })
        .collect();
    let orders = arranged(&*txn, &list, &named);
    for (((_, text), id), order) in patch.iter().zip(&named).zip(&orders) {
        let part = match nested(&*txn, &list, id) {
            Some(part) => part,
            None => add_part(txn, &list, id, order),
        };
        set(txn, &part, "order", order.as_str().into());
        write_text(txn, &part, "text", text);
    }
    for (id, part) in &live {
        if !named.contains(id) {
            write_text(txn, part, "text", "");
        }
    }
}

pub(super) fn add_part(txn: &mut TransactionMut<'_>, parts: &MapRef, id: &str, order: &str) -> MapRef {
    let part = parts.insert(txn, id, MapPrelim::default());
    set(txn, &part, "kind", "text".into());
    set(txn, &part, "order", order.into());
    part.insert(txn, "text", TextPrelim::new(""));
    part
}

fn write_variable(txn: &mut TransactionMut<'_>, patch: &VariablePatch) {
    let list = txn.get_or_insert_map("variables");
    let map = match nested(&*txn, &list, &patch.name) {
        Some(map) => map,
        None => {
            let mut named: Vec<String> = entries(&*txn, Some(list.clone())).map(|(name, _)| name).collect();
            named.push(patch.name.clone());
            let order = arranged(&*txn, &list, &named).pop().unwrap_or_default();
            let map = add_entry(txn, &list, &patch.name, &order);
            set(txn, &map, "type", "text".into());
            map.insert(txn, "default", TextPrelim::new(""));
            map
        }
    };
    match patch.deleted {
        Some(true) => set(txn, &map, "deleted", Any::Bool(true)),
        Some(false) | None => revive(txn, &map),
    }
    if let Some(kind) = patch.kind {
        set(txn, &map, "type", kind.name().into());
    }
    if let Some(default) = &patch.default {
        write_text(txn, &map, "default", default);
    }
}

fn write_input_set(txn: &mut TransactionMut<'_>, map: &MapRef, patch: &InputSetPatch) {
    if let Some(name) = &patch.name {
        set(txn, map, "name", name.as_str().into());
    }
    if !patch.values.is_empty() {
        let values = open(txn, map, "values");
        for (name, value) in &patch.values {
            write_text(txn, &values, name, value);
        }
    }
}

/// Order keys for entries that are to stand in this order; those that are new have none yet.
fn arranged<T: ReadTxn>(txn: &T, list: &MapRef, ids: &[String]) -> Vec<String> {
    let known: HashMap<&str, String> = ids
        .iter()
        .filter_map(|id| Some((id.as_str(), string(txn, &nested(txn, list, id)?, "order"))))
        .collect();
    let keys: Vec<Option<&str>> = ids.iter().map(|id| known.get(id.as_str()).map(String::as_str)).collect();
    arrange(&keys)
}

fn revive(txn: &mut TransactionMut<'_>, map: &MapRef) {
    if matches!(map.get(txn, "deleted"), Some(Out::Any(Any::Bool(true)))) {
        set(txn, map, "deleted", Any::Bool(false));
    }
}

/// A nested map, made where a stock client left none.
pub(super) fn open(txn: &mut TransactionMut<'_>, map: &MapRef, key: &str) -> MapRef {
    nested(&*txn, map, key).unwrap_or_else(|| map.insert(txn, key, MapPrelim::default()))
}

fn write_text(txn: &mut TransactionMut<'_>, map: &MapRef, key: &str, wanted: &str) {
    let text = match map.get(txn, key) {
        Some(Out::YText(text)) => text,
        _ => map.insert(txn, key, TextPrelim::new("")),
    };
    retype(txn, &text, wanted);
}

/// Changes only what lies between the common beginning and the common end, in whole code points.
fn retype(txn: &mut TransactionMut<'_>, text: &TextRef, wanted: &str) {
    let current = text.get_string(txn);
    let same = |pair: &(char, char)| pair.0 == pair.1;
    let start: usize =
        current.chars().zip(wanted.chars()).take_while(same).map(|(letter, _)| letter.len_utf8()).sum();
    let (old, new) = (&current[start..], &wanted[start..]);
    let end: usize =
        old.chars().rev().zip(new.chars().rev()).take_while(same).map(|(letter, _)| letter.len_utf8()).sum();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    let at = utf16_len(&current[..start]);
    if !old.is_empty() {
        text.remove_range(txn, at, utf16_len(old));
    }
    if !new.is_empty() {
        text.insert(txn, at, new);
    }
}

fn utf16_len(text: &str) -> u32 {
    u32::try_from(text.encode_utf16().count()).unwrap_or(u32::MAX)
}
