//! A note as bytes: the format's number, the sending node, then the note as MessagePack with named fields, so that
//! two builds understand each other as far as they know the same notes and fields.

use crate::bus::Note;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Anything longer is not looked at.
pub(super) const NOTE_BYTES_MAX: usize = 8 * 1024 * 1024;
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 17;
/// Of values in values; a run's parameters are JSON, which is read to 128.
const DEPTH_MAX: usize = 160;

#[derive(Debug, PartialEq)]
pub(super) enum Opened {
    /// Redis gives a node's notes back to it, too.
    Own,
    Other(Note),
    /// Of a newer build, or no note at all.
    NotUnderstood,
}

pub(super) fn seal(node: Uuid, note: &Note) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(FORMAT);
    bytes.extend_from_slice(node.as_bytes());
    note.serialize(&mut rmp_serde::Serializer::new(&mut bytes).with_struct_map())?;
    Ok(bytes)
}

pub(super) fn open(node: Uuid, bytes: &[u8]) -> Opened {
    if bytes.len() > NOTE_BYTES_MAX {
        return Opened::NotUnderstood;
    }
    let Some((header, mut rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Opened::NotUnderstood };
    if header[0] != FORMAT {
        return Opened::NotUnderstood;
    }
    if header[1..] == *node.as_bytes() {
        return Opened::Own;
    }
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    reader.set_max_depth(DEPTH_MAX);
    Note::deserialize(&mut reader).map_or(Opened::NotUnderstood, Opened::Other)
}

#[cfg(test)]
mod tests;
