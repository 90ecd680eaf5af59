//! A run's output as its readers hold it: live and growing, or read back from the store.
//!
//! A reader keeps its own cursor and a bell; the tape only rings. So a thousand readers cost a thousand bells,
//! and one that never reads costs nothing more.

use crate::domain::output::{Output, Read, ReadRecords, Record};
use parking_lot::Mutex;
use promptroom_protocol::{BlockKind, Epoch, Offset, PromptId, RunCursor, RunId};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

pub struct Tape {
    pub run: RunId,
    pub prompt: PromptId,
    output: Mutex<Output>,
    readers: Mutex<HashMap<u64, Arc<Notify>>>,
    next_reader: AtomicU64,
}

/// A reader's place at a tape; dropping it is leaving.
pub struct Reader {
    tape: Arc<Tape>,
    number: u64,
    cursor: RunCursor,
}

impl Tape {
    pub fn new(prompt: PromptId, run: RunId, output: Output) -> Arc<Tape> {
        Arc::new(Tape {
            run,
            prompt,
            output: Mutex::new(output),
            readers: Mutex::default(),
            next_reader: AtomicU64::new(0),
        })
    }

    /// Rings `bell` whenever there is something after `cursor` to read, at once included.
    pub fn read_from(self: &Arc<Self>, cursor: RunCursor, bell: &Arc<Notify>) -> Reader {
        let number = self.next_reader.fetch_add(1, Ordering::Relaxed);
        self.readers.lock().insert(number, bell.clone());
        bell.notify_one();
        Reader { tape: self.clone(), number, cursor }
    }

    pub fn readers(&self) -> usize {
        self.readers.lock().len()
    }

    pub fn append(&self, block: u32, kind: BlockKind, text: &str) {
        self.output.lock().append(block, kind, text);
    }

    pub fn has_pending(&self) -> bool {
        self.output.lock().has_pending()
    }

    /// Shows the readers what has arrived.
    pub fn flush(&self) {
        if self.output.lock().flush() {
            self.ring();
        }
    }

    pub fn end(&self) {
        self.output.lock().end();
        self.ring();
    }

    pub fn is_ended(&self) -> bool {
        self.output.lock().is_ended()
    }

    pub fn epoch(&self) -> Epoch {
        self.output.lock().epoch()
    }

    pub fn length(&self) -> Offset {
        self.output.lock().length()
    }

    /// Shows and returns everything from `offset` on, for the store.
    pub fn take_from(&self, offset: Offset, bytes_max: u64) -> Vec<Record> {
        let (shown, records) = {
            let mut output = self.output.lock();
            (output.flush(), output.records_from(offset, bytes_max))
        };
        if shown {
            self.ring();
        }
        records
    }

    fn ring(&self) {
        for bell in self.readers.lock().values() {
            bell.notify_one();
        }
    }
}

impl Reader {
    pub fn run(&self) -> RunId {
        self.tape.run
    }

    /// The next frame for this reader, and whether it was the last one.
    pub fn next_frame(&mut self) -> Option<(bytes::Bytes, bool)> {
        let read = self.tape.output.lock().read(self.cursor);
        match read {
            Read::Frame { frame, next } => {
                self.cursor = next;
                Some((frame, false))
            }
            Read::End { frame } => Some((frame, true)),
            Read::Wait => None,
        }
    }

    pub fn next_records(&mut self) -> ReadRecords {
        let read = self.tape.output.lock().read_records(self.cursor);
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
