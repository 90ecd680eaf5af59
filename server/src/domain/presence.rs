//! Who is in a room and where: the latest value per member, bounded, never in the log.
//!
//! A socket speaks for one client id only, the first one it named; entries for others, which stock clients
//! send along, are dropped silently. Each change gets a version, and a reader asks for what changed since the
//! version it knows, so a burst of carets becomes one frame per reader.
//!
//! The sockets of other nodes are here as those nodes tell of them (`presence/elsewhere.rs`). The node that has the
//! socket decides: an id that a socket here holds is never taken over by another person's there.

mod elsewhere;

pub use elsewhere::{Change, HeardElsewhere};

use crate::domain::log::SocketId;
use bytes::{Bytes, BytesMut};
use promptroom_protocol::{FrameError, Person, Reader, ServerFrame, put_bytes, put_varint};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

/// A departed member's entry is told for this long, which is longer than any reader may lag.
const FAREWELL_MS: u64 = 40_000;
/// Stock clients renew every 15 s and forget others after 30; we forget later than they do.
const RENEWAL_MS_MAX: u64 = 60_000;
/// A clock is counted up by one per change; one that jumps would block its id for ever.
const CLOCK_MAX: u64 = 1 << 31;
/// Every client parses every state; none is that deep.
const NESTING_MAX: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PresenceVersion(pub u64);

/// Who speaks for a client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    Here(SocketId),
    /// A socket of another node, and whose it is.
    Elsewhere(Person),
    /// Whoever did has left.
    Nobody,
}

#[derive(Debug)]
struct Present {
    holder: Holder,
    clock: u64,
    /// JSON as the client sent it, or `null` once gone.
    state: Bytes,
    version: PresenceVersion,
    at_ms: u64,
    /// What other nodes were last told, and when.
    shared: Option<(Bytes, u64)>,
    /// Whether they are to be told of it.
    to_share: bool,
}

#[derive(Debug, Default)]
pub struct Presence {
    present: BTreeMap<u64, Present>,
    by_version: BTreeMap<PresenceVersion, u64>,
    newest: PresenceVersion,
    /// The last frame that was told and from which version on: readers that keep up share it.
    told: Option<(PresenceVersion, PresenceVersion, Bytes)>,
    /// Client ids of which other nodes are to be told.
    to_share: Vec<u64>,
}

/// What came of a member's awareness frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub changed: bool,
    /// The socket has just named its client id for the first time.
    pub named: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PresenceError {
    #[error("the awareness update is malformed")]
    Malformed,
    #[error("the awareness state is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
}

impl From<FrameError> for PresenceError {
    fn from(_: FrameError) -> Self {
        PresenceError::Malformed
    }
}

impl Presence {
    pub fn newest(&self) -> PresenceVersion {
        self.newest
    }

    /// Takes a socket's awareness update. `own` is the client id it speaks for, if it has named one, and
    /// `may_take` says whether it may take an id over from another holder (the same person's, after a reconnect).
    pub fn hear(
        &mut self,
        socket: SocketId,
        own: Option<u64>,
        update: &[u8],
        limit_bytes: usize,
        now_ms: u64,
        may_take: impl Fn(&Holder) -> bool,
    ) -> Result<Heard, PresenceError> {
        let mut reader = Reader::new(update);
        let count = reader.varint()?;
        if count > update.len() as u64 {
            return Err(PresenceError::Malformed);
        }
        let mut heard = Heard { changed: false, named: None };
        for _ in 0..count {
            let client = reader.varint()?;
            let clock = reader.varint()?;
            let state = reader.bytes()?;
            match own.or(heard.named) {
                Some(own) if own != client => continue,
                None if state == b"null" => continue,
                _ => {}
            }
            if state.len() > limit_bytes {
                return Err(PresenceError::TooLarge { limit_bytes });
            }
            if clock >= CLOCK_MAX || !is_state(state) {
                return Err(PresenceError::Malformed);
            }
            let mut clock = clock;
            if let Some(present) = self.present.get(&client) {
                let is_own = present.holder == Holder::Here(socket);
                if !is_own && present.holder != Holder::Nobody && !may_take(&present.holder) {
                    continue;
                }
                if clock == present.clock && present.state == state && is_own {
                    continue;
                }
                // Frames of one socket come in order, so a clock that lags is one of before its farewell.
                clock = clock.max(present.clock + 1);
            }
            if own.is_none() && heard.named.is_none() {
                heard.named = Some(client);
            }
            self.put(client, Holder::Here(socket), clock, Bytes::copy_from_slice(state), now_ms);
            self.share(client);
            heard.changed = true;
        }
        reader.end()?;
        Ok(heard)
    }

