//! Collects a run's output by offset and refuses any gap, doubled byte or foreign epoch.

use promptroom_protocol::{BlockKind, Epoch, Offset, RecordsFrame, RunCursor, RunId, ServerFrame};

/// What one viewer has of one run.
#[derive(Clone, Debug)]
pub struct RunReader {
    run: RunId,
    epoch: Epoch,
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    rewinds: Vec<RunCursor>,
    ended: bool,
}

/// A stretch of one block, from `start` to the next stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: usize,
    number: u32,
    kind: BlockKind,
}

/// Why a stream is not the one that the protocol promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenStream {
    #[error("records of epoch {got:?} at {at:?}, but the reader is in {wanted:?}")]
    WrongEpoch { wanted: Epoch, got: Epoch, at: Offset },
    #[error("records start at {got:?}, but the reader has {have} bytes")]
    WrongOffset { have: u64, got: Offset },
    #[error("a rewind to {to:?} of {epoch:?}, but the reader has {have} bytes of {was:?}")]
    BadRewind { was: Epoch, epoch: Epoch, have: u64, to: Offset },
    #[error("the run ends at {end:?} of {epoch:?}, but the reader has {have} bytes of {was:?}")]
    BadEnd { was: Epoch, epoch: Epoch, have: u64, end: Offset },
    #[error("a record without bytes")]
    EmptyRecord,
    #[error("a record that does not end on a character boundary")]
    SplitCharacter,
    #[error("something arrived after the end")]
    AfterEnd,
}

impl RunReader {
    pub fn new(run: RunId) -> Self {
        RunReader {
            run,
            epoch: Epoch::FIRST,
            bytes: Vec::new(),
            blocks: Vec::new(),
            rewinds: Vec::new(),
            ended: false,
        }
    }

    pub fn run(&self) -> RunId {
        self.run
    }

    /// What to present to go on from here.
    pub fn cursor(&self) -> RunCursor {
        RunCursor { epoch: self.epoch, offset: Offset(self.bytes.len() as u64) }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The output by blocks, in order of their first byte: number, kind, text.
    pub fn blocks(&self) -> Vec<(u32, BlockKind, String)> {
        let mut blocks: Vec<(u32, BlockKind, String)> = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let end = self.blocks.get(index + 1).map_or(self.bytes.len(), |next| next.start);
            let text = String::from_utf8_lossy(&self.bytes[block.start..end]);
            match blocks.iter_mut().find(|(number, _, _)| *number == block.number) {
                Some((_, _, known)) => known.push_str(&text),
                None => blocks.push((block.number, block.kind, text.into_owned())),
            }
        }
        blocks
    }

