//! A reader's place at a tape: its cursor, and nothing else of its own.

use super::Tape;
use crate::domain::output::{Read, ReadRecords};
use bytes::Bytes;
use promptroom_protocol::{RunCursor, RunId, RunSummary};
use std::sync::Arc;

/// What comes next for a reader of frames.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Frame(Bytes),
    /// The run is over, and this is all.
    Last(Bytes),
    Wait,
    Abandoned,
}

/// A reader's place at a tape; dropping it is leaving.
pub struct Reader {
    pub(super) tape: Arc<Tape>,
    pub(super) number: u64,
    pub(super) cursor: RunCursor,
}

impl Reader {
    pub fn run(&self) -> RunId {
        self.tape.run
    }

    pub fn is_abandoned(&self) -> bool {
        self.tape.is_abandoned()
    }

    /// How the run stands.
    pub fn summary(&self) -> RunSummary {
        self.tape.summary()
    }

    pub fn next_frame(&mut self) -> Next {
        if self.is_abandoned() {
            return Next::Abandoned;
        }
        let read = self.tape.written.lock().output.read(self.cursor);
        match read {
            Read::Frame { frame, next } => {
                self.cursor = next;
                Next::Frame(frame)
            }
            Read::End { frame } => Next::Last(frame),
            Read::Wait => Next::Wait,
        }
    }

    pub fn next_records(&mut self) -> ReadRecords {
        let read = self.tape.written.lock().output.read_records(self.cursor);
        match &read {
            ReadRecords::Records { next: cursor, .. } | ReadRecords::Rewind { cursor } => {
                self.cursor = *cursor
            }
            ReadRecords::End { .. } | ReadRecords::Wait => {}
        }
        read
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.tape.readers.lock().remove(&self.number);
    }
}
