//! Presence across nodes: what is told to them of the sockets here, and what they tell of theirs.
//!
//! Notes are lost, late and doubled, so clocks decide: the higher one wins, and of two equal ones the farewell. A
//! node that remembers a farewell above what another still holds says it again, and the holder counts beyond it.

use super::{CLOCK_MAX, Holder, Presence, is_state};
use crate::domain::log::SocketId;
use bytes::Bytes;
use promptroom_protocol::Person;

/// Holders renew at least this often on the bus; whoever renews more often is told of once in that time.
const SHARE_UNCHANGED_MS: u64 = 10_000;
/// Clients renew every 15 s: one note may be lost.
pub(super) const RENEWAL_MS_MAX: u64 = 35_000;
/// Clients of other nodes that are kept in mind.
const ELSEWHERE_MAX: usize = 10_000;

/// What other nodes are to be told of one client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub client: u64,
    pub clock: u64,
    pub state: Bytes,
    /// Whose it is, unless it has left.
    pub socket: Option<SocketId>,
}

/// What came of another node's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeardElsewhere {
    pub changed: bool,
    /// The id belongs to that person from now on.
    pub named: bool,
    /// There is something to tell the others.
    pub answers: bool,
}

impl Presence {
    /// Takes another node's word. `is_of` says whether a socket here belongs to that person.
    pub fn hear_elsewhere(
        &mut self,
        client: u64,
        clock: u64,
        state: Bytes,
        person: Option<Person>,
        now_ms: u64,
        is_of: impl Fn(SocketId, &Person) -> bool,
    ) -> HeardElsewhere {
        if clock >= CLOCK_MAX || !is_state(&state) {
            return HeardElsewhere::default();
        }
        let gone = &state[..] == b"null";
        let Some(known) = self.present.get_mut(&client) else {
            return self.meet(client, clock, state, person, now_ms);
        };
        match (&known.holder, &person) {
            (Holder::Here(_), _) if gone => {
                if clock < known.clock {
                    return HeardElsewhere::default();
                }
                // The socket that it left there is not this one: whoever believed that hears of it again.
                let (holder, state) = (known.holder.clone(), known.state.clone());
                self.put(client, holder, clock + 1, state, now_ms);
                self.share_again(client);
                return HeardElsewhere { changed: true, named: false, answers: true };
            }
            (Holder::Here(socket), Some(person)) if !is_of(*socket, person) => {
                return HeardElsewhere::default();
            }
            (Holder::Here(_), None) => return HeardElsewhere::default(),
            (Holder::Elsewhere(known), Some(person)) if known.id != person.id => {
                return HeardElsewhere::default();
            }
            _ => {}
        }
        if clock > known.clock || clock == known.clock && gone && !known.is_gone() {
            return self.meet(client, clock, state, person, now_ms);
        }
        if clock == known.clock && state == known.state && matches!(known.holder, Holder::Elsewhere(_)) {
            known.at_ms = now_ms;
        } else if known.is_gone() && !gone {
            // It does not know of the farewell yet, and nobody here would believe it.
            self.share_again(client);
            return HeardElsewhere { answers: true, ..HeardElsewhere::default() };
        }
        HeardElsewhere::default()
    }

    /// Those of other nodes, with their client ids.
    pub fn elsewhere(&self) -> impl Iterator<Item = Person> {
        self.present.iter().filter_map(|(client, present)| match &present.holder {
            Holder::Elsewhere(person) => Some(Person { client: Some(*client), ..person.clone() }),
            Holder::Here(_) | Holder::Nobody => None,
        })
    }

    /// Whether other nodes are to be told anything.
    pub fn has_to_share(&self) -> bool {
        !self.to_share.is_empty()
    }

