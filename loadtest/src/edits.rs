//! Yjs updates written by hand: a writer that appends to one root text, without a CRDT engine in the generator.
//!
//! Each edit is one string item of the writer's own client id, whose origin is the writer's previous item. So
//! every frame is whole, its clock grows by the text's length, and many writers can share a room.

use crate::clock::Stamp;
use bytes::{BufMut, Bytes, BytesMut};
use promptroom_protocol::{ClientFrame, FrameError, Reader, SyncStep, put_bytes, put_varint};

/// State vector of a client that has nothing.
pub const NOTHING: &[u8] = &[0];
/// An update that adds nothing.
pub const EMPTY_UPDATE: &[u8] = &[0, 0];

const STRING_CONTENT: u8 = 4;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_ORIGIN: u8 = 0x80;
const CONTENT_BITS: u8 = 0x1f;

/// Writes the edits of one Yjs client.
#[derive(Clone, Debug)]
pub struct Writer {
    client: u64,
    clock: u64,
    root: String,
    erased: u64,
}

impl Writer {
    /// A new client that appends to the root text `root`; `client` must be unique in the room.
    pub fn new(client: u64, root: &str) -> Self {
        Writer { client, clock: 0, root: root.to_owned(), erased: 0 }
    }

    /// A new client with an id drawn at random, writing to the root text that load is put in.
    pub fn random() -> Self {
        Writer::new(u64::from(rand::random::<u32>()), "load")
    }

    /// A random one whose client id leaves `remainder` when divided by `divisor`: from that a reader knows its node.
    pub fn random_of(remainder: u64, divisor: u64) -> Self {
        let client = u64::from(rand::random::<u32>());
        Writer::new(client - client % divisor + remainder, "load")
    }

    pub fn client(&self) -> u64 {
        self.client
    }

    /// The update that appends `text`, which must not be empty.
    pub fn append(&mut self, text: &str) -> Bytes {
        let mut update = BytesMut::with_capacity(text.len() + 48);
        self.put_item(&mut update, text);
        put_varint(&mut update, 0);
        update.freeze()
    }

    /// The update that appends `text` and deletes all that this writer appended before: the document stays small.
    pub fn replace(&mut self, text: &str) -> Bytes {
        let mut update = BytesMut::with_capacity(text.len() + 64);
        let (from, length) = (self.erased, self.clock - self.erased);
        self.put_item(&mut update, text);
        if length == 0 {
            put_varint(&mut update, 0);
            return update.freeze();
        }
        put_varint(&mut update, 1);
        put_varint(&mut update, self.client);
        put_varint(&mut update, 1);
        put_varint(&mut update, from);
        put_varint(&mut update, length);
        self.erased = from + length;
        update.freeze()
    }

    /// The whole frame of an appended stamp, as the measurements send it.
    pub fn stamped_frame(&mut self, stamp: Stamp) -> Bytes {
        ClientFrame::Sync(SyncStep::Update(&self.append(&stamp.text()))).encode()
    }

    fn put_item(&mut self, update: &mut BytesMut, text: &str) {
        put_varint(update, 1);
        put_varint(update, 1);
        put_varint(update, self.client);
        put_varint(update, self.clock);
        if self.clock == 0 {
            update.put_u8(STRING_CONTENT);
            put_varint(update, 1);
            put_bytes(update, self.root.as_bytes());
        } else {
            update.put_u8(STRING_CONTENT | HAS_ORIGIN);
            put_varint(update, self.client);
            put_varint(update, self.clock - 1);
        }
        put_bytes(update, text.as_bytes());
        self.clock += text.encode_utf16().count() as u64;
    }
}

/// The stamps in an update made of such edits, whether it came alone or merged with others, and who wrote them.
pub fn stamps(update: &[u8]) -> Result<Vec<(u64, Stamp)>, FrameError> {
    let mut reader = Reader::new(update);
    let mut stamps = Vec::with_capacity(1);
    for _ in 0..reader.varint()? {
        let structs = reader.varint()?;
        let client = reader.varint()?;
        reader.varint()?;
        for _ in 0..structs {
            let info = reader.byte()?;
            if info & CONTENT_BITS != STRING_CONTENT {
                return Err(FrameError::UnknownKind);
            }
            for flag in [HAS_ORIGIN, HAS_RIGHT_ORIGIN] {
                if info & flag != 0 {
                    reader.varint()?;
                    reader.varint()?;
                }
            }
            if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
                reader.varint()?;
                reader.bytes()?;
            }
            let written = reader.bytes()?.chunks(Stamp::TEXT_BYTES).filter_map(Stamp::parse);
            stamps.extend(written.map(|stamp| (client, stamp)));
        }
    }
    Ok(stamps)
}

/// An awareness update of one client: `state` is JSON, or `null` to leave.
pub fn awareness(client: u64, clock: u64, state: &str) -> Bytes {
    let mut update = BytesMut::with_capacity(state.len() + 16);
    put_varint(&mut update, 1);
    put_varint(&mut update, client);
    put_varint(&mut update, clock);
    put_bytes(&mut update, state.as_bytes());
    update.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use yrs::{Doc, GetString, ReadTxn, Transact, Update, updates::decoder::Decode};

    fn apply(doc: &Doc, update: &[u8]) {
        doc.transact_mut().apply_update(Update::decode_v1(update).unwrap()).unwrap();
    }

    #[test]
    fn two_writers_append_to_one_text_of_a_real_engine() {
        let doc = Doc::new();
        let text = doc.get_or_insert_text("load");
        let (mut ann, mut bob) = (Writer::new(7, "load"), Writer::new(9_000_000_000, "load"));
        for update in [
            ann.append("one "),
            bob.append("uno "),
            ann.append("😀 two "),
            bob.append("due "),
            ann.append("three"),
        ] {
            apply(&doc, &update);
        }
        let read = text.get_string(&doc.transact());
        assert!(read.contains("one 😀 two three") && read.contains("uno due "), "{read}");
        assert!(!doc.transact().has_missing_updates());
    }

    #[test]
    fn a_replaced_text_leaves_only_the_last_one() {
        let doc = Doc::new();
        let text = doc.get_or_insert_text("load");
        let mut writer = Writer::new(7, "load");
        for number in 0..50 {
            apply(&doc, &writer.replace(&format!("version {number}")));
        }
        assert_eq!(text.get_string(&doc.transact()), "version 49");
        assert!(doc.transact().encode_diff_v1(&Default::default()).len() < 60);
    }

    #[test]
    fn stamps_are_found_alone_and_merged() {
        let mut writer = Writer::new(300, "load");
        let updates: Vec<Bytes> = [1, 2, 3].map(|micros| writer.append(&Stamp(micros).text())).into();
        assert_eq!(stamps(&updates[1]), Ok(vec![(300, Stamp(2))]));
        let merged = yrs::merge_updates_v1(&updates).unwrap();
        assert_eq!(stamps(&merged), Ok([1, 2, 3].map(|micros| (300, Stamp(micros))).into()));
        assert_eq!(stamps(EMPTY_UPDATE), Ok(vec![]));
    }
}
