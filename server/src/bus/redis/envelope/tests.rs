//! What goes into an envelope comes out of it, of any build and whatever the bytes.

use super::*;
use crate::bus::{Piece, Present};
use bytes::Bytes;
use promptroom_protocol::{
    BlockKind, Epoch, LineageId, MemberId, Nanodollars, Offset, Person, Problem, PromptId, QueuePlace,
    RequestId, Role, RunId, RunOrigin, RunState, RunSummary, Seam, Seq, StopReason, Usage,
};
use proptest::prelude::{ProptestConfig, any, proptest};

const HERE: Uuid = Uuid::from_u128(1);
const THERE: Uuid = Uuid::from_u128(2);

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number << 64 | 0x0193_0000_7000_8000)
}

fn person(client: Option<u64>) -> Person {
    Person { id: MemberId(id(3)), name: "Zoë 🙂".to_owned(), role: Role::Admin, client }
}

/// A run with nothing that may be left out.
fn bare_run() -> RunSummary {
    RunSummary {
        id: RunId(id(4)),
        prompt: PromptId(id(5)),
        number: 7,
        origin: RunOrigin::Run,
        parent: None,
        by: person(None),
        variant: "main".to_owned(),
        model: "demo/echo".to_owned(),
        state: RunState::Queued,
        epoch: Epoch::FIRST,
        bytes: Offset(0),
        hash: "h".repeat(64),
        parameters: serde_json::json!({}),
        created_at_ms: 1_790_000_000_000,
        admitted_at_ms: None,
        first_token_at_ms: None,
        ended_at_ms: None,
        queue: None,
        stop_reason: None,
        stop_sequence: None,
        stopped_by: None,
        usage: None,
        cost: None,
        attempts: 0,
        seams: Vec::new(),
        problem: None,
    }
}

/// A run with everything that there can be.
fn full_run() -> RunSummary {
    RunSummary {
        origin: RunOrigin::Continue,
        parent: Some(RunId(id(6))),
        by: person(Some(u64::MAX)),
        state: RunState::Interrupted,
        epoch: Epoch(u32::MAX),
        bytes: Offset(u64::MAX),
        parameters: serde_json::json!({
            "temperature": 0.7, "seed": u64::MAX, "least": i64::MIN, "stop": ["\n", ""], "nothing": null,
            "nested": {"deep": [[[{"flag": true}]]]},
        }),
        admitted_at_ms: Some(1),
        first_token_at_ms: Some(u64::MAX),
        ended_at_ms: Some(0),
        queue: Some(QueuePlace { position: 1, waiting: 2, reason: "the lane is full".to_owned() }),
        stop_reason: Some(StopReason::StopSequence),
        stop_sequence: Some("\n\n".to_owned()),
        stopped_by: Some(person(None)),
        usage: Some(Usage { input_tokens: u64::MAX, estimated: true, ..Usage::default() }),
        cost: Some(Nanodollars(i64::MIN)),
        attempts: 3,
        seams: vec![Seam { epoch: Epoch(2), offset: Offset(9), at_ms: 1, gap_ms: 2 }],
        problem: Some(Problem {
            kind: "about:blank".to_owned(),
            title: "Too many".to_owned(),
            status: 503,
            code: "run.queue_full".to_owned(),
            detail: "what".to_owned(),
            kept: String::new(),
            next: "wait".to_owned(),
            request_id: Some(RequestId(id(8))),
            retry_after_ms: Some(5),
        }),
        ..bare_run()
    }
}

fn output(bytes: &'static [u8]) -> Note {
    let piece = |kind| Piece { block: 2, kind, bytes: Bytes::from_static(bytes) };
    let pieces = [BlockKind::Text, BlockKind::Reasoning, BlockKind::ToolCall].map(piece).to_vec();
    Note::Output { run: RunId(id(1)), epoch: Epoch(3), offset: Offset(1 << 40), pieces }
}

fn rows(rows: Vec<Bytes>) -> Note {
    Note::Rows { lineage: LineageId(id(9)), first: Seq(u64::MAX), rows }
}

