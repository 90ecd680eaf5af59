//! The golden frames that a client sends.

use crate::server::{LARGEST, LINEAGE, RUN};
use promptroom_protocol::{
    Action, ClientFrame, Command, CommandId, Epoch, Offset, Overrides, RunCursor, Seq, SyncStep,
};
use serde_json::json;
use uuid::Uuid;

/// The update that inserts "aé😀" into the text "title", made by Yjs 13.6 as client 1.
pub const UPDATE: &[u8] = &[
    0x01, 0x01, 0x01, 0x00, 0x04, 0x01, 0x05, b't', b'i', b't', b'l', b'e', 0x07, b'a', 0xc3, 0xa9, 0xf0,
    0x9f, 0x98, 0x80, 0x00,
];
/// An update without structs and without deletions: what a client with nothing to add answers.
pub const EMPTY_UPDATE: &[u8] = &[0x00, 0x00];
/// One entry, client 1 at clock 1, `{"user":{"name":"Ada 😀"}}`.
pub const AWARENESS: &[u8] = b"\x01\x01\x01\x1c{\"user\":{\"name\":\"Ada \xf0\x9f\x98\x80\"}}";

const COMMAND: CommandId = CommandId(Uuid::from_u128(0x0198_c0de_0000_7000_8000_0000_0000_0001));

pub fn frames() -> Vec<(&'static str, ClientFrame<'static>)> {
    let mut frames = document_frames();
    frames.extend(run_frames());
    frames.extend(commands());
    frames
}

fn document_frames() -> Vec<(&'static str, ClientFrame<'static>)> {
    vec![
        ("a client's empty state vector", ClientFrame::Sync(SyncStep::Step1(&[0x00]))),
        ("a client's state vector", ClientFrame::Sync(SyncStep::Step1(&[0x01, 0x01, 0x04]))),
        ("a client's answer without anything new", ClientFrame::Sync(SyncStep::Step2(EMPTY_UPDATE))),
        ("a client's answer", ClientFrame::Sync(SyncStep::Step2(UPDATE))),
        ("a client's edit", ClientFrame::Sync(SyncStep::Update(UPDATE))),
        ("a client's edit of no bytes", ClientFrame::Sync(SyncStep::Update(&[]))),
        ("a client's awareness", ClientFrame::Awareness(AWARENESS)),
        ("a client's awareness of no bytes", ClientFrame::Awareness(&[])),
        ("a question for awareness", ClientFrame::QueryAwareness),
        ("a join with nothing", ClientFrame::Join { lineage: LINEAGE, have: None, state_vector: &[] }),
        (
            "a join with an empty document",
            ClientFrame::Join { lineage: LINEAGE, have: Some(Seq(0)), state_vector: &[0x00] },
        ),
        (
            "a join with what is held",
            ClientFrame::Join { lineage: LINEAGE, have: Some(Seq(1_234)), state_vector: &[0x01, 0x01, 0x04] },
        ),
        (
            "a join with the largest position",
            ClientFrame::Join { lineage: LINEAGE, have: Some(Seq(LARGEST - 1)), state_vector: &[0x00] },
        ),
    ]
}

fn run_frames() -> Vec<(&'static str, ClientFrame<'static>)> {
    let largest = RunCursor { epoch: Epoch(u32::MAX), offset: Offset(LARGEST) };
    vec![
        ("a watch from the start", ClientFrame::Watch { run: RUN, cursor: RunCursor::START }),
        (
            "a watch that resumes",
            ClientFrame::Watch { run: RUN, cursor: RunCursor { epoch: Epoch(2), offset: Offset(1_048_577) } },
        ),
        ("a watch from the largest cursor", ClientFrame::Watch { run: RUN, cursor: largest }),
        ("an unwatch", ClientFrame::Unwatch { run: RUN }),
    ]
}

fn commands() -> Vec<(&'static str, ClientFrame<'static>)> {
    let plain = Action::Run { variant: None, inputs: None, overrides: Overrides::default() };
    let full = Action::Run {
        variant: Some("main".into()),
        inputs: Some("default".into()),
        overrides: Overrides {
            model: Some("demo/markdown".into()),
            parameters: [("temperature".to_owned(), json!(0.7)), ("stop".to_owned(), json!("END\nSTOP"))]
                .into_iter()
                .collect(),
            values: [("größe".to_owned(), "eine Zeile\nund 😀".to_owned())].into_iter().collect(),
        },
    };
    vec![
        ("a run of the first variant", command(plain)),
        ("a run with everything said", command(full)),
        ("a cancel", command(Action::Cancel { run: RUN })),
        ("a regenerate", command(Action::Regenerate { run: RUN })),
        ("a continue", command(Action::Continue { run: RUN })),
    ]
}

fn command(action: Action) -> ClientFrame<'static> {
    ClientFrame::Command(Box::new(Command { id: COMMAND, action }))
}
