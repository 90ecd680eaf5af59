//! What members of one node hear of each other.

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

fn hear(presence: &mut Presence, socket: SocketId, own: Option<u64>, entries: &[(u64, u64, &str)]) -> Heard {
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
    assert_eq!(Presence::default().hear(A, None, &bytes, 100, 0, |_| false), Err(PresenceError::Malformed));
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
