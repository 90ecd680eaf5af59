//! Frames: what travels in one binary WebSocket message.
//!
//! Types 0–3 are the plain y-websocket protocol and go to everybody; types from 16 are ours and go only to
//! sockets that asked for them with `?v=1`. A frame's payload is a slice of the message that it came in:
//! copy it before keeping it.

use crate::{
    BlockKind, Command, Epoch, Hello, LineageId, Offset, Person, Problem, Reply, RunCursor, RunId,
    RunSummary, Seq,
    varint::{Reader, put_bytes, put_varint},
};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const QUERY_AWARENESS: u64 = 3;

const HELLO: u64 = 16;
const SAVED: u64 = 17;
const RUN: u64 = 18;
const RECORDS: u64 = 19;
const REWIND: u64 = 20;
const END: u64 = 21;
const REPLY: u64 = 22;
const DRAIN: u64 = 23;
const PROBLEM: u64 = 24;
const PERSON: u64 = 25;

const JOIN: u64 = 32;
const WATCH: u64 = 33;
const UNWATCH: u64 = 34;
const COMMAND: u64 = 35;

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the frame ends too early")]
    Short,
    #[error("the frame has bytes after its end")]
    Trailing,
    #[error("a number in the frame is too large")]
    NumberTooLarge,
    #[error("the frame's type is unknown")]
    UnknownType,
    #[error("the frame's JSON does not fit its shape")]
    BadJson,
    #[error("a block's kind is unknown")]
    UnknownKind,
}

