//! The document under mutated real traffic: it refuses or it stays a document that everybody can load.

use super::differential::{Peer, bytes};
use super::{ApplyError, CLIENTS_MAX, Document, FrameRefusal, MERGE_STACK_BYTES};
use bytes::BytesMut;
use promptroom_protocol::put_varint;
use serde_json::Value;

const CORPUS: &str = include_str!("../../../../tests/peers/yjs/corpus.txt");
const SEED: u64 = 20_261_124;
const MUTATIONS: usize = 100_000;
/// How many mutated frames one room gets before it is looked at.
const FRAMES_PER_ROOM: usize = 400;
/// What may stay of a tenth of them once their rooms are gone.
const LEFT_OF_A_TENTH_BYTES_MAX: i64 = 256 << 10;
const MUTATED_FRAMES: usize = 5_000;
const REFUSALS_PER_ROUND: usize = 20_000;
const ROUNDS: usize = 15;

/// The frames of each session, in order.
fn corpus() -> Vec<Vec<Vec<u8>>> {
    let session = |lines: &str| lines.lines().map(|line| bytes(&Value::from(line))).collect();
    CORPUS.split("\n\n").map(session).filter(|frames: &Vec<_>| !frames.is_empty()).collect()
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % end.max(1)
    }

    fn mutate(&mut self, frame: &[u8], other: &[u8]) -> Vec<u8> {
        const EDGES: [u8; 12] = [0, 1, 2, 4, 7, 0x27, 0x3f, 0x40, 0x7f, 0x80, 0x84, 0xff];
        let mut bytes = frame.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(9) {
                _ if bytes.is_empty() => bytes.push(0),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = EDGES[self.below(EDGES.len())],
                2 => bytes[at] = bytes[at].wrapping_add(1),
                3 => bytes[at] = bytes[at].wrapping_sub(1),
                4 => bytes.insert(at, EDGES[self.below(EDGES.len())]),
                5 => drop(bytes.remove(at)),
                6 => bytes.truncate(at),
                7 => {
                    let from = self.below(other.len());
                    let chunk = &other[from..(from + 1 + self.below(12)).min(other.len())];
                    bytes.splice(at..at, chunk.iter().copied());
                }
                _ => {
                    let end = (at + 1 + self.below(12)).min(bytes.len());
                    let chunk = bytes[at..end].to_vec();
                    bytes.splice(end..end, chunk);
                }
            }
        }
        bytes
    }
}

#[test]
fn mutated_traffic_is_refused_or_leaves_a_document_that_everybody_can_load() {
    println!("seed {SEED}");
    let sessions = corpus();
    let mut random = Random(SEED);
    let mut fresh = Peer::start(&["verify".to_owned()]);
    let (mut applied, mut refused, mut broken, mut done) = (0, 0, 0, 0);
    let mut resident = Vec::new();
    while done < MUTATIONS {
        if done >= resident.len() * (MUTATIONS / 10) {
            resident.push(resident_bytes());
        }
        let frames = &sessions[random.below(sessions.len())];
        let known = 1 + random.below(frames.len());
        let rows = frames[..known].iter().map(Vec::as_slice);
        let mut document = Document::load(1, None, rows.clone()).expect("real traffic loads");
        let mut taken_bytes: usize = rows.map(<[u8]>::len).sum();
        for _ in 0..FRAMES_PER_ROOM {
            let frame = &frames[random.below(frames.len())];
            let others = &sessions[random.below(sessions.len())];
            let other = &others[random.below(others.len())];
            let mutated = random.mutate(frame, other);
            done += 1;
            match document.apply(&mutated) {
                Ok(_) => {
                    applied += 1;
                    taken_bytes += mutated.len();
                }
                Err(ApplyError::Refused(_)) => refused += 1,
                Err(ApplyError::Broken(_)) => {
                    broken += 1;
                    println!("broken by {mutated:02x?}");
                    break;
                }
            }
            let _ = document.diff(&mutated);
        }
        if broken == 0 {
            check(&document, taken_bytes, &mut fresh, done);
        }
    }
    println!("{done} mutated frames: {applied} applied, {refused} refused, {broken} rooms broken");
    assert_eq!(broken, 0, "bad input must close its socket, never the room");
    assert!(applied > MUTATIONS / 100, "the mutations must be close enough to real traffic to get in");
    let left = usual_growth(&resident);
    assert!(left < LEFT_OF_A_TENTH_BYTES_MAX, "{left} bytes stay of a tenth of the frames: {resident:?}");
}

