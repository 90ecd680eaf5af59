//! A run's output as its readers hold it: live and growing, or read back from the store.
//!
//! A reader keeps its own cursor and a bell; the tape only rings. So a thousand readers cost a thousand bells,
//! and one that never reads costs nothing more.

use crate::domain::output::{Output, Read, ReadRecords, Record};
use bytes::Bytes;
use parking_lot::Mutex;
use promptroom_protocol::{BlockKind, Epoch, Offset, PromptId, RunCursor, RunId, RunSummary};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

pub struct Tape {
    pub run: RunId,
    pub prompt: PromptId,
    output: Mutex<Output>,
    /// As its viewers were last told.
    summary: Mutex<RunSummary>,
    /// Nobody writes here any more, and the run is not over: its readers must look for it anew.
    abandoned: AtomicBool,
    readers: Mutex<HashMap<u64, Arc<Notify>>>,
    next_reader: AtomicU64,
}

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
    tape: Arc<Tape>,
    number: u64,
    cursor: RunCursor,
}

impl Tape {
    pub fn new(run: &RunSummary, output: Output) -> Arc<Tape> {
        Arc::new(Tape {
            run: run.id,
            prompt: run.prompt,
            output: Mutex::new(output),
            summary: Mutex::new(run.clone()),
            abandoned: AtomicBool::new(false),
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

    /// The run goes on elsewhere, later, or not at all; what is here is no longer true.
    pub fn abandon(&self) {
        if !self.is_ended() {
            self.abandoned.store(true, Ordering::Release);
            self.ring();
        }
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub fn is_ended(&self) -> bool {
        self.output.lock().is_ended()
    }

    pub fn summary(&self) -> RunSummary {
        self.summary.lock().clone()
    }

    /// Notes how the run stands; whoever reads is rung when its state is another one.
    pub fn note(&self, run: &RunSummary) {
        let before = std::mem::replace(&mut *self.summary.lock(), run.clone());
        if before.state != run.state {
            self.ring();
        }
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
        let read = self.tape.output.lock().read(self.cursor);
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