/// The three messages of the Yjs sync protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncStep<'a> {
    /// A state vector: "this is what I have".
    Step1(&'a [u8]),
    /// An update: "this is what you lack".
    Step2(&'a [u8]),
    Update(&'a [u8]),
}

/// What a client may send.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientFrame<'a> {
    Sync(SyncStep<'a>),
    Awareness(&'a [u8]),
    QueryAwareness,
    /// `?v=1`, before any document frame: what the client has. Without `have` it has nothing.
    Join {
        lineage: LineageId,
        have: Option<Seq>,
        state_vector: &'a [u8],
    },
    Watch {
        run: RunId,
        cursor: RunCursor,
    },
    Unwatch {
        run: RunId,
    },
    Command(Box<Command>),
}

/// What the server may send.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerFrame<'a> {
    Sync(SyncStep<'a>),
    Awareness(&'a [u8]),
    /// The plain protocol's "permission denied", with its reason.
    Denied(&'a str),
    Hello(Box<Hello>),
    /// How many of this socket's SyncStep2 and Update frames are durable, and the newest durable row.
    Saved {
        frames: u64,
        head: Seq,
    },
    Run(Box<RunSummary>),
    Records(RecordsFrame),
    /// Everything from `offset` on is withdrawn; the run goes on in `epoch`.
    Rewind {
        run: RunId,
        epoch: Epoch,
        offset: Offset,
    },
    /// The run has ended and its output is exactly `offset` bytes long.
    End {
        run: RunId,
        epoch: Epoch,
        offset: Offset,
    },
    Reply(Box<Reply>),
    /// The node is going away: leave by yourself within this time, at a moment of your own choice.
    Drain {
        within_ms: u64,
    },
    Problem(Box<Problem>),
    /// Who a client id belongs to, as the server knows it.
    Person(Box<Person>),
}

/// A stretch of a run's output: records in order of arrival, the first of which starts at `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsFrame {
    pub run: RunId,
    pub epoch: Epoch,
    pub offset: Offset,
    /// Block number, kind, and at least one byte of UTF-8 that ends on a character boundary.
    pub records: Vec<(u32, BlockKind, Bytes)>,
}

impl<'a> ClientFrame<'a> {
    pub fn decode(message: &'a [u8]) -> Result<ClientFrame<'a>, FrameError> {
        let mut reader = Reader::new(message);
        let frame = match reader.varint()? {
            SYNC => ClientFrame::Sync(read_sync(&mut reader)?),
            AWARENESS => ClientFrame::Awareness(reader.bytes()?),
            QUERY_AWARENESS => ClientFrame::QueryAwareness,
            JOIN => {
                let lineage = LineageId(read_uuid(&mut reader)?);
                let have = match reader.varint()? {
                    0 => None,
                    seq_after => Some(Seq(seq_after - 1)),
                };
                ClientFrame::Join { lineage, have, state_vector: reader.bytes()? }
            }
            WATCH => {
                let run = RunId(read_uuid(&mut reader)?);
                let epoch = Epoch(reader.varint_u32()?);
                ClientFrame::Watch { run, cursor: RunCursor { epoch, offset: Offset(reader.varint()?) } }
            }
            UNWATCH => ClientFrame::Unwatch { run: RunId(read_uuid(&mut reader)?) },
            COMMAND => ClientFrame::Command(read_json(&mut reader)?),
            _ => return Err(FrameError::UnknownType),
        };
        reader.end()?;
        Ok(frame)
    }

    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            ClientFrame::Sync(step) => put_sync(&mut out, step),
            ClientFrame::Awareness(update) => put_tagged_bytes(&mut out, AWARENESS, update),
            ClientFrame::QueryAwareness => put_varint(&mut out, QUERY_AWARENESS),
            ClientFrame::Join { lineage, have, state_vector } => {
                put_varint(&mut out, JOIN);
                out.put_slice(lineage.0.as_bytes());
                put_varint(&mut out, have.map_or(0, |seq| seq.0 + 1));
                put_bytes(&mut out, state_vector);
            }
            ClientFrame::Watch { run, cursor } => {
                put_run_position(&mut out, WATCH, *run, cursor.epoch, cursor.offset)
            }
            ClientFrame::Unwatch { run } => {
                put_varint(&mut out, UNWATCH);
                out.put_slice(run.0.as_bytes());
            }
            ClientFrame::Command(command) => put_json(&mut out, COMMAND, command),
        }
        out.freeze()
    }
}

impl<'a> ServerFrame<'a> {
    pub fn decode(message: &'a [u8]) -> Result<ServerFrame<'a>, FrameError> {
        let mut reader = Reader::new(message);
        let frame = match reader.varint()? {
            SYNC => ServerFrame::Sync(read_sync(&mut reader)?),
            AWARENESS => ServerFrame::Awareness(reader.bytes()?),
            AUTH => {
                reader.varint()?;
                ServerFrame::Denied(std::str::from_utf8(reader.bytes()?).map_err(|_| FrameError::BadJson)?)
            }
            HELLO => ServerFrame::Hello(read_json(&mut reader)?),
            SAVED => ServerFrame::Saved { frames: reader.varint()?, head: Seq(reader.varint()?) },
            RUN => ServerFrame::Run(read_json(&mut reader)?),
            RECORDS => ServerFrame::Records(read_records(&mut reader)?),
            REWIND => {
                let (run, epoch, offset) = read_run_position(&mut reader)?;
                ServerFrame::Rewind { run, epoch, offset }
            }
            END => {
                let (run, epoch, offset) = read_run_position(&mut reader)?;
                ServerFrame::End { run, epoch, offset }
            }
            REPLY => ServerFrame::Reply(read_json(&mut reader)?),
            DRAIN => ServerFrame::Drain { within_ms: reader.varint()? },
            PROBLEM => ServerFrame::Problem(read_json(&mut reader)?),
            PERSON => ServerFrame::Person(read_json(&mut reader)?),
            _ => return Err(FrameError::UnknownType),
        };
        reader.end()?;
        Ok(frame)
    }

    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            ServerFrame::Sync(step) => put_sync(&mut out, step),
            ServerFrame::Awareness(update) => put_tagged_bytes(&mut out, AWARENESS, update),
            ServerFrame::Denied(reason) => {
                put_varint(&mut out, AUTH);
                put_varint(&mut out, 0);
                put_bytes(&mut out, reason.as_bytes());
            }
            ServerFrame::Hello(hello) => put_json(&mut out, HELLO, hello),
            ServerFrame::Saved { frames, head } => {
                put_varint(&mut out, SAVED);
                put_varint(&mut out, *frames);
                put_varint(&mut out, head.0);
            }
            ServerFrame::Run(run) => put_json(&mut out, RUN, run),
            ServerFrame::Records(frame) => put_records(&mut out, frame),
            ServerFrame::Rewind { run, epoch, offset } => {
                put_run_position(&mut out, REWIND, *run, *epoch, *offset)
            }
            ServerFrame::End { run, epoch, offset } => put_run_position(&mut out, END, *run, *epoch, *offset),
            ServerFrame::Reply(reply) => put_json(&mut out, REPLY, reply),
            ServerFrame::Drain { within_ms } => {
                put_varint(&mut out, DRAIN);
                put_varint(&mut out, *within_ms);
            }
            ServerFrame::Problem(problem) => put_json(&mut out, PROBLEM, problem),
            ServerFrame::Person(person) => put_json(&mut out, PERSON, person),
        }
        out.freeze()
    }
}

fn read_sync<'a>(reader: &mut Reader<'a>) -> Result<SyncStep<'a>, FrameError> {
    match reader.varint()? {
        0 => Ok(SyncStep::Step1(reader.bytes()?)),
        1 => Ok(SyncStep::Step2(reader.bytes()?)),
        2 => Ok(SyncStep::Update(reader.bytes()?)),
        _ => Err(FrameError::UnknownType),
    }
}

