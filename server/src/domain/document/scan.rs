//! Reads a document frame without trust, before yrs may see it: what it holds, what it rests on, or why it is refused.

use super::FrameRefusal;
use promptroom_protocol::{FrameError, Reader};

/// Values nest at most this deep; yrs and Yjs walk them recursively.
const VALUE_DEPTH_MAX: u32 = 64;
/// yrs keeps clocks in 32 bits, partly signed.
const CLOCK_END: u64 = 1 << 31;
/// Above this JavaScript cannot count, and yrs takes one id for another.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// One unit of a document's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub client: u64,
    pub clock: u32,
}

/// What a frame says, with nothing applied yet.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// One per client, in the order of the frame.
    pub sections: Vec<Section>,
    pub structs: Vec<Struct<'a>>,
    pub deletions: Vec<Deletion>,
}

/// The structs of one client, without a gap.
#[derive(Debug)]
pub(super) struct Section {
    pub client: u64,
    pub start: u32,
    pub end: u32,
    /// Indices into `Frame::structs`.
    pub structs: std::ops::Range<usize>,
}

#[derive(Debug)]
pub(super) struct Struct<'a> {
    pub clock: u32,
    pub len: u32,
    /// `None` for what was collected: its place is no longer known.
    pub item: Option<Item<'a>>,
}

#[derive(Debug)]
pub(super) struct Item<'a> {
    pub origin: Option<Id>,
    pub right_origin: Option<Id>,
    pub parent: Parent<'a>,
    pub content: Content,
}

impl Item<'_> {
    /// The left neighbour, if the right one is the character typed just after it.
    pub fn gap(&self) -> Option<Id> {
        let (left, right) = (self.origin?, self.right_origin?);
        (right.client == left.client && left.clock.checked_add(1) == Some(right.clock)).then_some(left)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent<'a> {
    /// That of the origin, or else of the right origin.
    Neighbour,
    Root(&'a str),
    Nested(Id),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Deleted,
    Text,
    Value,
    /// A nested map or text, which others may name as their parent.
    Container,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Deletion {
    pub client: u64,
    pub start: u32,
    pub end: u32,
}

/// Reads a whole frame. What is returned was present byte for byte: no count is larger than what it counts.
pub(super) fn scan(bytes: &[u8]) -> Result<Frame<'_>, FrameRefusal> {
    let mut reader = Reader::new(bytes);
    let mut frame = Frame { sections: Vec::new(), structs: Vec::new(), deletions: Vec::new() };
    for _ in 0..reader.varint()? {
        section(&mut reader, &mut frame)?;
    }
    deletions(&mut reader, &mut frame)?;
    reader.end()?;
    // yrs would join two sections of one client, Yjs would drop the first.
    refuse_repeats(frame.sections.iter().map(|section| section.client))?;
    Ok(frame)
}

/// Reads a state vector: which clock is the next one of each client.
pub(super) fn scan_state_vector(bytes: &[u8]) -> Result<Vec<(u64, u32)>, FrameRefusal> {
    let mut reader = Reader::new(bytes);
    let mut clocks = Vec::new();
    for _ in 0..reader.varint()? {
        clocks.push((client(&mut reader)?, clock(&mut reader)?));
    }
    reader.end()?;
    Ok(clocks)
}

impl From<FrameError> for FrameRefusal {
    fn from(_: FrameError) -> Self {
        FrameRefusal::Malformed
    }
}

fn section<'a>(reader: &mut Reader<'a>, frame: &mut Frame<'a>) -> Result<(), FrameRefusal> {
    let count = reader.varint()?;
    let client = client(reader)?;
    let start = clock(reader)?;
    let first = frame.structs.len();
    let mut end = start;
    for _ in 0..count {
        let (item, len) = read_struct(reader)?;
        frame.structs.push(Struct { clock: end, len, item });
        end = advance(end, u64::from(len))?;
    }
    if end == start {
        return Err(FrameRefusal::Malformed);
    }
    frame.sections.push(Section { client, start, end, structs: first..frame.structs.len() });
    Ok(())
}

