//! Frames: what travels in one binary WebSocket message; the same as `protocol/src/frame.rs`.
//!
//! Types 0–3 are the plain y-websocket protocol, types from 16 are ours.

import { FrameError, Reader, Writer } from "./bytes.ts";
import type { BlockKind, Command, Hello, Person, Problem, Reply, RunSummary } from "./shapes.ts";

const SYNC = 0;
const AWARENESS = 1;
const AUTH = 2;
const QUERY_AWARENESS = 3;
const HELLO = 16;
const SAVED = 17;
const RUN = 18;
const RECORDS = 19;
const REWIND = 20;
const END = 21;
const REPLY = 22;
const DRAIN = 23;
const PROBLEM = 24;
const PERSON = 25;
const JOIN = 32;
const WATCH = 33;
const UNWATCH = 34;
const COMMAND = 35;

const KINDS: readonly BlockKind[] = ["text", "reasoning", "tool_call"];

/** The three messages of the Yjs sync protocol. */
export type SyncFrame =
  /** A state vector: "this is what I have". */
  | { type: "sync_step1"; bytes: Uint8Array }
  /** An update: "this is what you lack". */
  | { type: "sync_step2"; bytes: Uint8Array }
  | { type: "sync_update"; bytes: Uint8Array };

export type AwarenessFrame = { type: "awareness"; bytes: Uint8Array };

export type ClientFrame =
  | SyncFrame
  | AwarenessFrame
  | { type: "query_awareness" }
  /** Before any document frame; `have` is null when there is nothing. */
  | { type: "join"; lineage: string; have: number | null; state_vector: Uint8Array }
  | { type: "watch"; run: string; epoch: number; offset: number }
  | { type: "unwatch"; run: string }
  | { type: "command"; body: Command };

export type ServerFrame =
  | SyncFrame
  | AwarenessFrame
  | { type: "denied"; reason: string }
  | { type: "hello"; body: Hello }
  /** How many of this socket's sync_step2 and sync_update frames are durable, and the newest durable row. */
  | { type: "saved"; frames: number; head: number }
  | { type: "run"; body: RunSummary }
  | RecordsFrame
  | { type: "rewind"; run: string; epoch: number; offset: number }
  | { type: "end"; run: string; epoch: number; offset: number }
  | { type: "reply"; body: Reply }
  | { type: "drain"; within_ms: number }
  | { type: "problem"; body: Problem }
  | { type: "person"; body: Person };

/** A stretch of a run's output, the first record of which starts at `offset`. */
export interface RecordsFrame {
  type: "records";
  run: string;
  epoch: number;
  offset: number;
  records: OutputRecord[];
}

/** At least one byte of UTF-8 that ends on a character boundary. */
export interface OutputRecord {
  block: number;
  kind: BlockKind;
  bytes: Uint8Array;
}

export function decodeServerFrame(message: Uint8Array): ServerFrame {
  const reader = new Reader(message);
  const frame = readServerFrame(reader);
  reader.end();
  return frame;
}

export function decodeClientFrame(message: Uint8Array): ClientFrame {
  const reader = new Reader(message);
  const frame = readClientFrame(reader);
  reader.end();
  return frame;
}

export function encodeClientFrame(frame: ClientFrame): Uint8Array {
  const writer = new Writer();
  switch (frame.type) {
    case "sync_step1":
    case "sync_step2":
    case "sync_update":
      return writeSync(writer, frame);
    case "awareness":
      return writer.varint(AWARENESS).bytes(frame.bytes).finish();
    case "query_awareness":
      return writer.varint(QUERY_AWARENESS).finish();
    case "join":
      writer.varint(JOIN).uuid(frame.lineage);
      writer.varint(frame.have === null ? 0 : frame.have + 1);
      return writer.bytes(frame.state_vector).finish();
    case "watch":
      return writeRunPosition(writer, WATCH, frame);
    case "unwatch":
      return writer.varint(UNWATCH).uuid(frame.run).finish();
    case "command":
      return writer.varint(COMMAND).json(frame.body).finish();
    default:
      frame satisfies never;
      throw new FrameError("the frame's type is unknown");
  }
}

