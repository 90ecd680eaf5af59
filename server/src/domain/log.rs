//! A room's log: a bounded ring of what its members see, in one order.
//!
//! A document entry leaves the ring only when it is durable; everything else may leave as soon as the ring is
//! over its bounds. Readers hold a position and ask for what came after it, so a slow reader costs nothing:
//! when the ring has moved on it is told of the gap and joins again.

use bytes::Bytes;
use promptroom_protocol::{Seq, ServerFrame, SyncStep};
use std::collections::VecDeque;

/// The number of an entry within one life of a room, counted from 1; it never leaves the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// One socket, for as long as it is open on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// Durable entries beyond either bound leave the ring.
    pub entries: usize,
    pub bytes: usize,
    /// With this much not yet durable, the room stops taking edits until the store has caught up.
    pub unwritten_bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        LogLimits { entries: 4_096, bytes: 1 << 20, unwritten_bytes: 8 << 20 }
    }
}

/// An entry as one reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub frame: Bytes,
    pub audience: Audience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A document update. Its author already shows it, so only the saved mark goes back.
    AllBut(Option<SocketId>),
    /// One of our own frames: only for sockets that asked for them.
    Versioned,
}

/// The ring no longer holds what comes next for this reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap;

#[derive(Debug)]
struct Slot {
    entry: Entry,
    document: Option<Row>,
}

#[derive(Debug)]
struct Row {
    update: Bytes,
    seq: Option<Seq>,
}

#[derive(Debug)]
pub struct Log {
    limits: LogLimits,
    /// Position of the first slot still in the ring.
    first: u64,
    /// The newest document entry that has left the ring; readers of documents only are not concerned by others.
    left_document: Position,
    slots: VecDeque<Slot>,
    bytes: usize,
    /// Everything up to here is durable.
    durable: Position,
    unwritten_bytes: usize,
    head_seq: Seq,
}

impl Log {
    /// An empty log of a room whose newest durable row is `head`.
    pub fn new(limits: LogLimits, head: Seq) -> Self {
        Log {
            limits,
            first: 1,
            left_document: Position(0),
            slots: VecDeque::new(),
            bytes: 0,
            durable: Position(0),
            unwritten_bytes: 0,
            head_seq: head,
        }
    }

    pub fn head(&self) -> Position {
        Position(self.first + self.slots.len() as u64 - 1)
    }

    pub fn durable(&self) -> Position {
        self.durable
    }

    /// The newest durable row of the document.
    pub fn head_seq(&self) -> Seq {
        self.head_seq
    }

    /// Appends a document update as it came in; it must be written before it may leave.
    pub fn append_update(&mut self, update: &[u8], author: Option<SocketId>) -> Position {
        let frame = ServerFrame::Sync(SyncStep::Update(update)).encode();
        let update = frame.slice(frame.len() - update.len()..);
        self.unwritten_bytes += update.len();
        let row = Row { update, seq: None };
        self.push(Slot { entry: Entry { frame, audience: Audience::AllBut(author) }, document: Some(row) })
    }

    /// Appends one of our own frames, whose truth is elsewhere (a run's row, a member's name).
    pub fn append_frame(&mut self, frame: Bytes) -> Position {
        let position =
            self.push(Slot { entry: Entry { frame, audience: Audience::Versioned }, document: None });
        self.settle();
        self.trim();
        position
    }

    /// Up to `count_max` entries after `cursor`, for a reader that has everything up to it, with their positions.
    /// One that gets document entries only does not miss others that have left the ring.
    pub fn since(
        &self,
        cursor: Position,
        documents_only: bool,
        count_max: usize,
    ) -> Result<impl Iterator<Item = (Position, &Entry)>, Gap> {
        let has_all = if documents_only { cursor >= self.left_document } else { cursor.0 + 1 >= self.first };
        if !has_all {
            return Err(Gap);
        }
        let next = (cursor.0 + 1).max(self.first);
        let slots = self.slots.iter().skip((next - self.first) as usize).take(count_max);
        Ok((next..).map(Position).zip(slots.map(|slot| &slot.entry)))
    }

