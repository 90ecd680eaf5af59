//! The document as a page holds it: a Yjs replica of its own, into whose first message people put marks.

use super::dice::Dice;
use std::collections::{BTreeMap, BTreeSet};
use yrs::{
    Doc, GetString, Map, OffsetKind, Options, Out, ReadTxn, StateVector, Text, TextRef, Transact, Update,
    block::ClientID,
    updates::{decoder::Decode, encoder::Encode},
};

pub const MARK_ENDS: char = '⟧';

pub struct Replica(Doc);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub text: String,
    clocks: BTreeMap<u64, u32>,
    deletions: Vec<(u64, u32, u32)>,
}

impl Replica {
    pub fn new(client: u64) -> Replica {
        let mut options = Options::with_client_id(ClientID::new(client));
        options.offset_kind = OffsetKind::Utf16;
        Replica(Doc::with_options(options))
    }

    /// Puts a mark somewhere between others; the update, if there is a message yet.
    pub fn insert(&self, mark: &str, dice: &mut Dice) -> Option<Vec<u8>> {
        let text = self.message()?;
        let mut txn = self.0.transact_mut();
        let places = text.get_string(&txn);
        let places: Vec<u32> =
            (1..).zip(places.chars()).filter(|(_, c)| *c == MARK_ENDS).map(|(at, _)| at).collect();
        let at = if dice.permille(300) { None } else { dice.pick(&places) };
        text.insert(&mut txn, at.copied().unwrap_or(0), mark);
        Some(txn.encode_update_v1())
    }

    /// Takes a mark out again; the update, if it is there.
    pub fn delete(&self, mark: &str) -> Option<Vec<u8>> {
        let text = self.message()?;
        let mut txn = self.0.transact_mut();
        let whole = text.get_string(&txn);
        let (before, _) = whole.split_once(mark)?;
        text.remove_range(&mut txn, before.chars().count() as u32, mark.chars().count() as u32);
        Some(txn.encode_update_v1())
    }

    /// Takes what the server sent. Everything in it must fit: the server sends in order and leaves nothing out.
    pub fn apply(&self, update: &[u8]) -> Result<(), String> {
        let update =
            Update::decode_v1(update).map_err(|error| format!("an update cannot be read: {error}"))?;
        let mut txn = self.0.transact_mut();
        txn.apply_update(update).map_err(|error| format!("an update cannot be applied: {error}"))?;
        if txn.has_missing_updates() {
            return Err("an update rests on one that was not sent".to_owned());
        }
        Ok(())
    }

    pub fn state_vector(&self) -> Vec<u8> {
        self.0.transact().state_vector().encode_v1()
    }

    /// What somebody with this state vector lacks.
    pub fn diff(&self, state_vector: &[u8]) -> Result<Vec<u8>, String> {
        let known = StateVector::decode_v1(state_vector)
            .map_err(|error| format!("a state vector cannot be read: {error}"))?;
        Ok(self.0.transact().encode_diff_v1(&known))
    }

    pub fn text(&self) -> String {
        self.message().map(|text| text.get_string(&self.0.transact())).unwrap_or_default()
    }

    pub fn marks(&self) -> BTreeSet<String> {
        self.text().split_inclusive(MARK_ENDS).map(str::to_owned).collect()
    }

    /// What the rows of a room make, as a page would show it.
    pub fn of_rows<'a>(rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Replica, String> {
        let replica = Replica::new(1);
        for row in rows {
            replica.apply(row)?;
        }
        Ok(replica)
    }

    /// Text, state vector and deletions, in a form that equal replicas share.
    pub fn standing(&self) -> Standing {
        let snapshot = self.0.transact().snapshot();
        let clocks = snapshot.state_map.iter().map(|(client, clock)| (client.get(), *clock));
        let mut deletions: Vec<(u64, u32, u32)> = Vec::new();
        for (client, ranges) in snapshot.delete_set.iter() {
            let ranges = ranges.iter().filter(|range| !range.is_empty());
            deletions.extend(ranges.map(|range| (client.get(), range.start, range.end)));
        }
        deletions.sort_unstable();
        deletions.dedup_by(|next, last| {
            let joins = next.0 == last.0 && next.1 <= last.2;
            if joins {
                last.2 = last.2.max(next.2);
            }
            joins
        });
        Standing { text: self.text(), clocks: clocks.filter(|(_, clock)| *clock > 0).collect(), deletions }
    }

    fn message(&self) -> Option<TextRef> {
        let txn = self.0.transact();
        let mut map = txn.get_map("variants")?;
        for key in ["main", "messages", "first", "parts", "text"] {
            let Some(Out::YMap(next)) = map.get(&txn, key) else { return None };
            map = next;
        }
        match map.get(&txn, "text") {
            Some(Out::YText(text)) => Some(text),
            _ => None,
        }
    }
}
