//! A run that this node drives, from its row to its end: what was asked of it and what of it is in the store.

use crate::live::{clock::now_ms, tape::Tape};
use crate::store::{Progress, Record};
use parking_lot::Mutex;
use promptroom_protocol::{BlockKind, Epoch, MemberId, Offset, RunId, Usage};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};
use tokio_util::sync::CancellationToken;

/// A database that is being restarted may refuse what it takes a little later.
const REFUSALS_MAX: u32 = 8;

/// One driver's hold of a run, in one epoch.
pub struct Going {
    pub run: RunId,
    pub epoch: Epoch,
    pub tape: Arc<Tape>,
    /// Somebody asked it to stop.
    pub cancelled: CancellationToken,
    cancelled_by: OnceLock<MemberId>,
    /// Another driver has it, or it has ended: write nothing more.
    pub fenced: CancellationToken,
    ending: AtomicBool,
    state: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    stored: Offset,
    /// Times in a row that the store refused what there is to write.
    refused: u32,
    first_token_at_ms: Option<u64>,
    usage: Option<Usage>,
    /// What of it the store was told last, and what of that it is known to have.
    usage_told: Option<Usage>,
    usage_stored: Option<Usage>,
}

impl Going {
    pub fn new(epoch: Epoch, tape: Arc<Tape>, stored: Offset) -> Arc<Going> {
        Arc::new(Going {
            run: tape.run,
            epoch,
            tape,
            cancelled: CancellationToken::new(),
            cancelled_by: OnceLock::new(),
            fenced: CancellationToken::new(),
            ending: AtomicBool::new(false),
            state: Mutex::new(Written { stored, ..Written::default() }),
        })
    }

    pub fn cancel(&self, by: MemberId) {
        self.cancelled_by.get_or_init(|| by);
        self.cancelled.cancel();
    }

    pub fn cancelled_by(&self) -> Option<MemberId> {
        self.cancelled_by.get().copied()
    }

    /// Takes what the model said.
    pub fn append(&self, block: u32, kind: BlockKind, text: &str) {
        self.tape.append(self.epoch, block, kind, text);
    }

    /// Shows what has arrived.
    pub fn flush(&self) {
        self.tape.flush(self.epoch);
    }

    pub fn length(&self) -> Offset {
        self.tape.length()
    }

    /// Another driver has the run, or nothing of it can be written: from now on nothing more is read or shown.
    pub(super) fn fence(&self) {
        self.fenced.cancel();
        self.tape.let_go(self.epoch);
    }

    pub fn first_token_at(&self, at_ms: u64) {
        self.state.lock().first_token_at_ms.get_or_insert(at_ms);
    }

    pub fn first_token_at_ms(&self) -> Option<u64> {
        self.state.lock().first_token_at_ms
    }

    pub fn used(&self, usage: Usage) {
        self.state.lock().usage = Some(usage);
    }

    /// It is in the store up to there, and so is what was last told of its usage.
    pub fn is_stored(&self, stored: Offset) {
        let mut written = self.state.lock();
        (written.stored, written.refused) = (stored, 0);
        written.usage_stored = written.usage_told;
    }

    /// The store refused what there is to write; says whether it has done so too often.
    pub fn is_refused(&self) -> bool {
        let mut written = self.state.lock();
        written.refused += 1;
        written.refused > REFUSALS_MAX
    }

    /// Its end is being written: what is left goes to the store with that.
    pub(super) fn mark_ending(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Whether something has arrived that is not in the store.
    pub fn has_more(&self) -> bool {
        self.state.lock().stored < self.tape.length()
    }

    /// What the store is to be told, with at most so many bytes of output; `None` for a driver that writes no more. One
    /// at a time: `is_stored` is about the last.
    pub fn progress(&self, bytes_max: u64) -> Option<Progress> {
        let (from, first_token_at_ms, usage) = {
            let mut written = self.state.lock();
            written.usage_told = written.usage;
            let news = written.usage.filter(|usage| Some(*usage) != written.usage_stored);
            (written.stored, written.first_token_at_ms, news)
        };
        let records = self.tape.take_from(self.epoch, from, bytes_max)?;
        let records = records.into_iter().map(|record| Record {
            offset: record.offset,
            block: record.block,
            kind: record.kind,
            bytes: record.bytes,
        });
        Some(Progress {
            run: self.run,
            epoch: self.epoch,
            from,
            records: records.collect(),
            first_token_at_ms,
            usage,
            now_ms: now_ms(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::output::Output;
    use crate::live::test_node::{Hearing, Node};

    #[tokio::test(start_paused = true)]
    async fn the_store_is_told_of_usage_until_it_has_it_and_not_again() {
        let node = Node::first(1, Hearing::Deaf).await;
        let run = node.run("demo/markdown").await;
        let tape = Tape::driven(&run, Output::new(run.id), &node.runs.bus);
        let going = Going::new(run.epoch, tape, Offset(0));
        let told = || going.progress(u64::MAX).unwrap().usage;
        let usage = |output_tokens| Usage { output_tokens, ..Usage::default() };
        assert_eq!(told(), None);
        going.used(usage(7));
        assert_eq!((told(), told()), (Some(usage(7)), Some(usage(7))), "the first may be lost");
        going.used(usage(8));
        going.is_stored(Offset(0));
        assert_eq!(told(), Some(usage(8)), "only what was told is stored");
        going.is_stored(Offset(0));
        going.used(usage(8));
        assert_eq!(told(), None);
    }
}