    /// Our own frames after `cursor`.
    pub fn own_frames_since(&self, cursor: Position) -> Result<Vec<Bytes>, Gap> {
        let entries = self.since(cursor, false, usize::MAX)?;
        let own = entries.filter(|(_, entry)| entry.audience == Audience::Versioned);
        Ok(own.map(|(_, entry)| entry.frame.clone()).collect())
    }

    /// The updates not yet durable, in order, and the position of the last of them.
    pub fn unwritten(&self, bytes_max: usize) -> Option<(Vec<Bytes>, Position)> {
        let mut updates = Vec::new();
        let mut last = self.durable;
        let mut bytes = 0;
        let skip = (self.durable.0 + 1).saturating_sub(self.first) as usize;
        for (index, slot) in self.slots.iter().enumerate().skip(skip) {
            let Some(row) = slot.document.as_ref().filter(|row| row.seq.is_none()) else { continue };
            if !updates.is_empty() && bytes + row.update.len() > bytes_max {
                break;
            }
            bytes += row.update.len();
            updates.push(row.update.clone());
            last = Position(self.first + index as u64);
        }
        (!updates.is_empty()).then_some((updates, last))
    }

    /// The updates up to `last` were committed as consecutive rows, the first of which is `first_seq`.
    pub fn written(&mut self, last: Position, first_seq: Seq) {
        let mut seq = first_seq;
        let skip = (self.durable.0 + 1).saturating_sub(self.first) as usize;
        for (index, slot) in self.slots.iter_mut().enumerate().skip(skip) {
            if self.first + index as u64 > last.0 {
                break;
            }
            let Some(row) = slot.document.as_mut().filter(|row| row.seq.is_none()) else { continue };
            row.seq = Some(seq);
            self.unwritten_bytes -= row.update.len();
            self.head_seq = seq;
            seq = Seq(seq.0 + 1);
        }
        self.settle();
        self.trim();
    }

    /// Whether edits must wait until more is durable.
    pub fn is_full_of_unwritten(&self) -> bool {
        self.unwritten_bytes > self.limits.unwritten_bytes
    }

    pub fn has_unwritten(&self) -> bool {
        self.unwritten_bytes > 0
    }

    /// Whether the ring still has every row after `seq`.
    pub fn reaches(&self, seq: Seq) -> bool {
        let oldest = self.slots.iter().find_map(|slot| slot.document.as_ref()?.seq);
        seq <= self.head_seq && seq.0 + 1 >= oldest.map_or(self.head_seq.0 + 1, |oldest| oldest.0)
    }

    /// All rows after `seq` as frames, if the ring still has every one of them, and those that have no row yet.
    pub fn rows_after(&self, seq: Seq) -> Option<Vec<Bytes>> {
        if !self.reaches(seq) {
            return None;
        }
        let mut frames = Vec::new();
        let mut next = Seq(seq.0 + 1);
        for slot in &self.slots {
            let Some(row) = &slot.document else { continue };
            match row.seq {
                Some(at) if at < next => {}
                Some(at) if at == next => {
                    frames.push(slot.entry.frame.clone());
                    next = Seq(next.0 + 1);
                }
                Some(_) => return None,
                None => frames.push(slot.entry.frame.clone()),
            }
        }
        (next.0 > self.head_seq.0).then_some(frames)
    }

    fn push(&mut self, slot: Slot) -> Position {
        self.bytes += slot.entry.frame.len();
        self.slots.push_back(slot);
        self.head()
    }

    /// Moves the durable mark over everything that needs no more writing.
    fn settle(&mut self) {
        let skip = (self.durable.0 + 1).saturating_sub(self.first) as usize;
        for slot in self.slots.iter().skip(skip) {
            if slot.document.as_ref().is_some_and(|row| row.seq.is_none()) {
                break;
            }
            self.durable.0 += 1;
        }
    }

