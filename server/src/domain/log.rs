//! A room's log: a bounded ring of what its members see, in one order.
//!
//! A document entry leaves the ring only when it is durable; everything else may leave as soon as the ring is
//! over its bounds. Readers hold a position and ask for what came after it, so a slow reader costs nothing:
//! when the ring has moved on it is told of the gap and joins again.
//!
//! Positions are the order in which this node saw the entries, and no other node has them. What nodes agree upon
//! is the `seq` that the database gave a row. A node has all rows up to its `head_seq`; of those above it, it may
//! have some: its own commit can land behind rows of others that have not arrived here.

mod ahead;

use ahead::Ahead;
use bytes::Bytes;
use promptroom_protocol::{Seq, ServerFrame, SyncStep};
use std::collections::VecDeque;

/// What an entry costs beside its update: thousands of small ones are not free.
const ENTRY_BYTES: usize = 192;

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
    /// With this much not yet durable, what each entry costs included, the room stops taking edits until the store has caught up.
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

/// The rows of others have been missing for so long that it is not worth keeping track of ours behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFarAhead;

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
    /// The highest row that has left the ring, or was never in it.
    left_seq: Seq,
    slots: VecDeque<Slot>,
    bytes: usize,
    /// Everything up to here is durable.
    durable: Position,
    unwritten_bytes: usize,
    head_seq: Seq,
    /// Whoever has all entries up to here has all rows up to `head_seq`.
    head_position: Position,
    ahead: Ahead,
}

impl Log {
    /// An empty log of a room whose newest durable row is `head`.
    pub fn new(limits: LogLimits, head: Seq) -> Self {
        Log {
            limits,
            first: 1,
            left_document: Position(0),
            left_seq: head,
            slots: VecDeque::new(),
            bytes: 0,
            durable: Position(0),
            unwritten_bytes: 0,
            head_seq: head,
            head_position: Position(0),
            ahead: Ahead::default(),
        }
    }

    pub fn head(&self) -> Position {
        Position(self.first + self.slots.len() as u64 - 1)
    }

    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Every row of the document up to this one is here.
    pub fn head_seq(&self) -> Seq {
        self.head_seq
    }

    /// The position up to which a reader must have been sent the log before it may be told of `head_seq`.
    pub fn head_position(&self) -> Position {
        self.head_position
    }

    /// Appends a document update as it came in; it must be written before it may leave.
    pub fn append_update(&mut self, update: &[u8], author: Option<SocketId>) -> Position {
        self.unwritten_bytes += update.len() + ENTRY_BYTES;
        self.append_document(update, author, None)
    }

    /// Appends the row after the last one known, which somebody else has written. It is durable, but the durable
    /// mark passes it only when all of ours before it are. `None` if it is not that row.
    pub fn append_row(&mut self, update: &[u8], seq: Seq) -> Option<Position> {
        if seq.0 != self.head_seq.0 + 1 {
            return None;
        }
        let position = self.append_document(update, None, Some(seq));
        self.move_head(seq, position);
        self.settle();
        self.trim();
        Some(position)
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
        for (index, slot) in self.slots.iter().enumerate().skip(self.settled()) {
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

    /// The updates up to `last` were committed as consecutive rows, the first of which is `first_seq`. It may lie
    /// beyond the row after `head_seq`, or among those that are known because they came back from the store.
    pub fn written(&mut self, last: Position, first_seq: Seq) -> Result<(), TooFarAhead> {
        let mut seq = first_seq;
        let mut newest = None;
        let settled = self.settled();
        for (index, slot) in self.slots.iter_mut().enumerate().skip(settled) {
            let position = Position(self.first + index as u64);
            if position > last {
                break;
            }
            let Some(row) = slot.document.as_mut().filter(|row| row.seq.is_none()) else { continue };
            row.seq = Some(seq);
            self.unwritten_bytes -= row.update.len() + ENTRY_BYTES;
            newest = Some((seq, position));
            seq = Seq(seq.0 + 1);
        }
        if let Some((last_seq, position)) = newest {
            self.take_own(first_seq, last_seq, position)?;
        }
        self.settle();
        self.trim();
        Ok(())
    }

    /// Whether edits must wait until more is durable. Rows of others count where they wait behind ours.
    pub fn is_full_of_unwritten(&self) -> bool {
        let LogLimits { bytes, unwritten_bytes, .. } = self.limits;
        self.unwritten_bytes > unwritten_bytes
            || self.bytes > bytes.saturating_add(unwritten_bytes.saturating_mul(2))
    }

    pub fn has_unwritten(&self) -> bool {
        self.unwritten_bytes > 0
    }

    /// Whether the ring still has every row after `seq` that is known here.
    pub fn reaches(&self, seq: Seq) -> bool {
        seq >= self.left_seq
    }

    /// Whether row `seq` is known with another content: there are two histories then.
    pub fn contradicts(&self, seq: Seq, update: &[u8]) -> bool {
        let rows = self.slots.iter().rev().filter_map(|slot| slot.document.as_ref());
        rows.filter(|row| row.seq == Some(seq)).any(|row| row.update != update)
    }

    /// All that a reader may lack who has every row up to `seq`: the rows after it and the updates that have no row
    /// yet, as frames, in the order of the log; unless some of them have left the ring.
    pub fn rows_after(&self, seq: Seq) -> Option<Vec<Bytes>> {
        if !self.reaches(seq) {
            return None;
        }
        let rows =
            self.slots.iter().filter_map(|slot| Some((&slot.entry.frame, slot.document.as_ref()?.seq)));
        let lacking = rows.filter(|(_, at)| at.is_none_or(|at| at > seq));
        Some(lacking.map(|(frame, _)| frame.clone()).collect())
    }

    fn append_document(&mut self, update: &[u8], author: Option<SocketId>, seq: Option<Seq>) -> Position {
        let frame = ServerFrame::Sync(SyncStep::Update(update)).encode();
        let update = frame.slice(frame.len() - update.len()..);
        let entry = Entry { frame, audience: Audience::AllBut(author) };
        self.push(Slot { entry, document: Some(Row { update, seq }) })
    }

    fn push(&mut self, slot: Slot) -> Position {
        self.bytes += slot.entry.frame.len();
        self.slots.push_back(slot);
        self.head()
    }

    /// Rows `first` to `last` are ours, the last of them at `position`.
    fn take_own(&mut self, first: Seq, last: Seq, position: Position) -> Result<(), TooFarAhead> {
        if first.0 > self.head_seq.0 + 1 {
            return self.ahead.insert(first, last, position);
        }
        // What is known already came back from the store and stands further behind in the log.
        if last > self.head_seq {
            self.move_head(last, position);
        }
        Ok(())
    }

    fn move_head(&mut self, seq: Seq, position: Position) {
        self.head_seq = seq;
        self.head_position = self.head_position.max(position);
        while let Some((last, position)) = self.ahead.take_next(self.head_seq) {
            self.head_seq = last;
            self.head_position = self.head_position.max(position);
        }
    }

    /// How many slots of the ring the durable mark has passed.
    fn settled(&self) -> usize {
        (self.durable.0 + 1).saturating_sub(self.first) as usize
    }

    /// Moves the durable mark over everything that needs no more writing.
    fn settle(&mut self) {
        for slot in self.slots.iter().skip(self.settled()) {
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
            if let Some(row) = slot.document {
                self.left_document = Position(self.first);
                self.left_seq = self.left_seq.max(row.seq.unwrap_or_default());
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;
