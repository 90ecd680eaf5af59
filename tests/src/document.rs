//! A second engine's view of a room: whatever the server sent, applied by yrs with nothing of ours in between.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use yrs::{
    Any, Doc, GetString, Map, MapRef, OffsetKind, Options, Out, ReadTxn, StateVector, Text, Transact, Update,
    types::ToJson,
    updates::{decoder::Decode, encoder::Encode},
};

/// The document as one client holds it.
#[derive(Debug)]
pub struct Document(Doc);

impl Document {
    pub fn empty() -> Document {
        Document(Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::default() }))
    }

    pub fn of<'a>(updates: impl IntoIterator<Item = &'a [u8]>) -> Result<Document> {
        let document = Document::empty();
        for update in updates {
            document.apply(update)?;
        }
        Ok(document)
    }

    /// Applies an update, which must fit without anything left pending.
    pub fn apply(&self, update: &[u8]) -> Result<()> {
        let mut transaction = self.0.transact_mut();
        transaction.apply_update(Update::decode_v1(update)?)?;
        ensure!(!transaction.has_missing_updates(), "an update rests on something that was not sent");
        Ok(())
    }

    pub fn text(&self, root: &str) -> String {
        let text = self.0.get_or_insert_text(root);
        text.get_string(&self.0.transact())
    }

    /// Appends to the first message of the first variant; returns the update that says so.
    pub fn type_into_message(&self, text: &str) -> Result<Vec<u8>> {
        let variants = self.0.get_or_insert_map("variants");
        let before = self.0.transact().state_vector();
        let mut transaction = self.0.transact_mut();
        let mut place = first(&variants, &transaction, "a variant")?;
        for name in ["messages", "parts"] {
            let Some(Out::YMap(below)) = place.get(&transaction, name) else { bail!("no {name}") };
            place = first(&below, &transaction, name)?;
        }
        let Some(Out::YText(message)) = place.get(&transaction, "text") else { bail!("a part without text") };
        message.push(&mut transaction, text);
        Ok(transaction.encode_diff_v1(&before))
    }

    pub fn state_vector(&self) -> Vec<u8> {
        self.0.transact().state_vector().encode_v1()
    }

    /// Inserts `text` at the `choice`th place of a root text that is not inside of a `<marker>`; returns the update
    /// that says so. Every place has some `choice` modulo their number.
    pub fn insert_between(&self, root: &str, choice: usize, text: &str) -> Vec<u8> {
        let shared = self.0.get_or_insert_text(root);
        let mut transaction = self.0.transact_mut();
        let before = transaction.state_vector();
        let places = places_between(&shared.get_string(&transaction));
        shared.insert(&mut transaction, places[choice % places.len()], text);
        transaction.encode_diff_v1(&before)
    }

    /// Deletes the `choice`th `erasable` character of a root text, where there is one; returns the update that says so.
    pub fn erase(&self, root: &str, choice: usize, erasable: char) -> Option<Vec<u8>> {
        let shared = self.0.get_or_insert_text(root);
        let mut transaction = self.0.transact_mut();
        let before = transaction.state_vector();
        let text = shared.get_string(&transaction);
        let places: Vec<u32> =
            offsets(&text).filter(|(_, character)| *character == erasable).map(|(at, _)| at).collect();
        let at = *places.get(choice % places.len().max(1))?;
        shared.remove_range(&mut transaction, at, erasable.len_utf16() as u32);
        Some(transaction.encode_diff_v1(&before))
    }

    /// What one who has `state_vector` lacks of this document; deletions are always all in it.
    pub fn diff(&self, state_vector: &[u8]) -> Result<Vec<u8>> {
        Ok(self.0.transact().encode_diff_v1(&StateVector::decode_v1(state_vector)?))
    }

    /// Whether two documents hold the same edits and the same deletions.
    pub fn is_same(&self, other: &Document) -> bool {
        let (own, others) = (self.0.transact().snapshot(), other.0.transact().snapshot());
        self.clocks() == other.clocks() && own.delete_set == others.delete_set
    }

    /// The same in an order that equal documents share; the encoding's is chance.
    pub fn clocks(&self) -> BTreeMap<u64, u32> {
        self.0.transact().state_vector().iter().map(|(client, clock)| (client.get(), *clock)).collect()
    }

    /// The whole document as one update.
    pub fn encoded(&self) -> Vec<u8> {
        self.0.transact().encode_diff_v1(&StateVector::default())
    }

    /// Everything below a root map, as JSON.
    pub fn map(&self, root: &str) -> BTreeMap<String, serde_json::Value> {
        let map = self.0.get_or_insert_map(root);
        let transaction = self.0.transact();
        let plain = |out: Out| match out.to_json(&transaction) {
            Any::Undefined => serde_json::Value::Null,
            any => serde_json::to_value(&any).unwrap_or_default(),
        };
        map.iter(&transaction).map(|(key, out)| (key.to_string(), plain(out))).collect()
    }
}

/// Characters with their places, in UTF-16 units.
fn offsets(text: &str) -> impl Iterator<Item = (u32, char)> {
    text.chars().scan(0, |at, character| {
        let place = *at;
        *at += character.len_utf16() as u32;
        Some((place, character))
    })
}

/// The start, and behind each marker.
fn places_between(text: &str) -> Vec<u32> {
    let ends = offsets(text).filter(|(_, character)| *character == '>').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).collect()
}

/// The first nested map that is not deleted, by `order` and then by id.
fn first(map: &MapRef, transaction: &impl ReadTxn, what: &str) -> Result<MapRef> {
    let mut nested: Vec<(String, String, MapRef)> = Vec::new();
    for (id, out) in map.iter(transaction) {
        let Out::YMap(entry) = out else { continue };
        if matches!(entry.get(transaction, "deleted"), Some(Out::Any(Any::Bool(true)))) {
            continue;
        }
        let order = match entry.get(transaction, "order") {
            Some(Out::Any(Any::String(order))) => order.to_string(),
            _ => String::new(),
        };
        nested.push((order, id.to_owned(), entry));
    }
    nested.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let (_, _, entry) = nested.into_iter().next().with_context(|| format!("nothing in {what}"))?;
    Ok(entry)
}