    fn trim(&mut self) {
        while self.first <= self.durable.0
            && (self.slots.len() > self.limits.entries || self.bytes > self.limits.bytes)
        {
            let Some(slot) = self.slots.pop_front() else { return };
            self.bytes -= slot.entry.frame.len();
            if slot.document.is_some() {
                self.left_document = Position(self.first);
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: usize) -> Log {
        Log::new(LogLimits { entries, bytes: 1 << 20, unwritten_bytes: 100 }, Seq(10))
    }

    fn frames(log: &Log, cursor: u64) -> Result<usize, Gap> {
        log.since(Position(cursor), false, usize::MAX).map(Iterator::count)
    }

    #[test]
    fn an_entry_leaves_only_when_it_is_durable() {
        let mut log = log(2);
        for _ in 0..5 {
            log.append_update(b"edit", None);
        }
        assert_eq!(frames(&log, 0), Ok(5));
        log.written(Position(3), Seq(11));
        assert_eq!(frames(&log, 0), Err(Gap));
        assert_eq!(frames(&log, 3), Ok(2), "what is not durable is still there");
        assert_eq!(log.head_seq(), Seq(13));
    }

    #[test]
    fn the_durable_mark_is_the_longest_durable_prefix() {
        let mut log = log(100);
        log.append_frame(Bytes::from_static(b"run"));
        assert_eq!(log.durable(), Position(1), "a frame of ours needs no writing");
        log.append_update(b"edit", None);
        log.append_frame(Bytes::from_static(b"run"));
        assert_eq!(log.durable(), Position(1), "it waits behind the edit before it");
        let (updates, last) = log.unwritten(usize::MAX).expect("one edit");
        assert_eq!((updates.len(), last), (1, Position(2)));
        log.written(last, Seq(11));
        assert_eq!(log.durable(), Position(3));
        assert!(!log.has_unwritten());
    }

    #[test]
    fn a_batch_is_bounded_but_never_empty() {
        let mut log = log(100);
        for _ in 0..3 {
            log.append_update(&[7; 40], None);
        }
        assert!(log.is_full_of_unwritten());
        let (updates, last) = log.unwritten(50).expect("at least one");
        assert_eq!((updates.len(), last), (1, Position(1)));
        log.written(last, Seq(11));
        assert!(!log.is_full_of_unwritten());
    }

    #[test]
    fn rows_after_a_seq_include_what_has_no_row_yet() {
        let mut log = log(100);
        log.append_update(b"a", None);
        log.append_frame(Bytes::from_static(b"run"));
        log.append_update(b"b", None);
        log.written(Position(3), Seq(11));
        log.append_update(b"c", None);
        assert_eq!(log.rows_after(Seq(10)).map(|rows| rows.len()), Some(3));
        assert_eq!(log.rows_after(Seq(12)).map(|rows| rows.len()), Some(1));
        assert_eq!(log.rows_after(Seq(9)), None, "row 10 was never in this ring");
        assert_eq!(log.rows_after(Seq(13)), None, "nobody can have a row that does not exist");
    }

    #[test]
    fn a_reader_of_documents_only_does_not_fall_behind_by_frames_that_it_never_gets() {
        let mut log = log(2);
        log.append_update(b"a", None);
        log.written(Position(1), Seq(11));
        for _ in 0..5 {
            log.append_frame(Bytes::from_static(b"run"));
        }
        log.append_update(b"b", None);
        let of_documents = |cursor| log.since(Position(cursor), true, usize::MAX).map(Iterator::last);
        assert_eq!(frames(&log, 1), Err(Gap));
        assert_eq!(of_documents(0).map(drop), Err(Gap), "the edit at 1 has left");
        let last = of_documents(1).expect("nothing of the document has left").expect("an entry");
        assert_eq!(last.0, Position(7));
    }

    #[test]
    fn our_own_frames_can_be_told_again_as_long_as_they_are_there() {
        let mut log = log(2);
        log.append_update(b"a", None);
        log.append_frame(Bytes::from_static(b"run"));
        assert_eq!(log.own_frames_since(Position(0)), Ok(vec![Bytes::from_static(b"run")]));
        log.written(Position(2), Seq(11));
        log.append_frame(Bytes::from_static(b"run"));
        assert_eq!(log.own_frames_since(Position(0)), Err(Gap));
    }
}