#[test]
fn a_room_does_not_grow_by_what_it_refuses() {
    println!("seed {SEED}");
    let sessions = corpus();
    let frames = sessions.iter().max_by_key(|frames| frames.len()).expect("a session");
    let mut document = Document::load(1, None, frames.iter().map(Vec::as_slice)).expect("real traffic loads");
    let mut random = Random(SEED);
    let mut hostile: Vec<Vec<u8>> = (0..MUTATED_FRAMES)
        .map(|_| {
            let frame = random.below(frames.len());
            let others = &sessions[random.below(sessions.len())];
            let other = &others[random.below(others.len())];
            random.mutate(&frames[frame], other)
        })
        .collect();
    // What is taken may let another one in; what is left is refused for ever.
    let mut offered = usize::MAX;
    while hostile.len() < offered {
        offered = hostile.len();
        hostile.retain(|frame| is_refused(&mut document, frame));
    }
    let before = (document.digest(), document.state_vector(), document.bytes());
    let mut resident = vec![resident_bytes()];
    for _ in 0..ROUNDS {
        for frame in hostile.iter().cycle().take(REFUSALS_PER_ROUND) {
            assert!(is_refused(&mut document, frame), "refused once and then taken: {frame:02x?}");
        }
        resident.push(resident_bytes());
    }
    assert_eq!((document.digest(), document.state_vector(), document.bytes()), before);
    let left = usual_growth(&resident);
    assert!(left < REFUSALS_PER_ROUND as i64, "a refusal leaves a byte or more behind: {resident:?}");
}

fn is_refused(document: &mut Document, frame: &[u8]) -> bool {
    matches!(document.apply(frame), Err(ApplyError::Refused(_)))
}

/// What this process holds of the machine's memory, in whole pages.
fn resident_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident set");
    let kibibytes: i64 =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kibibytes << 10
}

/// By how much it grew from one look to the next, in the middle: what leaks shows each time, what another test of the
/// same process takes only now and then.
fn usual_growth(resident: &[i64]) -> i64 {
    let mut grown: Vec<i64> = resident.windows(2).map(|pair| pair[1] - pair[0]).collect();
    grown.sort_unstable();
    grown[grown.len() / 2]
}

/// Forged neighbours can make the order of letters depend on the order of arrival, in Yjs as in yrs; so what must
/// agree is what both make of the same bytes, and that nothing is lost or waits.
fn check(document: &Document, taken_bytes: usize, fresh: &mut Peer, done: usize) {
    let state = document.encode_all().expect("an intact document encodes");
    assert!(state.len() <= taken_bytes, "after {done} mutations it holds more than it took");
    let again = Document::load(2, Some(&state), [].into_iter()).expect("its encoding loads in yrs");
    let clocks: Vec<_> = document.index.clocks().collect();
    assert_eq!(again.index.clocks().collect::<Vec<_>>(), clocks, "after {done} mutations");
    assert!(document.content().is_ok() && again.content().is_ok() && document.digest().is_ok());
    let read = fresh.verify(&state);
    assert_eq!(read["waits"], false, "after {done} mutations: {read}");
    assert_eq!(read["title"], Value::from(again.title().expect("a title")), "after {done} mutations");
    assert_eq!(read["clocks"], serde_json::json!(clocks), "after {done} mutations");
}

/// Each client's one character goes behind that of the client before it.
fn crowd(clients: usize) -> Vec<u8> {
    let mut frame = BytesMut::new();
    put_varint(&mut frame, clients as u64);
    for client in (1..=clients as u64).rev() {
        for number in [1, client, 0] {
            put_varint(&mut frame, number);
        }
        if client == 1 {
            frame.extend_from_slice(b"\x04\x01\x04load");
        } else {
            frame.extend_from_slice(&[0x84]);
            put_varint(&mut frame, client - 1);
            put_varint(&mut frame, 0);
        }
        frame.extend_from_slice(b"\x01x");
    }
    frame.extend_from_slice(&[0]);
    frame.to_vec()
}

#[test]
fn as_many_clients_as_a_document_may_have_fit_on_the_stack_of_a_thread_that_merges() {
    let merging = std::thread::Builder::new().stack_size(MERGE_STACK_BYTES).spawn(|| {
        let mut empty = Document::load(1, None, std::iter::empty()).expect("an empty document");
        let refused = empty.apply(&crowd(CLIENTS_MAX + 1));
        assert_eq!(refused, Err(ApplyError::Refused(FrameRefusal::TooManyClients)));
        let full = crowd(CLIENTS_MAX);
        let document = Document::load(1, None, std::iter::once(&full[..])).expect("a whole document");
        let whole = document.encode_all().expect("whole");
        let merged = Document::merge(Some(&whole), std::iter::empty()).expect("merges");
        assert_eq!(merged.digest, document.digest().expect("a digest"));
    });
    merging.expect("a thread").join().expect("no panic");
}