    /// What other nodes are to be told since this was last asked.
    pub fn take_to_share(&mut self, now_ms: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for client in std::mem::take(&mut self.to_share) {
            let Some(present) = self.present.get_mut(&client) else { continue };
            present.to_share = false;
            let unchanged = present.shared.as_ref().is_some_and(|(state, at_ms)| {
                *state == present.state && now_ms.saturating_sub(*at_ms) < SHARE_UNCHANGED_MS
            });
            if unchanged {
                continue;
            }
            present.shared = Some((present.state.clone(), now_ms));
            let socket = match present.holder {
                Holder::Here(socket) => Some(socket),
                Holder::Elsewhere(_) | Holder::Nobody => None,
            };
            changes.push(Change { client, clock: present.clock, state: present.state.clone(), socket });
        }
        changes
    }

    /// Nobody is there to be told.
    pub fn forget_to_share(&mut self) {
        for client in std::mem::take(&mut self.to_share) {
            if let Some(present) = self.present.get_mut(&client) {
                present.to_share = false;
            }
        }
    }

    /// Others know nothing of this node's sockets, or may have missed it.
    pub fn share_all(&mut self) {
        let here = self.present.iter().filter(|(_, present)| matches!(present.holder, Holder::Here(_)));
        for client in here.map(|(client, _)| *client).collect::<Vec<u64>>() {
            self.share_again(client);
        }
    }

    pub(super) fn share(&mut self, client: u64) {
        if let Some(present) = self.present.get_mut(&client)
            && !present.to_share
        {
            present.to_share = true;
            self.to_share.push(client);
        }
    }

    /// Though nothing changed since it was last told.
    fn share_again(&mut self, client: u64) {
        if let Some(present) = self.present.get_mut(&client) {
            present.shared = None;
        }
        self.share(client);
    }