fn put_sync(out: &mut BytesMut, step: &SyncStep<'_>) {
    let (number, payload) = match step {
        SyncStep::Step1(payload) => (0, payload),
        SyncStep::Step2(payload) => (1, payload),
        SyncStep::Update(payload) => (2, payload),
    };
    out.reserve(payload.len() + 12);
    put_varint(out, SYNC);
    put_varint(out, number);
    put_bytes(out, payload);
}

fn put_tagged_bytes(out: &mut BytesMut, tag: u64, payload: &[u8]) {
    out.reserve(payload.len() + 11);
    put_varint(out, tag);
    put_bytes(out, payload);
}

fn read_uuid(reader: &mut Reader<'_>) -> Result<Uuid, FrameError> {
    Uuid::from_slice(reader.take(16)?).map_err(|_| FrameError::Short)
}

fn read_json<T: DeserializeOwned>(reader: &mut Reader<'_>) -> Result<Box<T>, FrameError> {
    serde_json::from_slice(reader.bytes()?).map(Box::new).map_err(|_| FrameError::BadJson)
}

fn put_json<T: Serialize>(out: &mut BytesMut, tag: u64, value: &T) {
    let json = serde_json::to_vec(value).expect("shapes have string keys and finite numbers");
    put_tagged_bytes(out, tag, &json);
}

fn read_run_position(reader: &mut Reader<'_>) -> Result<(RunId, Epoch, Offset), FrameError> {
    Ok((RunId(read_uuid(reader)?), Epoch(reader.varint_u32()?), Offset(reader.varint()?)))
}

fn put_run_position(out: &mut BytesMut, tag: u64, run: RunId, epoch: Epoch, offset: Offset) {
    put_varint(out, tag);
    out.put_slice(run.0.as_bytes());
    put_varint(out, u64::from(epoch.0));
    put_varint(out, offset.0);
}

fn read_records(reader: &mut Reader<'_>) -> Result<RecordsFrame, FrameError> {
    let (run, epoch, offset) = read_run_position(reader)?;
    let mut records = Vec::new();
    while !reader.is_empty() {
        let block = reader.varint_u32()?;
        let kind = BlockKind::from_byte(reader.byte()?).ok_or(FrameError::UnknownKind)?;
        records.push((block, kind, Bytes::copy_from_slice(reader.bytes()?)));
    }
    Ok(RecordsFrame { run, epoch, offset, records })
}

fn put_records(out: &mut BytesMut, frame: &RecordsFrame) {
    out.reserve(frame.records.iter().map(|(_, _, bytes)| bytes.len() + 16).sum::<usize>() + 32);
    put_run_position(out, RECORDS, frame.run, frame.epoch, frame.offset);
    for (block, kind, bytes) in &frame.records {
        put_varint(out, u64::from(*block));
        out.put_u8(*kind as u8);
        put_bytes(out, bytes);
    }
}
