//! What a run has put out: records of blocks in order of arrival, read from any offset.
//!
//! One encoding per flush is shared by all readers that keep up; a reader that is behind gets its own frame,
//! however far behind it is. Nothing is queued for anybody.

use bytes::{Bytes, BytesMut};
use promptroom_protocol::{BlockKind, Epoch, Offset, RecordsFrame, RunCursor, RunId, ServerFrame};

/// A reader that is far behind gets this much at a time.
const FRAME_BYTES_MAX: u64 = 256 << 10;
/// What one run may put out.
pub const OUTPUT_BYTES_MAX: u64 = 64 << 20;
/// A character of UTF-8 takes no more.
const CHARACTER_BYTES_MAX: u64 = 4;

/// A stretch of one block; never empty, always whole characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub block: u32,
    pub kind: BlockKind,
    pub bytes: Bytes,
}

impl Record {
    fn end(&self) -> u64 {
        self.offset.0 + self.bytes.len() as u64
    }
}

/// What a reader at some cursor does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Send this and go on from there.
    Frame { frame: Bytes, next: RunCursor },
    /// The run is over and the reader has all of it.
    End { frame: Bytes },
    /// Nothing yet.
    Wait,
}

/// The same for a reader that wants records, not frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadRecords {
    Records { records: Vec<Record>, next: RunCursor },
    Rewind { cursor: RunCursor },
    End { cursor: RunCursor },
    Wait,
}

#[derive(Debug)]
pub struct Output {
    run: RunId,
    epoch: Epoch,
    /// Where each claimed epoch began; kept for good.
    starts: Vec<(Epoch, Offset)>,
    /// What readers may see.
    records: Vec<Record>,
    visible: u64,
    /// What has arrived since the last flush.
    pending: Vec<(u32, BlockKind, BytesMut)>,
    pending_bytes: usize,
    ended: bool,
    last_flush: Option<(u64, Bytes)>,
}

impl Output {
    pub fn new(run: RunId) -> Self {
        Output {
            run,
            epoch: Epoch::FIRST,
            starts: Vec::new(),
            records: Vec::new(),
            visible: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            ended: false,
            last_flush: None,
        }
    }