    /// It is so from now on.
    fn meet(
        &mut self,
        client: u64,
        clock: u64,
        state: Bytes,
        person: Option<Person>,
        now_ms: u64,
    ) -> HeardElsewhere {
        let known = self.present.get(&client);
        let holder = match person {
            _ if &state[..] == b"null" => Holder::Nobody,
            Some(person) => Holder::Elsewhere(Person { client: None, ..person }),
            None => return HeardElsewhere::default(),
        };
        if known.is_none() && (holder == Holder::Nobody || self.present.len() >= ELSEWHERE_MAX) {
            return HeardElsewhere::default();
        }
        let named = holder != Holder::Nobody && known.is_none_or(|known| known.holder != holder);
        self.put(client, holder, clock, state, now_ms);
        HeardElsewhere { changed: true, named, answers: false }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PresenceVersion;
    use super::*;
    use promptroom_protocol::{MemberId, Role, put_bytes, put_varint};
    use uuid::Uuid;

    const SOCKET: SocketId = SocketId(1);
    const OTHER_SOCKET: SocketId = SocketId(2);

    fn person(number: u128) -> Person {
        let id = MemberId(Uuid::from_u128(number));
        Person { id, name: number.to_string(), role: Role::Editor, client: None }
    }

    /// A node, with the person whose every socket is there.
    struct Node(Presence, Person);

    impl Node {
        fn new(number: u128) -> Node {
            Node(Presence::default(), person(number))
        }

        fn hear(&mut self, socket: SocketId, clock: u64, state: &str) {
            let mut update = bytes::BytesMut::new();
            put_varint(&mut update, 1);
            put_varint(&mut update, 7);
            put_varint(&mut update, clock);
            put_bytes(&mut update, state.as_bytes());
            let me = self.1.id;
            let may_take = |holder: &Holder| match holder {
                Holder::Elsewhere(person) => person.id == me,
                Holder::Here(_) | Holder::Nobody => true,
            };
            self.0.hear(socket, None, &update, 100, 0, may_take).expect("well-formed");
        }

        fn tell(&mut self, other: &mut Node, now_ms: u64) -> usize {
            let changes = self.0.take_to_share(now_ms);
            let count = changes.len();
            for Change { client, clock, state, socket } in changes {
                let person = socket.map(|_| self.1.clone());
                let me = other.1.id;
                other.0.hear_elsewhere(client, clock, state, person, now_ms, |_, who| who.id == me);
            }
            count
        }

        fn state(&self) -> Option<&[u8]> {
            self.0.present.get(&7).map(|present| &present.state[..])
        }
    }

    #[test]
    fn members_of_another_node_are_seen_with_their_names_and_gone_when_they_leave() {
        let (mut here, mut there) = (Node::new(1), Node::new(2));
        there.hear(SOCKET, 1, "{}");
        there.tell(&mut here, 0);
        assert_eq!(here.0.elsewhere().map(|person| person.client).collect::<Vec<_>>(), [Some(7)]);
        assert!(here.0.since(PresenceVersion::default()).is_some());
        there.0.leave(SOCKET, 7, 0);
        there.tell(&mut here, 0);
        assert_eq!((here.state(), here.0.elsewhere().count()), (Some(&b"null"[..]), 0));
    }

    #[test]
    fn a_renewal_is_told_to_other_nodes_now_and_then_and_a_change_at_once() {
        let (mut here, mut there) = (Node::new(1), Node::new(2));
        there.hear(SOCKET, 1, "{}");
        assert_eq!(there.tell(&mut here, 0), 1);
        there.hear(SOCKET, 2, "{}");
        assert_eq!(there.tell(&mut here, 1_000), 0);
        there.hear(SOCKET, 3, r#"{"caret":1}"#);
        assert_eq!(there.tell(&mut here, 2_000), 1);
        there.hear(SOCKET, 4, r#"{"caret":1}"#);
        assert_eq!(there.tell(&mut here, 2_000 + SHARE_UNCHANGED_MS), 1);
        here.0.expire(2_000 + SHARE_UNCHANGED_MS + RENEWAL_MS_MAX);
        assert_eq!(here.0.elsewhere().count(), 1);
        here.0.expire(2_001 + SHARE_UNCHANGED_MS + RENEWAL_MS_MAX);
        assert_eq!(here.0.elsewhere().count(), 0, "its node is gone");
    }

    #[test]
    fn nobody_takes_over_from_another_node_what_another_person_holds() {
        let (mut here, mut there) = (Node::new(1), Node::new(2));
        here.hear(SOCKET, 1, "{}");
        there.hear(SOCKET, 9, r#"{"forged":1}"#);
        there.tell(&mut here, 0);
        assert_eq!(here.0.present[&7].holder, Holder::Here(SOCKET));
        let mut third = Node::new(3);
        here.tell(&mut third, 0);
        third.hear(SOCKET, 5, r#"{"forged":2}"#);
        assert_eq!(third.state(), Some(&b"{}"[..]), "nor by a socket here what is held there");
    }

    #[test]
    fn a_person_who_moves_to_another_node_stays_seen_on_both_whoever_speaks_first() {
        for farewell_first in [true, false] {
            let (mut here, mut there) = (Node::new(1), Node::new(1));
            here.hear(SOCKET, 5, "{}");
            here.tell(&mut there, 0);
            if farewell_first {
                here.0.leave(SOCKET, 7, 0);
                here.tell(&mut there, 0);
                there.hear(OTHER_SOCKET, 5, "{}");
            } else {
                there.hear(OTHER_SOCKET, 5, "{}");
                here.0.leave(SOCKET, 7, 0);
                here.tell(&mut there, 0);
            }
            there.tell(&mut here, 0);
            assert_eq!(here.state(), Some(&b"{}"[..]));
            assert_eq!(there.0.present[&7].holder, Holder::Here(OTHER_SOCKET));
            assert_eq!(here.0.present[&7].clock, there.0.present[&7].clock);
        }
    }

    #[test]
    fn a_farewell_that_the_next_holder_did_not_hear_is_said_again() {
        let (mut here, mut there) = (Node::new(1), Node::new(1));
        here.hear(SOCKET, 5, "{}");
        here.0.leave(SOCKET, 7, 0);
        drop(here.0.take_to_share(0));
        there.hear(OTHER_SOCKET, 5, "{}");
        there.tell(&mut here, 0);
        assert_eq!(here.state(), Some(&b"null"[..]), "its clients would not believe it");
        here.tell(&mut there, 0);
        there.tell(&mut here, 0);
        assert_eq!(here.state(), Some(&b"{}"[..]));
    }
}