/// At least one of each kind; a new kind does not compile until it is here.
fn notes() -> Vec<Note> {
    let mut notes = vec![
        rows(vec![]),
        rows(vec![Bytes::new(), Bytes::from_static(&[0xff, 0, 0x80, 0xc1]), Bytes::from(vec![7; 70_000])]),
        Note::Presence { present: vec![] },
        Note::Presence {
            present: vec![
                Present { client: u64::MAX, clock: 0, state: Bytes::from_static(b"null"), person: None },
                Present {
                    client: 0,
                    clock: 9,
                    state: Bytes::from_static(b"{}"),
                    person: Some(person(Some(5))),
                },
            ],
        },
        Note::WhoIsHere,
        Note::Run(Box::new(bare_run())),
        Note::Run(Box::new(full_run())),
        output("text, é".as_bytes()),
        Note::Cancel { run: RunId(id(2)), by: MemberId(id(3)) },
        Note::Rights,
    ];
    for state in RunState::ALL {
        notes.push(Note::Run(Box::new(RunSummary { state, ..bare_run() })));
    }
    for note in &notes {
        match note {
            Note::Rows { .. } | Note::Presence { .. } | Note::WhoIsHere | Note::Run(_) => {}
            Note::Output { .. } | Note::Cancel { .. } | Note::Rights => {}
        }
    }
    notes
}

fn with_header(note: &[u8]) -> Vec<u8> {
    [&[FORMAT], &THERE.as_bytes()[..], note].concat()
}

#[test]
fn every_note_reads_back_as_it_was_written() {
    for note in notes() {
        let bytes = seal(THERE, &note).unwrap();
        assert_eq!(open(HERE, &bytes), Opened::Other(note));
    }
}

#[test]
fn a_node_knows_its_own_notes() {
    for note in notes() {
        assert_eq!(open(HERE, &seal(HERE, &note).unwrap()), Opened::Own);
    }
}

#[test]
fn a_note_of_a_newer_build_is_not_understood() {
    #[derive(Serialize)]
    enum NewerNote {
        Applause { hands: u32 },
        Bell,
    }
    for newer in [NewerNote::Applause { hands: 2 }, NewerNote::Bell] {
        let note = rmp_serde::to_vec_named(&newer).unwrap();
        assert_eq!(open(HERE, &with_header(&note)), Opened::NotUnderstood);
    }
    let mut newer_format = seal(THERE, &Note::Rights).unwrap();
    newer_format[0] += 1;
    assert_eq!(open(HERE, &newer_format), Opened::NotUnderstood);
}

#[test]
fn a_field_of_a_newer_build_is_passed_over() {
    #[derive(Serialize)]
    enum NewerNote {
        Cancel { reason: Vec<String>, run: RunId, by: MemberId },
    }
    let (run, by) = (RunId(id(2)), MemberId(id(3)));
    let note =
        rmp_serde::to_vec_named(&NewerNote::Cancel { reason: vec!["tired".to_owned()], run, by }).unwrap();
    assert_eq!(open(HERE, &with_header(&note)), Opened::Other(Note::Cancel { run, by }));
}

#[test]
fn bytes_take_no_more_than_they_are() {
    let row = Bytes::from(vec![200; 1_000]);
    let bytes = seal(THERE, &rows(vec![row.clone(), row])).unwrap();
    assert!(bytes.len() < 2_000 + 120, "{} bytes", bytes.len());
}

#[test]
fn a_note_that_claims_to_be_huge_or_deep_or_is_too_long_is_not_understood() {
    // Rows, of which there are said to be four billion; as many bytes; lists in lists.
    let rows_start: &[u8] = b"\x81\xa4Rows\x83\xa7lineage\xc4\x10AAAAAAAAAAAAAAAA\xa5first\x01\xa4rows";
    let many = [rows_start, b"\xdd\xff\xff\xff\xff"].concat();
    let long = [rows_start, b"\x91\xc6\xff\xff\xff\xff"].concat();
    let deep = [rows_start, &[0x91; 100_000][..]].concat();
    let deep_and_unknown = [&b"\x81\xa4Rows\x84\xa4more"[..], &[0x91; 100_000][..]].concat();
    for note in [many, long, deep, deep_and_unknown] {
        assert_eq!(open(HERE, &with_header(&note)), Opened::NotUnderstood);
    }
    let too_long = seal(THERE, &rows(vec![Bytes::from(vec![0; NOTE_BYTES_MAX])])).unwrap();
    assert_eq!(open(HERE, &too_long), Opened::NotUnderstood);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn garbage_is_not_understood_and_does_no_harm(garbage in proptest::collection::vec(any::<u8>(), 0..400)) {
        open(HERE, &garbage);
        open(HERE, &with_header(&garbage));
    }

    #[test]
    fn damaged_notes_do_no_harm(which in any::<usize>(), place in any::<usize>(), byte in any::<u8>(), keep in any::<usize>()) {
        let notes = notes();
        let mut bytes = seal(THERE, &notes[which % notes.len()]).unwrap();
        let place = place % bytes.len();
        bytes[place] = byte;
        bytes.truncate(keep % bytes.len() + 1);
        open(HERE, &bytes);
    }
}
