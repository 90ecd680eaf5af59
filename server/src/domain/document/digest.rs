//! What two encodings of one document have in common, since their bytes may differ.

use super::content::json;
use crate::domain::prompt::write_canonical;
use serde_json::{Value, json as object};
use sha2::{Digest as _, Sha256};
use yrs::branch::{Branch, BranchPtr};
use yrs::{Any, GetString, Map, MapRef, Out, ReadTxn, TextRef};

/// A hash over content, state vector and deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

pub(super) fn digest(txn: &impl ReadTxn) -> Digest {
    let mut content: Vec<_> =
        txn.root_refs().map(|(name, root)| (name.to_owned(), branch(txn, root))).collect();
    // Asking for a root makes an empty one, which no encoding holds.
    content.retain(|(_, value)| *value != empty());
    content.sort_by(|left, right| left.0.cmp(&right.0));
    let snapshot = txn.snapshot();
    let mut clocks: Vec<(u64, u32)> = snapshot
        .state_map
        .iter()
        .map(|(client, clock)| (client.get(), *clock))
        .filter(|(_, clock)| *clock > 0)
        .collect();
    clocks.sort_unstable();
    let mut deletions = Vec::new();
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
    let mut canonical = String::new();
    write_canonical(
        &object!({ "content": content, "clocks": clocks, "deletions": deletions }),
        &mut canonical,
    );
    Digest(Sha256::digest(canonical.as_bytes()).into())
}

/// A container as text and as map at once: a root does not say which it is. Depth is bounded by the index.
fn branch(txn: &impl ReadTxn, value: Out) -> Value {
    let container = match &value {
        Out::YMap(map) => BranchPtr::from(map.as_ref()),
        Out::YText(text) => BranchPtr::from(AsRef::<Branch>::as_ref(text)),
        Out::UndefinedRef(root) => *root,
        Out::Any(Any::Buffer(bytes)) => return object!({ "buffer": bytes.to_vec() }),
        Out::Any(value) => return json(value),
        // The scanner lets nothing else in.
        _ => return Value::Null,
    };
    let map = MapRef::from(container);
    let entries: serde_json::Map<String, Value> =
        map.iter(txn).map(|(key, value)| (key.to_owned(), branch(txn, value))).collect();
    object!({ "map": entries, "text": TextRef::from(container).get_string(txn) })
}

fn empty() -> Value {
    object!({ "map": {}, "text": "" })
}
