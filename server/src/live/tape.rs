//! A run's output as its readers hold it on this node: one tape, whoever drives the run.
//!
//! What is driven here is written here, and told to other nodes as it is shown. What is driven elsewhere is followed
//! (`followed.rs`). When the driver changes the readers stay where they are, and are told what is withdrawn.
//! A reader keeps its own cursor and a bell; the tape only rings. So a thousand readers cost a thousand bells,
//! and one that never reads costs nothing more.

mod ahead;
mod reader;

pub use reader::{Next, Reader};

use crate::bus::{Bus, Note, Piece, Subscription, Topic};
use crate::domain::{
    output::{Output, Record, Taken},
    run::Stage,
};
use crate::store::{FollowedRun, StoredRecord};
use ahead::Ahead;
use parking_lot::Mutex;
use promptroom_protocol::{BlockKind, Epoch, Offset, PromptId, RunCursor, RunId, RunState, RunSummary};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};
use tokio::sync::Notify;

/// What is told to other nodes in one note; more takes several.
const NOTE_BYTES_MAX: u64 = 64 << 10;
/// A database that is being restarted may refuse what it tells a little later.
const REFUSALS_MAX: u32 = 8;

pub struct Tape {
    pub run: RunId,
    pub prompt: PromptId,
    written: Mutex<Written>,
    /// As its viewers were last told.
    summary: Mutex<RunSummary>,
    /// What is stored of the run cannot be right: its readers are sent away.
    abandoned: AtomicBool,
    /// Times in a row that the store would not tell of the run.
    refused: AtomicU32,
    readers: Mutex<BTreeMap<u64, Arc<Notify>>>,
    next_reader: AtomicU64,
    bus: Bus,
    /// As long as there is a tape, this node hears what others tell of the run.
    hearing: Mutex<Option<Subscription>>,
}

struct Written {
    output: Output,
    /// The epoch of the driver on this node, as long as it may write.
    driver: Option<Epoch>,
    ahead: Ahead,
}

/// What a look into the store brought to a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// This node drives the run itself.
    Driven,
    /// There is more in the store already.
    More,
    /// All that is stored is here; more may come.
    Waiting,
    /// The run is over, and all of it is here.
    Over,
    /// The run is over, and what was shown is not its output.
    Beyond,
}

impl Tape {
    /// For a run that is driven here, in the epoch of its output.
    pub fn driven(run: &RunSummary, output: Output, bus: &Bus) -> Arc<Tape> {
        let driver = Some(output.epoch());
        Tape::new(run, Written { output, driver, ahead: Ahead::default() }, bus)
    }

    /// For a run that is over.
    pub fn over(run: &RunSummary, output: Output, bus: &Bus) -> Arc<Tape> {
        Tape::new(run, Written { output, driver: None, ahead: Ahead::default() }, bus)
    }

    /// For a run that is driven elsewhere, or by nobody just now: nothing is known of its output yet.
    pub fn followed(run: &RunSummary, bus: &Bus) -> Arc<Tape> {
        Tape::new(run, Written { output: Output::new(run.id), driver: None, ahead: Ahead::default() }, bus)
    }

    fn new(run: &RunSummary, written: Written, bus: &Bus) -> Arc<Tape> {
        Arc::new(Tape {
            run: run.id,
            prompt: run.prompt,
            written: Mutex::new(written),
            summary: Mutex::new(run.clone()),
            abandoned: AtomicBool::new(false),
            refused: AtomicU32::new(0),
            readers: Mutex::default(),
            next_reader: AtomicU64::new(0),
            bus: bus.clone(),
            hearing: Mutex::default(),
        })
    }

    pub fn keep_hearing(&self, subscription: Subscription) {
        *self.hearing.lock() = Some(subscription);
    }

