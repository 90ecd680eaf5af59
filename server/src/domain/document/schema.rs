//! The first state of every document: schema version 1, of which one variant, one message and one input set exist.

use super::{Document, EditRefusal, edit};
use crate::domain::prompt::ContentPatch;
use yrs::{Any, Map, MapPrelim, MapRef, TextPrelim, TransactionMut, WriteTxn};

const SCHEMA_VERSION: i64 = 1;

/// The update that a new prompt's history begins with: the schema, a model, and what the caller wants in it.
///
/// `client_id` must be random, as in [`Document::load`]: this history belongs to one prompt only.
pub fn first_state(client_id: u64, content: &ContentPatch, model: &str) -> Result<Vec<u8>, EditRefusal> {
    let mut document = Document::empty(client_id);
    document.author(|txn| plant(txn, model))?;
    document.edit(content)?;
    Ok(document.encode_all()?)
}

fn plant(txn: &mut TransactionMut<'_>, model: &str) {
    txn.get_or_insert_map("meta").insert(txn, "schema", Any::from(SCHEMA_VERSION));
    let variant = entry(txn, "variants", "main");
    edit::set(txn, &variant, "name", "A".into());
    edit::set(txn, &variant, "model", model.into());
    variant.insert(txn, "params", MapPrelim::default());
    variant.insert(txn, "system", TextPrelim::new(""));
    variant.insert(txn, "tools", MapPrelim::default());
    variant.insert(txn, "schema", TextPrelim::new(""));
    let messages = variant.insert(txn, "messages", MapPrelim::default());
    let message = edit::add_message(txn, &messages, "first", "a0");
    let parts = edit::open(txn, &message, "parts");
    edit::add_part(txn, &parts, edit::FIRST_PART, "a0");
    let inputs = entry(txn, "inputs", "default");
    edit::set(txn, &inputs, "name", "Default".into());
    inputs.insert(txn, "values", MapPrelim::default());
}

fn entry(txn: &mut TransactionMut<'_>, root: &str, id: &str) -> MapRef {
    let list = txn.get_or_insert_map(root);
    edit::add_entry(txn, &list, id, "a0")
}
