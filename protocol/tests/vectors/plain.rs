//! A frame as the plain object that stands beside its bytes in the golden file.

use promptroom_protocol::{
    ClientFrame, Command, Epoch, Hello, LineageId, Offset, Person, Problem, Reply, RunId, RunSummary, Seq,
    ServerFrame, SyncStep,
};
use serde::Serialize;

pub const TYPE_NAMES: [&str; 20] = [
    "sync_step1",
    "sync_step2",
    "sync_update",
    "awareness",
    "query_awareness",
    "denied",
    "hello",
    "saved",
    "run",
    "records",
    "rewind",
    "end",
    "reply",
    "drain",
    "problem",
    "person",
    "join",
    "watch",
    "unwatch",
    "command",
];

/// Bytes are hex; the JSON that a frame carries stands as an object, its keys in the order of the wire.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Plain<'a> {
    #[serde(rename = "sync_step1")]
    SyncStep1 {
        bytes: String,
    },
    #[serde(rename = "sync_step2")]
    SyncStep2 {
        bytes: String,
    },
    SyncUpdate {
        bytes: String,
    },
    Awareness {
        bytes: String,
    },
    QueryAwareness,
    Denied {
        reason: &'a str,
    },
    Hello {
        body: &'a Hello,
    },
    Saved {
        frames: u64,
        head: Seq,
    },
    Run {
        body: &'a RunSummary,
    },
    Records {
        run: RunId,
        epoch: Epoch,
        offset: Offset,
        records: Vec<PlainRecord>,
    },
    Rewind {
        run: RunId,
        epoch: Epoch,
        offset: Offset,
    },
    End {
        run: RunId,
        epoch: Epoch,
        offset: Offset,
    },
    Reply {
        body: &'a Reply,
    },
    Drain {
        within_ms: u64,
    },
    Problem {
        body: &'a Problem,
    },
    Person {
        body: &'a Person,
    },
    Join {
        lineage: LineageId,
        have: Option<Seq>,
        state_vector: String,
    },
    Watch {
        run: RunId,
        epoch: Epoch,
        offset: Offset,
    },
    Unwatch {
        run: RunId,
    },
    Command {
        body: &'a Command,
    },
}

#[derive(Serialize)]
pub struct PlainRecord {
    block: u32,
    kind: &'static str,
    bytes: String,
}

impl<'a> Plain<'a> {
    pub fn of_client(frame: &'a ClientFrame<'_>) -> Plain<'a> {
        match frame {
            ClientFrame::Sync(step) => of_sync(step),
            ClientFrame::Awareness(bytes) => Plain::Awareness { bytes: hex(bytes) },
            ClientFrame::QueryAwareness => Plain::QueryAwareness,
            ClientFrame::Join { lineage, have, state_vector } => {
                Plain::Join { lineage: *lineage, have: *have, state_vector: hex(state_vector) }
            }
            ClientFrame::Watch { run, cursor } => {
                Plain::Watch { run: *run, epoch: cursor.epoch, offset: cursor.offset }
            }
            ClientFrame::Unwatch { run } => Plain::Unwatch { run: *run },
            ClientFrame::Command(body) => Plain::Command { body },
        }
    }

    pub fn of_server(frame: &'a ServerFrame<'_>) -> Plain<'a> {
        match frame {
            ServerFrame::Sync(step) => of_sync(step),
            ServerFrame::Awareness(bytes) => Plain::Awareness { bytes: hex(bytes) },
            ServerFrame::Denied(reason) => Plain::Denied { reason },
            ServerFrame::Hello(body) => Plain::Hello { body },
            ServerFrame::Saved { frames, head } => Plain::Saved { frames: *frames, head: *head },
            ServerFrame::Run(body) => Plain::Run { body },
            ServerFrame::Records(frame) => Plain::Records {
                run: frame.run,
                epoch: frame.epoch,
                offset: frame.offset,
                records: frame
                    .records
                    .iter()
                    .map(|(block, kind, bytes)| PlainRecord {
                        block: *block,
                        kind: kind.name(),
                        bytes: hex(bytes),
                    })
                    .collect(),
            },
            ServerFrame::Rewind { run, epoch, offset } => {
                Plain::Rewind { run: *run, epoch: *epoch, offset: *offset }
            }
            ServerFrame::End { run, epoch, offset } => {
                Plain::End { run: *run, epoch: *epoch, offset: *offset }
            }
            ServerFrame::Reply(body) => Plain::Reply { body },
            ServerFrame::Drain { within_ms } => Plain::Drain { within_ms: *within_ms },
            ServerFrame::Problem(body) => Plain::Problem { body },
            ServerFrame::Person(body) => Plain::Person { body },
        }
    }

    pub fn type_name(&self) -> String {
        let value = serde_json::to_value(self).expect("vectors are plain JSON");
        value["type"].as_str().expect("the tag is a string").to_owned()
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| std::str::from_utf8(pair).expect("hex is ASCII"))
        .map(|pair| u8::from_str_radix(pair, 16).expect("hex digits"))
        .collect()
}

fn of_sync<'a>(step: &SyncStep<'_>) -> Plain<'a> {
    match step {
        SyncStep::Step1(bytes) => Plain::SyncStep1 { bytes: hex(bytes) },
        SyncStep::Step2(bytes) => Plain::SyncStep2 { bytes: hex(bytes) },
        SyncStep::Update(bytes) => Plain::SyncUpdate { bytes: hex(bytes) },
    }
}