fn read_struct<'a>(reader: &mut Reader<'a>) -> Result<(Option<Item<'a>>, u32), FrameRefusal> {
    const HAS_ORIGIN: u8 = 0x80;
    const HAS_RIGHT_ORIGIN: u8 = 0x40;
    const HAS_PARENT_SUB: u8 = 0x20;
    let info = reader.byte()?;
    // Yjs looks at five bits here and yrs at all eight or at four: only where they agree is it a frame.
    match info & 0x1f {
        0 if info == 0 => return Ok((None, length(reader)?)),
        // A hole: its sender lacks something itself, and will have it later.
        10 if info == 10 => return Err(FrameRefusal::Missing),
        0 | 10 => return Err(FrameRefusal::Malformed),
        _ => {}
    }
    let origin = if info & HAS_ORIGIN != 0 { Some(id(reader)?) } else { None };
    let right_origin = if info & HAS_RIGHT_ORIGIN != 0 { Some(id(reader)?) } else { None };
    // Nothing lies between a thing and itself: where that goes would depend on the order of arrival.
    if origin.is_some() && origin == right_origin {
        return Err(FrameRefusal::Malformed);
    }
    let mut parent = Parent::Neighbour;
    if origin.is_none() && right_origin.is_none() {
        parent = match reader.varint()? {
            1 => Parent::Root(text(reader)?),
            0 => Parent::Nested(id(reader)?),
            _ => return Err(FrameRefusal::Malformed),
        };
        if info & HAS_PARENT_SUB != 0 {
            text(reader)?;
        }
    }
    let (content, len) = content(reader, info & 0x1f)?;
    Ok((Some(Item { origin, right_origin, parent, content }), len))
}

/// The content's kind and how many clocks it takes.
fn content(reader: &mut Reader<'_>, kind: u8) -> Result<(Content, u32), FrameRefusal> {
    match kind {
        1 => Ok((Content::Deleted, length(reader)?)),
        3 => {
            reader.bytes()?;
            Ok((Content::Value, 1))
        }
        4 => match utf16_len(text(reader)?) {
            0 => Err(FrameRefusal::Malformed),
            len => Ok((Content::Text, len)),
        },
        7 => match reader.byte()? {
            1 | 2 => Ok((Content::Container, 1)),
            0 => Err(FrameRefusal::Unsupported("arrays")),
            3..=6 => Err(FrameRefusal::Unsupported("XML")),
            _ => Err(FrameRefusal::Unsupported("shared types other than maps and texts")),
        },
        8 => {
            let len = length(reader)?;
            for _ in 0..len {
                value(reader, VALUE_DEPTH_MAX)?;
            }
            Ok((Content::Value, len))
        }
        2 => Err(FrameRefusal::Unsupported("values in the old JSON form")),
        5 => Err(FrameRefusal::Unsupported("embedded objects")),
        6 => Err(FrameRefusal::Unsupported("text formats")),
        9 => Err(FrameRefusal::Unsupported("subdocuments")),
        11 => Err(FrameRefusal::Unsupported("moves")),
        _ => Err(FrameRefusal::Malformed),
    }
}

fn value(reader: &mut Reader<'_>, depth: u32) -> Result<(), FrameRefusal> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(FrameRefusal::Unsupported("values nested more than 64 deep"));
    };
    match reader.byte()? {
        127 | 126 | 121 | 120 => {}
        125 => signed(reader)?,
        124 => drop(reader.take(4)?),
        123 => drop(reader.take(8)?),
        122 => return Err(FrameRefusal::Unsupported("big integers")),
        119 => drop(text(reader)?),
        118 => {
            for _ in 0..reader.varint()? {
                text(reader)?;
                value(reader, depth)?;
            }
        }
        117 => {
            for _ in 0..reader.varint()? {
                value(reader, depth)?;
            }
        }
        116 => drop(reader.bytes()?),
        _ => return Err(FrameRefusal::Malformed),
    }
    Ok(())
}

/// A signed integer: six bits in the first byte, seven in the others.
fn signed(reader: &mut Reader<'_>) -> Result<(), FrameRefusal> {
    let mut byte = reader.byte()?;
    let mut number = u64::from(byte & 0x3f);
    let mut shift = 6;
    while byte & 0x80 != 0 {
        byte = reader.byte()?;
        if shift > 48 {
            return Err(FrameRefusal::Malformed);
        }
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
    }
    if number > INTEGER_MAX { Err(FrameRefusal::Malformed) } else { Ok(()) }
}

/// Deletions come sorted and apart within a client, as every Yjs writes them; yrs relies on it.
fn deletions(reader: &mut Reader<'_>, frame: &mut Frame<'_>) -> Result<(), FrameRefusal> {
    let mut clients = Vec::new();
    for _ in 0..reader.varint()? {
        let client = client(reader)?;
        clients.push(client);
        let mut free_from = 0;
        for _ in 0..reader.varint()? {
            let start = clock(reader)?;
            let end = advance(start, reader.varint()?)?;
            if start < free_from || end == start {
                return Err(FrameRefusal::Malformed);
            }
            free_from = end;
            frame.deletions.push(Deletion { client, start, end });
        }
    }
    refuse_repeats(clients.into_iter())
}

fn refuse_repeats(clients: impl Iterator<Item = u64>) -> Result<(), FrameRefusal> {
    let mut clients: Vec<u64> = clients.collect();
    clients.sort_unstable();
    if clients.windows(2).any(|pair| pair[0] == pair[1]) { Err(FrameRefusal::Malformed) } else { Ok(()) }
}

