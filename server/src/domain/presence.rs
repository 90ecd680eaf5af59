//! Who is in a room and where: the latest value per member, bounded, never in the log.
//!
//! A socket speaks for one client id only, the first one it named; entries for others, which stock clients
//! send along, are dropped silently. Each change gets a version, and a reader asks for what changed since the
//! version it knows, so a burst of carets becomes one frame per reader.

use crate::domain::log::SocketId;
use bytes::{Bytes, BytesMut};
use promptroom_protocol::{FrameError, Reader, ServerFrame, put_bytes, put_varint};
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, HashMap};

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

#[derive(Debug)]
struct Present {
    socket: Option<SocketId>,
    clock: u64,
    /// JSON as the client sent it, or `null` once gone.
    state: Bytes,
    version: PresenceVersion,
    at_ms: u64,
}

#[derive(Debug, Default)]
pub struct Presence {
    present: HashMap<u64, Present>,
    by_version: BTreeMap<PresenceVersion, u64>,
    newest: PresenceVersion,
    /// The last frame that was told and from which version on: readers that keep up share it.
    told: Option<(PresenceVersion, PresenceVersion, Bytes)>,
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
    /// `may_take` says whether it may take an id over from another socket (the same person's, after a reconnect).
    pub fn hear(
        &mut self,
        socket: SocketId,
        own: Option<u64>,
        update: &[u8],
        limit_bytes: usize,
        now_ms: u64,
        may_take: impl Fn(SocketId) -> bool,
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
                let other = present.socket.filter(|holder| *holder != socket);
                if other.is_some_and(|holder| !may_take(holder)) {
                    continue;
                }
                if clock == present.clock && present.state == state && present.socket == Some(socket) {
                    continue;
                }
                // Frames of one socket come in order, so a clock that lags is one of before its farewell.
                clock = clock.max(present.clock + 1);
            }
            if own.is_none() && heard.named.is_none() {
                heard.named = Some(client);
            }
            self.put(client, Some(socket), clock, Bytes::copy_from_slice(state), now_ms);
            heard.changed = true;
        }
        reader.end()?;
        Ok(heard)
    }

    /// The socket is gone: everybody is told, unless another socket speaks for the id by now.
    pub fn leave(&mut self, socket: SocketId, own: u64, now_ms: u64) -> bool {
        match self.present.get(&own) {
            Some(present) if present.socket == Some(socket) => {
                let clock = present.clock + 1;
                self.put(own, None, clock, Bytes::from_static(b"null"), now_ms);
                true
            }
            _ => false,
        }
    }

    /// Forgets farewells that everybody has heard and members that were not renewed.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let stale: Vec<(u64, bool)> = self
            .present
            .iter()
            .filter_map(|(client, present)| {
                let age_ms = now_ms.saturating_sub(present.at_ms);
                let gone = &present.state[..] == b"null";
                let limit_ms = if gone { FAREWELL_MS } else { RENEWAL_MS_MAX };
                (age_ms > limit_ms).then_some((*client, gone))
            })
            .collect();
        let mut changed = false;
        for (client, gone) in stale {
            let Some(present) = self.present.remove(&client) else { continue };
            self.by_version.remove(&present.version);
            if !gone {
                self.put(client, None, present.clock + 1, Bytes::from_static(b"null"), now_ms);
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
            if version == PresenceVersion::default() && &present.state[..] == b"null" {
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

    fn put(&mut self, client: u64, socket: Option<SocketId>, clock: u64, state: Bytes, now_ms: u64) {
        if let Some(old) = self.present.get(&client) {
            self.by_version.remove(&old.version);
        }
        self.newest.0 += 1;
        self.by_version.insert(self.newest, client);
        self.present.insert(client, Present { socket, clock, state, version: self.newest, at_ms: now_ms });
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
mod tests {
    use super::*;

    const A: SocketId = SocketId(1);
    const B: SocketId = SocketId(2);

    fn update(entries: &[(u64, u64, &str)]) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_varint(&mut out, entries.len() as u64);
        for (client, clock, state) in entries {
            put_varint(&mut out, *client);
            put_varint(&mut out, *clock);
            put_bytes(&mut out, state.as_bytes());
        }
        out.to_vec()
    }

    fn hear(
        presence: &mut Presence,
        socket: SocketId,
        own: Option<u64>,
        entries: &[(u64, u64, &str)],
    ) -> Heard {
        presence.hear(socket, own, &update(entries), 100, 0, |_| false).expect("well-formed")
    }

    #[test]
    fn a_renewal_is_told_to_everybody_again() {
        let mut presence = Presence::default();
        assert_eq!(hear(&mut presence, A, None, &[(7, 1, "{}")]), Heard { changed: true, named: Some(7) });
        let before = presence.newest();
        assert!(hear(&mut presence, A, Some(7), &[(7, 2, "{}")]).changed);
        assert!(presence.since(before).is_some());
    }

    #[test]
    fn entries_for_others_are_dropped_silently() {
        let mut presence = Presence::default();
        hear(&mut presence, A, None, &[(7, 1, "{}")]);
        let heard = hear(&mut presence, B, Some(8), &[(7, 9, "null"), (8, 1, "{}")]);
        assert_eq!(heard, Heard { changed: true, named: None });
        assert_eq!(presence.present[&7].clock, 1, "nobody can clear another's presence");
    }

    #[test]
    fn another_person_cannot_take_a_living_id_but_the_same_person_can_after_a_reconnect() {
        let mut presence = Presence::default();
        hear(&mut presence, A, None, &[(7, 3, "{}")]);
        let refused = hear(&mut presence, B, None, &[(7, 4, "{}")]);
        assert_eq!(refused, Heard { changed: false, named: None });
        let taken = presence.hear(B, None, &update(&[(7, 4, "{}")]), 100, 0, |_| true).expect("well-formed");
        assert_eq!(taken.named, Some(7));
        assert!(!presence.leave(A, 7, 0), "the old socket's end no longer concerns the id");
    }

    #[test]
    fn a_member_that_comes_back_is_seen_at_once_though_its_clock_is_behind_its_farewell() {
        let mut presence = Presence::default();
        hear(&mut presence, A, None, &[(7, 5, "{}")]);
        presence.leave(A, 7, 0);
        let told = presence.newest();
        assert_eq!(hear(&mut presence, B, None, &[(7, 5, "{}")]), Heard { changed: true, named: Some(7) });
        assert!(presence.since(told).is_some());
        assert!(presence.present[&7].clock > 6, "or clients that saw the farewell would not believe it");
    }

    #[test]
    fn a_newcomer_is_not_told_of_those_who_left() {
        let mut presence = Presence::default();
        hear(&mut presence, A, None, &[(7, 1, "{}")]);
        let known = presence.newest();
        presence.leave(A, 7, 0);
        assert!(presence.since(known).is_some(), "those who knew are told");
        assert_eq!(presence.since(PresenceVersion::default()), None);
        presence.expire(FAREWELL_MS + 1);
        assert!(presence.present.is_empty());
    }

    #[test]
    fn a_hundred_thousand_forged_ids_leave_one_at_most() {
        let mut presence = Presence::default();
        let forged: Vec<(u64, u64, &str)> = (0..100_000).map(|client| (client, 1, "{}")).collect();
        hear(&mut presence, A, None, &forged);
        assert_eq!(presence.present.len(), 1);
        assert_eq!(
            presence.hear(A, Some(0), &update(&[(0, u64::from(u32::MAX), "{}")]), 100, 0, |_| false),
            Err(PresenceError::Malformed)
        );
    }

    #[test]
    fn a_huge_count_is_refused_without_reading_on() {
        let mut bytes = BytesMut::new();
        put_varint(&mut bytes, 1 << 28);
        assert_eq!(
            Presence::default().hear(A, None, &bytes, 100, 0, |_| false),
            Err(PresenceError::Malformed)
        );
    }

    #[test]
    fn a_state_that_other_clients_cannot_parse_is_refused() {
        let mut presence = Presence::default();
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let (bearable, too_deep) = (deep(NESTING_MAX - 1), deep(NESTING_MAX));
        for wrong in ["", "{", "7", "[]", "{}x", "{\"a\":}", " null", "\"a\"", &too_deep] {
            let heard = presence.hear(A, None, &update(&[(7, 1, wrong)]), 1_000, 0, |_| false);
            assert_eq!(heard, Err(PresenceError::Malformed), "{wrong}");
        }
        // A name cut within an emoji, as JavaScript writes it, and brackets that are text.
        for (clock, right) in (1..).zip([r#"{"name":"\ud83d"}"#, r#"{"a":"[[\"{"}"#, &bearable]) {
            let heard = presence.hear(A, None, &update(&[(7, clock, right)]), 1_000, 0, |_| false);
            assert!(heard.is_ok(), "{right}");
        }
    }
}