    pub fn is_heard(&self) -> bool {
        self.hearing.lock().is_some()
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

    /// This node has claimed the run: from now on it is written here. Whoever has read more than was found, is told.
    pub fn drive(&self, run: &RunSummary, output: Output) {
        {
            let mut written = self.written.lock();
            // Somebody else has claimed it since, which its driver here has yet to learn.
            if output.epoch() < written.output.epoch() {
                return;
            }
            written.driver = Some(output.epoch());
            written.output = output;
            written.ahead.clear();
        }
        self.note(run);
        self.ring();
    }

    /// Takes what the model said; of a driver that is no more, nothing.
    pub fn append(&self, driver: Epoch, block: u32, kind: BlockKind, text: &str) {
        let mut written = self.written.lock();
        if written.driver == Some(driver) {
            written.output.append(block, kind, text);
        }
    }

    /// Shows the readers what has arrived, here and elsewhere.
    pub fn flush(&self, driver: Epoch) {
        self.show(driver, |_| ());
    }

    pub fn end(&self, driver: Epoch) {
        let ended = self.show(driver, Output::end);
        if ended.is_some() {
            self.ring();
        }
    }

    /// Shows and returns everything from `offset` on, for the store; `None` if `driver` writes no more.
    pub fn take_from(&self, driver: Epoch, offset: Offset, bytes_max: u64) -> Option<Vec<Record>> {
        self.show(driver, |output| output.records_from(offset, bytes_max))
    }

    /// Everything that is shown; `None` where it comes from elsewhere, and some of it may not be here yet.
    pub fn all(&self) -> Option<Vec<StoredRecord>> {
        let written = self.written.lock();
        if written.driver.is_none() && !written.output.is_ended() {
            return None;
        }
        let records = written.output.records_from(Offset(0), u64::MAX).into_iter();
        Some(records.map(|Record { block, kind, bytes, .. }| StoredRecord { block, kind, bytes }).collect())
    }

    /// The driver writes no more, though the run may go on: from now on it is followed.
    pub fn let_go(&self, driver: Epoch) {
        let mut written = self.written.lock();
        if written.driver == Some(driver) {
            written.driver = None;
            written.output.forget_pending();
        }
    }

    /// Takes output that was shown on another node.
    pub fn hear(&self, epoch: Epoch, offset: Offset, pieces: Vec<Piece>) -> Taken {
        let taken = {
            let mut written = self.written.lock();
            if written.driver.is_some() {
                return Taken::Known;
            }
            let Written { output, ahead, .. } = &mut *written;
            let taken = ahead::take(output, epoch, offset, &pieces);
            match taken {
                Taken::Grown => ahead.give(output),
                Taken::Gap => ahead.put(epoch, offset, pieces),
                Taken::Known => {}
            }
            taken
        };
        if taken == Taken::Grown {
            self.ring();
        }
        taken
    }

    /// Takes what the store holds after the tape's cursor.
    pub fn follow(&self, found: FollowedRun) -> Followed {
        self.refused.store(0, Ordering::Relaxed);
        let (before, after, followed) = {
            let mut written = self.written.lock();
            if written.driver.is_some() {
                return Followed::Driven;
            }
            let Written { output, ahead, .. } = &mut *written;
            let before = cursor(output);
            for claim in &found.claims {
                output.withdraw(claim.epoch, claim.start);
            }
            for record in found.records {
                let piece = (record.block, record.kind, record.bytes);
                output.take(found.epoch, record.offset, [piece]);
            }
            ahead.give(output);
            (before, cursor(output), followed(output, found.epoch, found.stored, found.state))
        };
        if before != after {
            self.ring();
        }
        followed
    }

    /// A run that is followed is over, and all of it is here.
    pub fn finish(&self, epoch: Epoch) {
        {
            let mut written = self.written.lock();
            if written.driver.is_some() || written.output.epoch() != epoch {
                return;
            }
            written.output.end();
        }
        self.ring();
    }

    /// The store would not tell of the run; too often, and nothing more is expected of it.
    pub fn is_refused(&self) {
        if self.refused.fetch_add(1, Ordering::Relaxed) >= REFUSALS_MAX {
            self.abandon();
        }
    }

    /// Nothing can be shown of the run any more.
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
        self.written.lock().output.is_ended()
    }

    /// Whether its output comes from elsewhere, and more may come.
    pub fn is_followed(&self) -> bool {
        let written = self.written.lock();
        written.driver.is_none() && !written.output.is_ended() && !self.is_abandoned()
    }

    pub fn summary(&self) -> RunSummary {
        self.summary.lock().clone()
    }

    /// Where the run stands, as far as is known here.
    pub fn stage(&self) -> Stage {
        Stage::of(&self.summary.lock())
    }

    /// Notes how the run stands; whoever reads is rung when its state is another one. What a driver says that is no
    /// more, and what is told of a run after its end as if it went on, is not noted.
    pub fn note(&self, run: &RunSummary) {
        let changed = {
            let mut known = self.summary.lock();
            if run.epoch < known.epoch || (known.state.is_terminal() && !run.state.is_terminal()) {
                return;
            }
            let changed = known.state != run.state;
            known.clone_from(run);
            changed
        };
        if changed {
            self.ring();
        }
    }

    /// Up to where it has all that was shown; what comes next begins here.
    pub fn cursor(&self) -> RunCursor {
        cursor(&self.written.lock().output)
    }

    pub fn length(&self) -> Offset {
        self.written.lock().output.length()
    }

    /// Shows what has arrived and does something with the output, if `driver` may still write.
    fn show<T>(&self, driver: Epoch, then: impl FnOnce(&mut Output) -> T) -> Option<T> {
        let (shown, notes, result) = {
            let mut written = self.written.lock();
            if written.driver != Some(driver) {
                return None;
            }
            let shown = written.output.flush();
            let start = shown.filter(|_| self.bus.has_others());
            let notes = start.map_or_else(Vec::new, |start| notes(&written.output, start));
            (shown.is_some(), notes, then(&mut written.output))
        };
        if shown {
            self.ring();
        }
        for (offset, pieces) in notes {
            let note = Note::Output { run: self.run, epoch: driver, offset, pieces };
            self.bus.publish(Topic::Room(self.prompt), note);
        }
        Some(result)
    }

    fn ring(&self) {
        for bell in self.readers.lock().values() {
            bell.notify_one();
        }
    }
}

fn cursor(output: &Output) -> RunCursor {
    RunCursor { epoch: output.epoch(), offset: output.length() }
}

fn followed(output: &Output, epoch: Epoch, stored: Offset, state: RunState) -> Followed {
    let length = output.length();
    if output.epoch() != epoch {
        // Notes were faster than this look.
        Followed::Waiting
    } else if length < stored {
        Followed::More
    } else if !state.is_terminal() {
        Followed::Waiting
    } else if length == stored {
        Followed::Over
    } else {
        Followed::Beyond
    }
}

/// What was shown from `start` on, in parts of whole characters.
fn notes(output: &Output, start: Offset) -> Vec<(Offset, Vec<Piece>)> {
    let (mut offset, mut notes) = (start, Vec::new());
    loop {
        let records = output.records_from(offset, NOTE_BYTES_MAX);
        let bytes: u64 = records.iter().map(|record| record.bytes.len() as u64).sum();
        if bytes == 0 {
            return notes;
        }
        let piece = |record: Record| Piece { block: record.block, kind: record.kind, bytes: record.bytes };
        notes.push((offset, records.into_iter().map(piece).collect()));
        offset.0 += bytes;
    }
}