export function encodeServerFrame(frame: ServerFrame): Uint8Array {
  const writer = new Writer();
  switch (frame.type) {
    case "sync_step1":
    case "sync_step2":
    case "sync_update":
      return writeSync(writer, frame);
    case "awareness":
      return writer.varint(AWARENESS).bytes(frame.bytes).finish();
    case "denied":
      return writer.varint(AUTH).varint(0).text(frame.reason).finish();
    case "hello":
      return writer.varint(HELLO).json(frame.body).finish();
    case "saved":
      return writer.varint(SAVED).varint(frame.frames).varint(frame.head).finish();
    case "run":
      return writer.varint(RUN).json(frame.body).finish();
    case "records":
      return writeRecords(writer, frame);
    case "rewind":
      return writeRunPosition(writer, REWIND, frame);
    case "end":
      return writeRunPosition(writer, END, frame);
    case "reply":
      return writer.varint(REPLY).json(frame.body).finish();
    case "drain":
      return writer.varint(DRAIN).varint(frame.within_ms).finish();
    case "problem":
      return writer.varint(PROBLEM).json(frame.body).finish();
    case "person":
      return writer.varint(PERSON).json(frame.body).finish();
    default:
      frame satisfies never;
      throw new FrameError("the frame's type is unknown");
  }
}

function readServerFrame(reader: Reader): ServerFrame {
  switch (reader.varint()) {
    case SYNC:
      return readSync(reader);
    case AWARENESS:
      return { type: "awareness", bytes: reader.bytes() };
    case AUTH:
      reader.varint();
      return { type: "denied", reason: reader.text() };
    case HELLO:
      return { type: "hello", body: reader.json() };
    case SAVED:
      return { type: "saved", frames: reader.varint(), head: reader.varint() };
    case RUN:
      return { type: "run", body: reader.json() };
    case RECORDS:
      return readRecords(reader);
    case REWIND:
      return { type: "rewind", ...readRunPosition(reader) };
    case END:
      return { type: "end", ...readRunPosition(reader) };
    case REPLY:
      return { type: "reply", body: reader.json() };
    case DRAIN:
      return { type: "drain", within_ms: reader.varint() };
    case PROBLEM:
      return { type: "problem", body: reader.json() };
    case PERSON:
      return { type: "person", body: reader.json() };
    default:
      throw new FrameError("the frame's type is unknown");
  }
}

function readClientFrame(reader: Reader): ClientFrame {
  switch (reader.varint()) {
    case SYNC:
      return readSync(reader);
    case AWARENESS:
      return { type: "awareness", bytes: reader.bytes() };
    case QUERY_AWARENESS:
      return { type: "query_awareness" };
    case JOIN: {
      const lineage = reader.uuid();
      const after = reader.varint();
      return { type: "join", lineage, have: after === 0 ? null : after - 1, state_vector: reader.bytes() };
    }
    case WATCH:
      return { type: "watch", ...readRunPosition(reader) };
    case UNWATCH:
      return { type: "unwatch", run: reader.uuid() };
    case COMMAND:
      return { type: "command", body: reader.json() };
    default:
      throw new FrameError("the frame's type is unknown");
  }
}

function readSync(reader: Reader): SyncFrame {
  switch (reader.varint()) {
    case 0:
      return { type: "sync_step1", bytes: reader.bytes() };
    case 1:
      return { type: "sync_step2", bytes: reader.bytes() };
    case 2:
      return { type: "sync_update", bytes: reader.bytes() };
    default:
      throw new FrameError("the frame's type is unknown");
  }
}

function writeSync(writer: Writer, frame: SyncFrame): Uint8Array {
  const step = frame.type === "sync_step1" ? 0 : frame.type === "sync_step2" ? 1 : 2;
  return writer.varint(SYNC).varint(step).bytes(frame.bytes).finish();
}

function readRunPosition(reader: Reader): { run: string; epoch: number; offset: number } {
  return { run: reader.uuid(), epoch: reader.varint32(), offset: reader.varint() };
}

function writeRunPosition(writer: Writer, tag: number, at: { run: string; epoch: number; offset: number }): Uint8Array {
  return writer.varint(tag).uuid(at.run).varint(at.epoch).varint(at.offset).finish();
}

function readRecords(reader: Reader): RecordsFrame {
  const position = readRunPosition(reader);
  const records: OutputRecord[] = [];
  while (!reader.isEmpty) {
    const block = reader.varint32();
    const kind = KINDS[reader.byte()];
    if (kind === undefined) throw new FrameError("a block's kind is unknown");
    records.push({ block, kind, bytes: reader.bytes() });
  }
  return { type: "records", ...position, records };
}

function writeRecords(writer: Writer, frame: RecordsFrame): Uint8Array {
  writer.varint(RECORDS).uuid(frame.run).varint(frame.epoch).varint(frame.offset);
  for (const { block, kind, bytes } of frame.records) {
    writer.varint(block).byte(KINDS.indexOf(kind)).bytes(bytes);
  }
  return writer.finish();
}