fn id(reader: &mut Reader<'_>) -> Result<Id, FrameRefusal> {
    Ok(Id { client: client(reader)?, clock: clock(reader)? })
}

fn client(reader: &mut Reader<'_>) -> Result<u64, FrameRefusal> {
    let client = reader.varint()?;
    if client > INTEGER_MAX { Err(FrameRefusal::Malformed) } else { Ok(client) }
}

fn clock(reader: &mut Reader<'_>) -> Result<u32, FrameRefusal> {
    advance(0, reader.varint()?)
}

fn length(reader: &mut Reader<'_>) -> Result<u32, FrameRefusal> {
    match clock(reader)? {
        0 => Err(FrameRefusal::Malformed),
        len => Ok(len),
    }
}

fn advance(clock: u32, len: u64) -> Result<u32, FrameRefusal> {
    match u64::from(clock).checked_add(len) {
        Some(end) if end < CLOCK_END => u32::try_from(end).map_err(|_| FrameRefusal::Malformed),
        _ => Err(FrameRefusal::Malformed),
    }
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, FrameRefusal> {
    std::str::from_utf8(reader.bytes()?).map_err(|_| FrameRefusal::Malformed)
}

/// Yjs counts text in UTF-16 units.
fn utf16_len(text: &str) -> u32 {
    let len = if text.is_ascii() { text.len() } else { text.encode_utf16().count() };
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{scan, scan_state_vector};
    use crate::domain::document::FrameRefusal::{Malformed, Missing, Unsupported};
    use crate::domain::document::tests::hex;

    #[test]
    fn a_value_may_nest_sixty_four_deep_and_no_deeper() {
        let nested =
            |depth: usize| hex(&format!("01010100280103646f63017801{}7e00", "7501".repeat(depth - 1)));
        assert!(scan(&nested(64)).is_ok());
        assert!(matches!(scan(&nested(65)), Err(Unsupported(_))));
        assert!(matches!(scan(&nested(7_001)), Err(Unsupported(_))));
    }

    #[test]
    fn counts_are_never_believed() {
        assert_eq!(scan(&hex("8080808001")).unwrap_err(), Malformed);
        assert_eq!(scan(&hex("0180808080010100")).unwrap_err(), Malformed);
        assert_eq!(scan(&hex("01010100280103646f63017801 76 ffffff7a 00")).unwrap_err(), Malformed);
        assert_eq!(scan_state_vector(&hex("ffffffff0f0101")).unwrap_err(), Malformed);
    }

    #[test]
    fn client_ids_and_clocks_stay_within_what_both_sides_can_count() {
        assert!(scan(&hex("0101ffffffffffffff0f00040103646f6301 61 00")).is_ok());
        assert_eq!(scan(&hex("01018180808080808010000401 03646f63 01 61 00")).unwrap_err(), Malformed);
        assert_eq!(scan(&hex("010101 8080808010 040103646f63016100")).unwrap_err(), Malformed);
        assert_eq!(scan(&hex("010101 ffffffff07 040103646f63016100")).unwrap_err(), Malformed);
    }

    #[test]
    fn what_the_schema_has_not_is_refused_by_name() {
        assert_eq!(
            scan(&hex("010101000701057469746c650900")).unwrap_err(),
            Unsupported("shared types other than maps and texts")
        );
        assert_eq!(scan(&hex("010101000701057469746c650000")).unwrap_err(), Unsupported("arrays"));
        assert_eq!(
            scan(&hex("01010100280103646f630178017a000000000000000100")).unwrap_err(),
            Unsupported("big integers")
        );
        assert_eq!(
            scan(&hex("01010100060103646f6301620474727565 00")).unwrap_err(),
            Unsupported("text formats")
        );
    }

    #[test]
    fn bits_that_yjs_and_yrs_read_differently_are_refused() {
        assert_eq!(scan(&hex("0101010080 0100 05 00")).unwrap_err(), Malformed);
        assert_eq!(scan(&hex("01010100140103646f63016100")).unwrap_err(), Malformed);
        assert_eq!(scan(&hex("010101000a0500")).unwrap_err(), Missing);
    }

    #[test]
    fn nothing_lies_between_a_thing_and_itself() {
        assert_eq!(scan(&hex("01010200c4 0100 0100 0163 00")).unwrap_err(), Malformed);
        assert!(scan(&hex("01010200c4 0100 0101 0163 00")).is_ok());
    }

    #[test]
    fn empty_structs_repeated_clients_and_trailing_bytes_are_refused() {
        assert_eq!(scan(&hex("01010100040103646f630000")).unwrap_err(), Malformed);
        assert_eq!(scan(&hex("0201010004010164016101010104010164016200")).unwrap_err(), Malformed);
        assert_eq!(scan(&hex("000000")).unwrap_err(), Malformed);
        assert_eq!(scan(&hex("0001010200020101")).unwrap_err(), Malformed);
    }
}