    /// The socket is gone: everybody is told, unless another socket speaks for the id by now.
    pub fn leave(&mut self, socket: SocketId, own: u64, now_ms: u64) -> bool {
        match self.present.get(&own) {
            Some(present) if present.holder == Holder::Here(socket) => {
                let clock = present.clock + 1;
                self.put(own, Holder::Nobody, clock, Bytes::from_static(b"null"), now_ms);
                self.share(own);
                true
            }
            _ => false,
        }
    }

    /// Forgets farewells that everybody has heard and members that were not renewed.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let mut changed = false;
        let stale = self.present.iter().filter(|(_, present)| present.is_stale(now_ms));
        for client in stale.map(|(client, _)| *client).collect::<Vec<u64>>() {
            let Some(present) = self.present.remove(&client) else { continue };
            self.by_version.remove(&present.version);
            // Whoever holds it elsewhere may only not have been heard: clients forget by themselves whom they do not
            // hear of, and would not believe a renewal after a farewell of our making.
            if matches!(present.holder, Holder::Here(_)) {
                self.put(client, Holder::Nobody, present.clock + 1, Bytes::from_static(b"null"), now_ms);
                self.share(client);
                changed = true;
            }
        }
        changed
    }

    /// One awareness frame with all that changed after `version`, or nothing.
    pub fn since(&mut self, version: PresenceVersion) -> Option<Bytes> {
        if let Some((from, to, frame)) = &self.told
            && (*from, *to) == (version, self.newest)
        {
            return Some(frame.clone());
        }
        let frame = self.encode_since(version)?;
        self.told = Some((version, self.newest, frame.clone()));
        Some(frame)
    }

    fn encode_since(&self, version: PresenceVersion) -> Option<Bytes> {
        let changed = self.by_version.range(PresenceVersion(version.0 + 1)..);
        let mut body = BytesMut::new();
        let mut count = 0;
        for (_, client) in changed {
            let Some(present) = self.present.get(client) else { continue };
            if version == PresenceVersion::default() && present.is_gone() {
                continue;
            }
            put_varint(&mut body, *client);
            put_varint(&mut body, present.clock);
            put_bytes(&mut body, &present.state);
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let mut update = BytesMut::with_capacity(body.len() + 5);
        put_varint(&mut update, count);
        update.extend_from_slice(&body);
        Some(ServerFrame::Awareness(&update).encode())
    }

    fn put(&mut self, client: u64, holder: Holder, clock: u64, state: Bytes, now_ms: u64) {
        self.newest.0 += 1;
        let version = self.newest;
        let old = self.present.remove(&client);
        if let Some(old) = &old {
            self.by_version.remove(&old.version);
        }
        let (shared, to_share) = old.map_or((None, false), |old| (old.shared, old.to_share));
        self.by_version.insert(version, client);
        let present = Present { holder, clock, state, version, at_ms: now_ms, shared, to_share };
        self.present.insert(client, present);
    }
}

impl Present {
    fn is_gone(&self) -> bool {
        &self.state[..] == b"null"
    }

    fn is_stale(&self, now_ms: u64) -> bool {
        let limit_ms = match self.holder {
            _ if self.is_gone() => FAREWELL_MS,
            Holder::Elsewhere(_) => elsewhere::RENEWAL_MS_MAX,
            Holder::Here(_) | Holder::Nobody => RENEWAL_MS_MAX,
        };
        now_ms.saturating_sub(self.at_ms) > limit_ms
    }
}

/// Whether stock clients can read it: a JSON object, or `null` for somebody who left.
fn is_state(state: &[u8]) -> bool {
    state == b"null"
        || state.first() == Some(&b'{')
            && serde_json::from_slice::<IgnoredAny>(state).is_ok()
            && nesting(state) <= NESTING_MAX
}

/// How deep well-formed JSON is nested.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    let mut in_text = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_text => drop(bytes.next()),
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
