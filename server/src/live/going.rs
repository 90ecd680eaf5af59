//! A run that this node drives, from its row to its end: what was asked of it and what of it is in the store.

use crate::live::{clock::now_ms, tape::Tape};
use crate::store::{Progress, Record};
use parking_lot::Mutex;
use promptroom_protocol::{BlockKind, Epoch, MemberId, Offset, RunId, Usage};
use std::sync::{Arc, OnceLock};
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
    state: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    stored: Offset,
    /// Times in a row that the store refused what there is to write.
    refused: u32,
    first_token_at_ms: Option<u64>,
    usage: Option<Usage>,
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

    /// It is in the store up to there.
    pub fn is_stored(&self, stored: Offset) {
        let mut written = self.state.lock();
        (written.stored, written.refused) = (stored, 0);
    }

    /// The store refused what there is to write; says whether it has done so too often.
    pub fn is_refused(&self) -> bool {
        let mut written = self.state.lock();
        written.refused += 1;
        written.refused > REFUSALS_MAX
    }

    /// Whether something has arrived that is not in the store.
    pub fn has_more(&self) -> bool {
        self.state.lock().stored < self.tape.length()
    }

    /// What the store is to be told, with at most so many bytes of output; `None` for a driver that writes no more.
    pub fn progress(&self, bytes_max: u64) -> Option<Progress> {
        let (from, first_token_at_ms, usage) = {
            let written = self.state.lock();
            (written.stored, written.first_token_at_ms, written.usage)
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
