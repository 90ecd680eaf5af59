//! The shared document: one Yjs document per prompt, changed only by frames that fit whole.
//!
//! This file and those below it are the only ones that name yrs. It is faithful to Yjs on whole frames and goes
//! wrong silently on anything else, so `scan` and `plan` stand in front of it.

mod content;
mod digest;
mod edit;
mod index;
mod order;
mod plan;
mod scan;
mod schema;
mod sleeper;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

pub use digest::Digest;
pub use edit::EditRefusal;
pub use schema::first_state;
#[cfg(test)]
pub use sleeper::RESTED;
pub use sleeper::Sleeper;

use crate::domain::prompt::{ContentPatch, PromptContent};
use index::Index;
use plan::Plan;
use promptroom_protocol::put_varint;
use scan::{scan, scan_state_vector};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use thiserror::Error;
use yrs::block::ClientID;
use yrs::updates::decoder::Decode;
use yrs::{Doc, OffsetKind, Options, ReadTxn, StateVector, Transact, TransactionMut, Update};

/// Client ids that a document may know. A thread that merges one must have room for as many levels of recursion;
/// see `MERGE_STACK_BYTES`.
const CLIENTS_MAX: usize = 20_000;

/// The stack of a thread that merges documents: measured, 2 MiB hold between 10,000 and 20,000 clients.
pub const MERGE_STACK_BYTES: usize = 16 << 20;

/// A prompt's shared document, with its history.
pub struct Document {
    doc: Doc,
    client_id: u64,
    index: Index,
    size: Size,
    broken: bool,
}

/// What an applied frame did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All of it was known, its deletions included.
    Nothing,
    Changed,
}