    /// Every rewind that was told, in order.
    pub fn rewinds(&self) -> &[RunCursor] {
        &self.rewinds
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes a frame; those that are not about this run's output are ignored. Returns how many bytes it added.
    pub fn take(&mut self, frame: &ServerFrame<'_>) -> Result<usize, BrokenStream> {
        match frame {
            ServerFrame::Records(records) if records.run == self.run => self.take_records(records),
            ServerFrame::Rewind { run, epoch, offset } if *run == self.run => self.rewind(*epoch, *offset),
            ServerFrame::End { run, epoch, offset } if *run == self.run => self.end(*epoch, *offset),
            _ => Ok(0),
        }
    }

    /// Adds records that start at `frame.offset`.
    pub fn take_records(&mut self, frame: &RecordsFrame) -> Result<usize, BrokenStream> {
        if self.ended {
            return Err(BrokenStream::AfterEnd);
        }
        if frame.epoch != self.epoch {
            return Err(BrokenStream::WrongEpoch { wanted: self.epoch, got: frame.epoch, at: frame.offset });
        }
        let before = self.bytes.len();
        if frame.offset.0 != before as u64 {
            return Err(BrokenStream::WrongOffset { have: before as u64, got: frame.offset });
        }
        for (number, kind, bytes) in &frame.records {
            if bytes.is_empty() {
                return Err(BrokenStream::EmptyRecord);
            }
            if std::str::from_utf8(bytes).is_err() {
                return Err(BrokenStream::SplitCharacter);
            }
            if self.blocks.last().is_none_or(|last| last.number != *number) {
                self.blocks.push(Block { start: self.bytes.len(), number: *number, kind: *kind });
            }
            self.bytes.extend_from_slice(bytes);
        }
        Ok(self.bytes.len() - before)
    }

    /// Withdraws everything from `offset` on; the run goes on in a later epoch.
    pub fn rewind(&mut self, epoch: Epoch, offset: Offset) -> Result<usize, BrokenStream> {
        let have = self.bytes.len() as u64;
        if self.ended {
            return Err(BrokenStream::AfterEnd);
        }
        if epoch <= self.epoch || offset.0 > have {
            return Err(BrokenStream::BadRewind { was: self.epoch, epoch, have, to: offset });
        }
        self.bytes.truncate(offset.0 as usize);
        self.blocks.retain(|block| (block.start as u64) < offset.0);
        self.epoch = epoch;
        self.rewinds.push(RunCursor { epoch, offset });
        Ok(0)
    }

    fn end(&mut self, epoch: Epoch, offset: Offset) -> Result<usize, BrokenStream> {
        let have = self.bytes.len() as u64;
        if self.ended {
            return Err(BrokenStream::AfterEnd);
        }
        if epoch != self.epoch || offset.0 != have {
            return Err(BrokenStream::BadEnd { was: self.epoch, epoch, have, end: offset });
        }
        self.ended = true;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use uuid::Uuid;

    const RUN: RunId = RunId(Uuid::from_u128(1));

    fn records(epoch: u32, offset: u64, records: &[(u32, BlockKind, &str)]) -> ServerFrame<'static> {
        let records = records
            .iter()
            .map(|(n, kind, text)| (*n, *kind, Bytes::copy_from_slice(text.as_bytes())))
            .collect();
        ServerFrame::Records(RecordsFrame { run: RUN, epoch: Epoch(epoch), offset: Offset(offset), records })
    }

    #[test]
    fn blocks_that_alternate_are_joined_by_number() {
        let mut reader = RunReader::new(RUN);
        reader.take(&records(1, 0, &[(0, BlockKind::Reasoning, "hm"), (1, BlockKind::Text, "a")])).unwrap();
        reader.take(&records(1, 3, &[(0, BlockKind::Reasoning, "!"), (1, BlockKind::Text, "b")])).unwrap();
        let expected =
            vec![(0, BlockKind::Reasoning, "hm!".to_owned()), (1, BlockKind::Text, "ab".to_owned())];
        assert_eq!(reader.blocks(), expected);
        assert_eq!(reader.bytes(), b"hma!b");
    }

    #[test]
    fn a_gap_a_double_and_a_foreign_epoch_are_refused() {
        let mut reader = RunReader::new(RUN);
        reader.take(&records(1, 0, &[(0, BlockKind::Text, "abc")])).unwrap();
        let gap = reader.take(&records(1, 4, &[(0, BlockKind::Text, "e")]));
        assert_eq!(gap, Err(BrokenStream::WrongOffset { have: 3, got: Offset(4) }));
        let double = reader.take(&records(1, 2, &[(0, BlockKind::Text, "c")]));
        assert_eq!(double, Err(BrokenStream::WrongOffset { have: 3, got: Offset(2) }));
        let foreign = reader.take(&records(2, 3, &[(0, BlockKind::Text, "d")]));
        assert_eq!(foreign, Err(BrokenStream::WrongEpoch { wanted: Epoch(1), got: Epoch(2), at: Offset(3) }));
    }

    #[test]
    fn a_rewind_withdraws_bytes_and_the_end_must_fit() {
        let mut reader = RunReader::new(RUN);
        reader.take(&records(1, 0, &[(0, BlockKind::Text, "abcdef")])).unwrap();
        reader.take(&ServerFrame::Rewind { run: RUN, epoch: Epoch(2), offset: Offset(4) }).unwrap();
        reader.take(&records(2, 4, &[(0, BlockKind::Text, "EF")])).unwrap();
        assert!(reader.take(&ServerFrame::End { run: RUN, epoch: Epoch(2), offset: Offset(5) }).is_err());
        reader.take(&ServerFrame::End { run: RUN, epoch: Epoch(2), offset: Offset(6) }).unwrap();
        assert_eq!((reader.bytes(), reader.has_ended()), (b"abcdEF".as_slice(), true));
    }
}
