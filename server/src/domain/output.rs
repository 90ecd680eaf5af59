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

/// What became of output that was shown elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// There is more to read.
    Grown,
    /// It is known, or of a driver that is no more.
    Known,
    /// Something is missing before it, or it is of a driver that is not known here.
    Gap,
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

    /// Shows what has arrived, encoded once for all readers that keep up; where it begins, if there was anything.
    pub fn flush(&mut self) -> Option<Offset> {
        if self.pending.is_empty() {
            return None;
        }
        let start = self.visible;
        let first = self.records.len();
        for (block, kind, bytes) in std::mem::take(&mut self.pending) {
            self.push(block, kind, bytes.freeze());
        }
        self.pending_bytes = 0;
        self.encode_since(start, first);
        Some(Offset(start))
    }

    /// Takes what the driver of `epoch` has shown from `offset` on, at another place than this.
    pub fn take(
        &mut self,
        epoch: Epoch,
        offset: Offset,
        pieces: impl IntoIterator<Item = (u32, BlockKind, Bytes)>,
    ) -> Taken {
        debug_assert!(self.pending.is_empty(), "an output is written here or elsewhere");
        if self.ended || epoch < self.epoch {
            return Taken::Known;
        }
        if epoch > self.epoch || offset.0 > self.visible {
            return Taken::Gap;
        }
        let (start, first) = (self.visible, self.records.len());
        let mut known = start - offset.0;
        for (block, kind, mut bytes) in pieces {
            let skip = known.min(bytes.len() as u64);
            known -= skip;
            self.push(block, kind, bytes.split_off(skip as usize));
        }
        if self.visible == start {
            return Taken::Known;
        }
        self.encode_since(start, first);
        Taken::Grown
    }

    /// A later driver began at `start`: what was shown from there on is withdrawn, and its readers are told so.
    pub fn withdraw(&mut self, epoch: Epoch, start: Offset) {
        if epoch <= self.epoch {
            return;
        }
        self.forget_pending();
        self.epoch = epoch;
        self.starts.push((epoch, start));
        self.last_flush = None;
        while let Some(last) = self.records.last_mut().filter(|last| last.end() > start.0) {
            last.bytes.truncate(start.0.saturating_sub(last.offset.0) as usize);
            if last.bytes.is_empty() {
                self.records.pop();
            }
        }
        self.visible = self.visible.min(start.0);
    }

    /// Its driver is gone: what nobody was shown does not count.
    pub fn forget_pending(&mut self) {
        self.pending.clear();
        self.pending_bytes = 0;
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

    /// One frame for all who have read everything up to `start`; what is too much for one is read in parts.
    fn encode_since(&mut self, start: u64, first_record: usize) {
        let is_one_frame = self.visible - start <= FRAME_BYTES_MAX;
        self.last_flush = is_one_frame.then(|| (start, self.encode(start, &self.records[first_record..])));
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
mod tests;