/// Why a frame was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The document is as it was.
    #[error(transparent)]
    Refused(#[from] FrameRefusal),
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Why a frame may not enter the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameRefusal {
    #[error("the edit is not a whole Yjs update")]
    Malformed,
    /// For good: the schema has no such thing.
    #[error("a prompt's document cannot hold {0}")]
    Unsupported(&'static str),
    #[error("the edit, or the document with it, is too large")]
    TooLarge,
    /// For good: placing so many pieces at once could hold up the room.
    #[error("the edit changes too many places at once")]
    TooScattered,
    /// For good: yrs recurses once for each client whose edits it merges, so there is an end to their number.
    #[error("the document has had too many different clients")]
    TooManyClients,
    /// For now: it rests on something that is neither here nor in the frame.
    #[error("the edit rests on another one that has not arrived")]
    Missing,
}

/// The document can no longer be trusted: drop it and load it again from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the document is damaged in memory or in the store")]
pub struct Broken;

/// What a merge of stored rows is.
pub struct Merged {
    pub bytes: Vec<u8>,
    pub digest: Digest,
}

impl Document {
    /// Builds a document from what the store holds, each row checked like a frame.
    ///
    /// `client_id` (below 2^53, random for each life) names what [`Document::edit`] writes. Anything that does not
    /// fit is [`Broken`]: never an empty document that could be written to.
    pub fn load<'a>(
        client_id: u64,
        snapshot: Option<&[u8]>,
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Document, Broken> {
        let mut document = Document::empty(client_id);
        if let Some(snapshot) = snapshot {
            document.enter(snapshot, Sender::Store).map_err(|_| Broken)?;
        }
        for row in rows {
            document.enter(row, Sender::Store).map_err(|_| Broken)?;
        }
        Ok(document)
    }

    /// From now on frames that add anything to a document of this size are refused; deletions always pass.
    pub fn limit_bytes(&mut self, bytes_max: usize) {
        self.size.max = bytes_max;
    }

    fn empty(client_id: u64) -> Document {
        let mut options = Options::with_client_id(ClientID::new(client_id));
        options.offset_kind = OffsetKind::Utf16;
        Document {
            doc: Doc::with_options(options),
            client_id,
            index: Index::default(),
            size: Size::default(),
            broken: false,
        }
    }

    /// Applies a whole frame, or leaves the document as it is.
    ///
    /// After [`Broken`] the document refuses everything; what was applied must be logged and sent on as it came in.
    pub fn apply(&mut self, frame: &[u8]) -> Result<Applied, ApplyError> {
        self.enter(frame, Sender::Client)
    }

    /// Applies a row that somebody else has written. What it may cost was checked when it came in, and it is never
    /// refused for its size; one that does not fit means that this is not the document that it was written to.
    pub fn apply_durable(&mut self, row: &[u8]) -> Result<Applied, ApplyError> {
        self.enter(row, Sender::Store)
    }

    fn enter(&mut self, frame: &[u8], sender: Sender) -> Result<Applied, ApplyError> {
        let scanned = scan(frame)?;
        let plan = self.index.plan(&scanned)?;
        if !plan.adds_structs() && scanned.deletions.is_empty() {
            return self.intact().map(|()| Applied::Nothing).map_err(ApplyError::from);
        }
        if sender == Sender::Client && self.index.clients_with(&scanned) > CLIENTS_MAX {
            return Err(FrameRefusal::TooManyClients.into());
        }
        if sender == Sender::Client && self.index.is_costly(&plan) {
            return Err(FrameRefusal::TooScattered.into());
        }
        let update = Update::decode_v1(frame).map_err(|_| FrameRefusal::Malformed)?;
        let adds = plan.adds_structs();
        if adds && sender == Sender::Client && !self.has_room_for(frame.len())? {
            return Err(FrameRefusal::TooLarge.into());
        }
        let (applied, deleted) = self.write(|txn| txn.apply_update(update).is_ok())?;
        if !applied {
            return Err(self.fail().into());
        }
        self.take_up(plan, &deleted, frame.len());
        Ok(if adds || !deleted.is_empty() { Applied::Changed } else { Applied::Nothing })
    }

    /// Changes the content as an API caller asks, as small edits that leave others' carets and typing alone.
    ///
    /// Returns the update to log and send on; it is empty if everything was so already.
    pub fn edit(&mut self, patch: &ContentPatch) -> Result<Vec<u8>, EditRefusal> {
        edit::check(&self.content()?, patch)?;
        let len = serde_json::to_vec(patch).map_or(0, |json| json.len());
        if !self.has_room_for(len)? {
            return Err(EditRefusal::TooLarge);
        }
        let ids = format!("s{:x}-{:x}", self.client_id, self.index.end(self.client_id));
        Ok(self.author(|txn| edit::write(txn, patch, &ids))?)
    }

    /// Makes a change of our own, which takes the same way as everybody's once it is bytes.
    fn author(&mut self, change: impl FnOnce(&mut TransactionMut<'_>)) -> Result<Vec<u8>, Broken> {
        let (bytes, deleted) = self.write(|txn| {
            change(txn);
            if txn.has_changes() { txn.encode_update_v1() } else { Vec::new() }
        })?;
        if !bytes.is_empty() {
            let scanned = scan(&bytes).map_err(|_| self.fail())?;
            let plan = self.index.plan(&scanned).map_err(|_| self.fail())?;
            self.take_up(plan, &deleted, bytes.len());
        }
        Ok(bytes)
    }

    /// What the prompt is now; whatever does not fit the schema is left out.
    pub fn content(&self) -> Result<PromptContent, Broken> {
        self.read(|txn| content::read(txn))
    }

    pub fn title(&self) -> Result<String, Broken> {
        self.read(|txn| content::title(txn))
    }

    /// The state vector in its wire form; one pass over the client ids.
    pub fn state_vector(&self) -> Vec<u8> {
        let mut bytes = bytes::BytesMut::new();
        let clocks = self.index.clocks();
        put_varint(&mut bytes, clocks.len() as u64);
        for (client, clock) in clocks {
            put_varint(&mut bytes, client);
            put_varint(&mut bytes, u64::from(clock));
        }
        bytes.to_vec()
    }

    /// What a reader with this state vector lacks, and every deletion.
    pub fn diff(&self, state_vector: &[u8]) -> Result<Vec<u8>, ApplyError> {
        let clocks = scan_state_vector(state_vector)?;
        let state_vector: StateVector =
            clocks.into_iter().map(|(client, clock)| (ClientID::new(client), clock)).collect();
        Ok(self.read(|txn| txn.encode_diff_v1(&state_vector))?)
    }

    /// Whether a reader with this state vector holds something that is not here; deletions do not show in it.
    pub fn lacks(&self, state_vector: &[u8]) -> Result<bool, FrameRefusal> {
        let clocks = scan_state_vector(state_vector)?;
        Ok(clocks.into_iter().any(|(client, clock)| clock > self.index.end(client)))
    }

    /// Whether a reader with this state vector has all structs once it takes these updates.
    pub fn is_completed_by<'a>(
        &self,
        state_vector: &[u8],
        updates: impl Iterator<Item = &'a [u8]>,
    ) -> Result<bool, FrameRefusal> {
        let known: BTreeMap<u64, u32> = scan_state_vector(state_vector)?.into_iter().collect();
        let mut begins: BTreeMap<u64, u32> = BTreeMap::new();
        for update in updates {
            for section in scan(update)?.sections {
                let first = begins.entry(section.client).or_insert(section.start);
                *first = section.start.min(*first);
            }
        }
        Ok(self.index.clocks().all(|(client, end)| {
            let has = known.get(&client).copied().unwrap_or(0);
            has >= end || begins.get(&client).is_some_and(|first| *first <= has)
        }))
    }

    /// The whole document as one update; not byte-stable, compare by [`Document::digest`].
    pub fn encode_all(&self) -> Result<Vec<u8>, Broken> {
        // Not encode_state_as_update_v1, which appends pending parts.
        self.read(|txn| txn.encode_diff_v1(&StateVector::default()))
    }

    /// About how many bytes [`Document::encode_all`] would give, never fewer by more than what collecting saves.
    ///
    /// It is counted up with each frame and taken exactly when it has grown by a quarter.
    pub fn bytes(&mut self) -> Result<usize, Broken> {
        if self.size.is_stale() {
            self.measure()?;
        }
        Ok(self.size.estimate())
    }

    fn measure(&mut self) -> Result<(), Broken> {
        self.size.exact = self.encode_all()?.len();
        self.size.grown = 0;
        Ok(())
    }

    fn has_room_for(&mut self, len: usize) -> Result<bool, Broken> {
        if self.bytes()? + len > self.size.max && self.size.grown >= Size::UNMEASURED_BYTES_MAX {
            self.measure()?;
        }
        Ok(self.size.estimate() + len <= self.size.max)
    }

    /// Content, state vector and deletions, in a form that equal documents share.
    pub fn digest(&self) -> Result<Digest, Broken> {
        self.read(|txn| digest::digest(txn))
    }

    /// Joins a snapshot and the rows after it into one, with the digest that its reader must find again.
    pub fn merge<'a>(
        snapshot: Option<&[u8]>,
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Merged, Broken> {
        let document = Document::load(0, snapshot, rows)?;
        Ok(Merged { bytes: document.encode_all()?, digest: document.digest()? })
    }

    fn take_up(&mut self, plan: Plan<'_>, deleted: &[(u64, std::ops::Range<u32>)], len: usize) {
        self.index.take_up(plan);
        for (client, clocks) in deleted {
            self.index.mark_deleted(*client, clocks.clone());
        }
        self.size.grown += len;
    }

    /// Runs a change; what it deleted is told too, even where only a conflict deleted it.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&mut TransactionMut<'_>) -> T,
    ) -> Result<(T, Deleted), Broken> {
        self.intact()?;
        let doc = self.doc.clone();
        let Ok(mut txn) = doc.try_transact_mut() else { return Err(self.fail()) };
        let changed = catch_unwind(AssertUnwindSafe(|| change(&mut txn)));
        // Apart from the change, since a transaction commits when it is dropped: a second panic while unwinding
        // from a first one would end the process.
        let committed = catch_unwind(AssertUnwindSafe(move || {
            let deleted = deletions(&txn);
            txn.commit();
            (deleted, txn.has_missing_updates())
        }));
        match (changed, committed) {
            (Ok(value), Ok((deleted, false))) => Ok((value, deleted)),
            _ => Err(self.fail()),
        }
    }

    fn read<T>(&self, look: impl FnOnce(&yrs::Transaction<'_>) -> T) -> Result<T, Broken> {
        self.intact()?;
        let txn = self.doc.try_transact().map_err(|_| Broken)?;
        catch_unwind(AssertUnwindSafe(|| look(&txn))).map_err(|_| Broken)
    }

    fn intact(&self) -> Result<(), Broken> {
        if self.broken { Err(Broken) } else { Ok(()) }
    }

    fn fail(&mut self) -> Broken {
        self.broken = true;
        Broken
    }
}

/// Whose frame it is: what it may cost was checked when it first came in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Store,
}

type Deleted = Vec<(u64, std::ops::Range<u32>)>;

fn deletions(txn: &TransactionMut<'_>) -> Deleted {
    let by_client = txn.delete_set().iter();
    by_client.flat_map(|(client, ranges)| ranges.iter().map(|range| (client.get(), range.clone()))).collect()
}

#[derive(Debug)]
struct Size {
    exact: usize,
    grown: usize,
    max: usize,
}

impl Size {
    const STALE_BYTES_MIN: usize = 16 * 1024;
    /// How much room a document near its limit may lose to frames that are larger than what they add.
    const UNMEASURED_BYTES_MAX: usize = 4 * 1024;

    fn estimate(&self) -> usize {
        self.exact + self.grown
    }

    fn is_stale(&self) -> bool {
        self.grown > Size::STALE_BYTES_MIN.max(self.exact / 4)
    }
}

impl Default for Size {
    fn default() -> Self {
        Size { exact: 0, grown: 0, max: usize::MAX }
    }
}