    /// The output as it stands in the store, with the claims of its run; `ended` if its run is.
    pub fn stored(
        run: RunId,
        epoch: Epoch,
        starts: Vec<(Epoch, Offset)>,
        records: impl IntoIterator<Item = (u32, BlockKind, Bytes)>,
        ended: bool,
    ) -> Self {
        let mut output = Output { epoch, starts, ended, ..Output::new(run) };
        for (block, kind, bytes) in records {
            output.push(block, kind, bytes);
        }
        output
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// All bytes that have arrived, those included that no reader was shown yet.
    pub fn length(&self) -> Offset {
        Offset(self.visible + self.pending_bytes as u64)
    }

    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes what the model said; shown at the next flush.
    pub fn append(&mut self, block: u32, kind: BlockKind, text: &str) {
        debug_assert!(!self.ended, "nothing arrives after the end");
        if text.is_empty() {
            return;
        }
        self.pending_bytes += text.len();
        match self.pending.last_mut() {
            Some((last, of_kind, bytes)) if *last == block && *of_kind == kind => {
                bytes.extend_from_slice(text.as_bytes());
            }
            _ => self.pending.push((block, kind, BytesMut::from(text.as_bytes()))),
        }
    }

    /// Shows what has arrived, encoded once for all readers that keep up. Says whether there was anything.
    pub fn flush(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let start = self.visible;
        let first = self.records.len();
        for (block, kind, bytes) in std::mem::take(&mut self.pending) {
            self.push(block, kind, bytes.freeze());
        }
        self.pending_bytes = 0;
        // What is too much for one frame is read in parts.
        let is_one_frame = self.visible - start <= FRAME_BYTES_MAX;
        self.last_flush = is_one_frame.then(|| (start, self.encode(start, &self.records[first..])));
        true
    }

    /// The run is over: readers that have everything are told so.
    pub fn end(&mut self) {
        self.flush();
        self.ended = true;
    }

    /// What is there from `offset` on, as it would be stored: at most so many bytes, but at least one character.
    pub fn records_from(&self, offset: Offset, bytes_max: u64) -> Vec<Record> {
        let mut records = Vec::new();
        let mut left = bytes_max.max(CHARACTER_BYTES_MAX);
        for record in &self.records[self.index_of(offset.0)..] {
            let skip = offset.0.saturating_sub(record.offset.0) as usize;
            let rest = record.bytes.slice(skip..);
            let bytes = rest.slice(..whole_characters(&rest, left));
            let is_cut = bytes.len() < rest.len();
            left -= bytes.len() as u64;
            if !bytes.is_empty() {
                records.push(Record { offset: Offset(record.offset.0 + skip as u64), bytes, ..*record });
            }
            if is_cut || left == 0 {
                break;
            }
        }
        records
    }

    /// What comes next for a reader of frames.
    pub fn read(&self, cursor: RunCursor) -> Read {
        if cursor.epoch == self.epoch
            && let Some((start, frame)) = &self.last_flush
            && *start == cursor.offset.0
        {
            let next = RunCursor { epoch: self.epoch, offset: Offset(self.visible) };
            return Read::Frame { frame: frame.clone(), next };
        }
        match self.read_records(cursor) {
            ReadRecords::Records { records, next } => {
                Read::Frame { frame: self.encode(cursor.offset.0, &records), next }
            }
            ReadRecords::Rewind { cursor: RunCursor { epoch, offset } } => {
                let frame = ServerFrame::Rewind { run: self.run, epoch, offset }.encode();
                Read::Frame { frame, next: RunCursor { epoch, offset } }
            }
            ReadRecords::End { cursor: RunCursor { epoch, offset } } => {
                Read::End { frame: ServerFrame::End { run: self.run, epoch, offset }.encode() }
            }
            ReadRecords::Wait => Read::Wait,
        }
    }

    pub fn read_records(&self, cursor: RunCursor) -> ReadRecords {
        if cursor.epoch < self.epoch {
            let offset = self.rewound(cursor);
            return ReadRecords::Rewind { cursor: RunCursor { epoch: self.epoch, offset } };
        }
        let is_ahead = cursor.epoch > self.epoch || cursor.offset.0 > self.visible;
        if self.ended && is_ahead {
            // Nothing more will come: what the reader holds beyond the end is not of this run.
            let offset = Offset(cursor.offset.0.min(self.visible));
            return ReadRecords::Rewind { cursor: RunCursor { epoch: self.epoch, offset } };
        }
        // A cursor ahead of this node waits until the node has caught up with it.
        if cursor.epoch > self.epoch || cursor.offset.0 > self.visible {
            return ReadRecords::Wait;
        }
        if cursor.offset.0 == self.visible {
            return if self.ended { ReadRecords::End { cursor } } else { ReadRecords::Wait };
        }
        let records = self.records_from(cursor.offset, FRAME_BYTES_MAX);
        let end = records.last().map_or(cursor.offset.0, Record::end);
        ReadRecords::Records { records, next: RunCursor { epoch: self.epoch, offset: Offset(end) } }
    }

    /// Where a reader of an older epoch goes on: never after a place where a later driver began anew.
    fn rewound(&self, cursor: RunCursor) -> Offset {
        let later = self.starts.iter().filter(|(epoch, _)| *epoch > cursor.epoch);
        let lowest = later.map(|(_, start)| *start).min().unwrap_or(Offset(self.visible));
        lowest.min(cursor.offset)
    }

    fn push(&mut self, block: u32, kind: BlockKind, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let offset = Offset(self.visible);
        self.visible += bytes.len() as u64;
        self.records.push(Record { offset, block, kind, bytes });
    }

    /// The record that holds the byte at `offset`, or the number of records.
    fn index_of(&self, offset: u64) -> usize {
        self.records.partition_point(|record| record.end() <= offset)
    }

    fn encode(&self, start: u64, records: &[Record]) -> Bytes {
        let records =
            records.iter().map(|record| (record.block, record.kind, record.bytes.clone())).collect();
        ServerFrame::Records(RecordsFrame {
            run: self.run,
            epoch: self.epoch,
            offset: Offset(start),
            records,
        })
        .encode()
    }
}

/// How many of at most `bytes_max` bytes are whole characters.
fn whole_characters(bytes: &[u8], bytes_max: u64) -> usize {
    let Ok(mut end) = usize::try_from(bytes_max) else { return bytes.len() };
    if end >= bytes.len() {
        return bytes.len();
    }
    while end > 0 && bytes[end] & 0b1100_0000 == 0b1000_0000 {
        end -= 1;
    }
    end
}

/// The beginning of `text` that an output of this length may still take.
pub fn fitting(text: &str, length: Offset) -> &str {
    &text[..whole_characters(text.as_bytes(), OUTPUT_BYTES_MAX.saturating_sub(length.0))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const RUN: RunId = RunId(Uuid::from_u128(9));

    fn at(epoch: u32, offset: u64) -> RunCursor {
        RunCursor { epoch: Epoch(epoch), offset: Offset(offset) }
    }

    /// Reads as a client does and returns the text, what it was rewound to, and whether it was told the end.
    fn read_all(output: &Output, mut cursor: RunCursor, text: &mut String) -> bool {
        loop {
            let (frame, next) = match output.read(cursor) {
                Read::Frame { frame, next } => (frame, next),
                Read::End { .. } => return true,
                Read::Wait => return false,
            };
            match ServerFrame::decode(&frame).expect("a frame of ours") {
                ServerFrame::Records(records) => {
                    assert_eq!(records.offset, cursor.offset);
                    for (_, _, bytes) in records.records {
                        text.push_str(std::str::from_utf8(&bytes).expect("whole characters"));
                    }
                }
                ServerFrame::Rewind { offset, .. } => text.truncate(offset.0 as usize),
                other => panic!("{other:?}"),
            }
            cursor = next;
        }
    }

    #[test]
    fn readers_at_any_offset_get_the_same_bytes() {
        let mut output = Output::new(RUN);
        output.append(0, BlockKind::Reasoning, "think ");
        output.append(1, BlockKind::Text, "héllo ");
        output.flush();
        output.append(1, BlockKind::Text, "😀");
        output.append(1, BlockKind::Text, " bye");
        output.end();
        let mut whole = String::new();
        assert!(read_all(&output, at(1, 0), &mut whole));
        assert_eq!(whole, "think héllo 😀 bye");
        for offset in (0..=whole.len()).filter(|offset| whole.is_char_boundary(*offset)) {
            let mut tail = String::new();
            assert!(read_all(&output, at(1, offset as u64), &mut tail));
            assert_eq!(tail, whole[offset..]);
        }
    }

    #[test]
    fn readers_that_keep_up_share_one_encoding() {
        let mut output = Output::new(RUN);
        output.append(0, BlockKind::Text, "abc");
        output.flush();
        output.append(0, BlockKind::Text, "def");
        output.flush();
        let (Read::Frame { frame: one, .. }, Read::Frame { frame: two, .. }) =
            (output.read(at(1, 3)), output.read(at(1, 3)))
        else {
            panic!("both have something to read")
        };
        assert_eq!(one.as_ptr(), two.as_ptr());
    }

    #[test]
    fn nothing_is_shown_before_a_flush_and_a_reader_ahead_waits() {
        let mut output = Output::new(RUN);
        output.append(0, BlockKind::Text, "abc");
        assert_eq!(output.read(at(1, 0)), Read::Wait);
        assert_eq!(output.length(), Offset(3));
        output.flush();
        assert_eq!(output.read(at(1, 100)), Read::Wait);
        assert_eq!(output.read(at(2, 0)), Read::Wait);
    }

    #[test]
    fn an_older_epoch_is_rewound_to_the_lowest_later_start() {
        let starts = vec![(Epoch(2), Offset(4)), (Epoch(3), Offset(6))];
        let records = [(0, BlockKind::Text, Bytes::from_static(b"abcdefgh"))];
        let output = Output::stored(RUN, Epoch(3), starts, records, true);
        let rewound = |cursor| match output.read_records(cursor) {
            ReadRecords::Rewind { cursor } => cursor,
            other => panic!("{other:?}"),
        };
        assert_eq!(rewound(at(1, 8)), at(3, 4));
        assert_eq!(rewound(at(1, 2)), at(3, 2));
        assert_eq!(rewound(at(2, 8)), at(3, 6));
        let mut text = "abcdXXXX".to_owned();
        assert!(read_all(&output, at(1, 8), &mut text));
        assert_eq!(text, "abcdefgh");
    }

    #[test]
    fn a_reader_far_behind_gets_bounded_frames() {
        let mut output = Output::new(RUN);
        for _ in 0..64 {
            output.append(0, BlockKind::Text, &"x".repeat(16 << 10));
            output.flush();
        }
        let Read::Frame { frame, next } = output.read(at(1, 0)) else { panic!("there is text") };
        assert!(frame.len() as u64 <= FRAME_BYTES_MAX + 1_024);
        assert_eq!(next, at(1, FRAME_BYTES_MAX));
    }

    #[test]
    fn one_huge_record_is_cut_between_characters() {
        let text = "日本語😀".repeat(60_000);
        let mut output = Output::new(RUN);
        output.append(0, BlockKind::Text, &text);
        output.flush();
        let Read::Frame { frame, next } = output.read(at(1, 0)) else { panic!("there is text") };
        assert!(frame.len() as u64 <= FRAME_BYTES_MAX + 1_024);
        assert!(next.offset.0 > FRAME_BYTES_MAX - CHARACTER_BYTES_MAX);
        let mut whole = String::new();
        output.end();
        assert!(read_all(&output, at(1, 0), &mut whole));
        assert_eq!(whole, text);
        for bytes_max in 0..20 {
            let records = output.records_from(Offset(0), bytes_max);
            let taken = &records[0].bytes;
            assert!(taken.len() as u64 <= bytes_max.max(CHARACTER_BYTES_MAX) && !taken.is_empty());
            assert!(std::str::from_utf8(taken).is_ok());
        }
    }

    #[test]
    fn an_output_takes_whole_characters_up_to_its_limit() {
        assert_eq!(fitting("héllo", Offset(0)), "héllo");
        assert_eq!(fitting("héllo", Offset(OUTPUT_BYTES_MAX - 2)), "h");
        assert_eq!(fitting("héllo", Offset(OUTPUT_BYTES_MAX - 3)), "hé");
        assert_eq!(fitting("héllo", Offset(OUTPUT_BYTES_MAX + 9)), "");
    }
}
