//! A room at the other end of an in-memory line: enough of the server to try the page's room against, frame by frame.

import * as Y from "yjs";
import type { WebSocketLike } from "../link/socket.ts";
import { type ClientFrame, decodeClientFrame, encodeServerFrame, type ServerFrame } from "../protocol/frames.ts";
import type { Command, Hello, MemberRole, Person, RunSummary } from "../protocol/shapes.ts";

const LINEAGE = "0198c0de-0000-7000-8000-00000000000a";
const PROMPT = "0198c0de-0000-7000-8000-00000000000d";
const utf8 = new TextEncoder();

interface FakeRun {
  summary: RunSummary;
  /** Byte records of block 0. */
  bytes: Uint8Array;
}

export class FakeRoom {
  lineage = LINEAGE;
  doc = new Y.Doc();
  /** Durable rows; `seq` is the index + 1. */
  rows: Uint8Array[] = [];
  runs = new Map<string, FakeRun>();
  commands: Command[] = [];
  sockets: FakeSocket[] = [];
  /** Roles that changed since somebody first came. */
  roleOf = new Map<string, MemberRole>();
  /** Set to hold commits back until `commit()`. */
  holdsCommits = false;
  refusesConnections = false;
  private uncommitted: { bytes: Uint8Array; from: FakeSocket }[] = [];

  constructor() {
    this.seed();
  }

  connect(name: string, role: MemberRole = "editor"): (url: string) => WebSocketLike {
    return () => {
      const socket = new FakeSocket(this, { id: memberId(name), name, role: this.roleOf.get(name) ?? role });
      this.sockets.push(socket);
      queueMicrotask(() => (this.refusesConnections ? socket.drop(1006) : socket.open()));
      return socket as unknown as WebSocketLike;
    };
  }

  get live(): FakeSocket[] {
    return this.sockets.filter((socket) => socket.isOpen);
  }

  dropAll(code = 1006): void {
    for (const socket of this.live) socket.drop(code);
  }

  commit(): void {
    for (const { bytes, from } of this.uncommitted.splice(0)) {
      this.rows.push(bytes);
      from.durable += 1;
    }
    for (const socket of this.live) socket.say({ type: "saved", frames: socket.durable, head: this.rows.length });
  }

  /** A new history: what a client holds of the old one must not come in. */
  renew(lineage: string): void {
    this.lineage = lineage;
    this.doc = new Y.Doc();
    this.rows = [];
    this.seed();
  }

  text(role: "system" | "title"): string {
    if (role === "title") return this.doc.getText("title").toString();
    const variant = this.doc.getMap("variants").get("main") as Y.Map<unknown>;
    return (variant.get("system") as Y.Text).toString();
  }

  startRun(by: Person, state: RunSummary["state"] = "streaming"): RunSummary {
    const number = this.runs.size + 1;
    const id = `0198c0de-0000-7000-8000-${String(number).padStart(12, "b")}`.replaceAll(/[^0-9a-f-]/g, "b");
    const summary: RunSummary = {
      id,
      prompt: PROMPT,
      number,
      origin: "run",
      by,
      variant: "main",
      model: "demo/markdown",
      state,
      epoch: 1,
      bytes: 0,
      hash: "h",
      parameters: {},
      created_at_ms: number,
      attempts: 1,
    };
    this.runs.set(id, { summary, bytes: new Uint8Array() });
    this.tellRun(summary);
    return summary;
  }

  tellRun(summary: RunSummary): void {
    const run = this.runs.get(summary.id);
    if (run !== undefined) run.summary = summary;
    for (const socket of this.live) socket.say({ type: "run", body: summary });
  }

  stream(run: string, text: string): void {
    const found = this.run(run);
    const offset = found.bytes.length;
    const bytes = utf8.encode(text);
    found.bytes = concat(found.bytes, bytes);
    for (const socket of this.watchers(run)) socket.records(found, offset);
  }

  rewind(run: string, offset: number): void {
    const found = this.run(run);
    found.bytes = found.bytes.slice(0, offset);
    found.summary = { ...found.summary, epoch: found.summary.epoch + 1 };
    for (const socket of this.watchers(run)) socket.say({ type: "rewind", run, epoch: found.summary.epoch, offset });
  }

  end(run: string, state: RunSummary["state"] = "completed"): void {
    const found = this.run(run);
    this.tellRun({ ...found.summary, state, bytes: found.bytes.length });
    for (const socket of this.watchers(run)) socket.end(found);
  }

  run(run: string): FakeRun {
    const found = this.runs.get(run);
    if (found === undefined) throw new Error("no such run");
    return found;
  }

  hello(me: Person): Hello {
    const edit = me.role !== "viewer" && me.role !== "runner";
    return {
      version: 1,
      prompt: PROMPT,
      slug: "ticket-triage",
      lineage: this.lineage,
      head: this.rows.length,
      me,
      rights: { edit, run: me.role !== "viewer", manage: me.role === "owner" || me.role === "admin" },
      request_id: "0198c0de-0000-7000-8000-00000000000f",
      limits: { message_bytes: 1_000_000, document_bytes: 8_000_000, awareness_bytes: 4_096, watched_runs: 8 },
      runs: [...this.runs.values()].map((run) => run.summary).reverse(),
    };
  }

  /** An edit that came in: shown to the others at once, durable when committed. */
  take(bytes: Uint8Array, from: FakeSocket): void {
    const copy = bytes.slice();
    Y.applyUpdate(this.doc, copy);
    if (copy.length > 2)
      for (const socket of this.live) if (socket !== from) socket.say({ type: "sync_update", bytes: copy });
    this.uncommitted.push({ bytes: copy, from });
    if (!this.holdsCommits) queueMicrotask(() => this.commit());
  }

  private watchers(run: string): FakeSocket[] {
    return this.live.filter((socket) => socket.watched.has(run));
  }

  private seed(): void {
    this.doc.transact(() => {
      this.doc.getMap("meta").set("schema", 1);
      const part = new Y.Map<unknown>([
        ["kind", "text"],
        ["order", "a0"],
        ["text", new Y.Text("Hello {{name}}")],
      ]);
      const parts = new Y.Map<unknown>([["p1", part]]);
      const message = new Y.Map<unknown>([
        ["role", "user"],
        ["order", "a0"],
        ["deleted", false],
        ["parts", parts],
      ]);
      const variant = new Y.Map<unknown>([
        ["name", "A"],
        ["order", "a0"],
        ["deleted", false],
        ["model", "demo/markdown"],
        ["params", new Y.Map()],
        ["system", new Y.Text("Be brief.")],
        ["messages", new Y.Map<unknown>([["m1", message]])],
        ["tools", new Y.Map()],
        ["schema", new Y.Text()],
      ]);
      this.doc.getMap("variants").set("main", variant);
      const set = new Y.Map<unknown>([
        ["name", "Default"],
        ["order", "a0"],
        ["deleted", false],
        ["values", new Y.Map()],
      ]);
      this.doc.getMap("inputs").set("default", set);
    });
    this.rows.push(Y.encodeStateAsUpdate(this.doc));
  }
}

export class FakeSocket {
  binaryType = "";
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  isOpen = false;
  durable = 0;
  private awareness: Uint8Array | null = null;
  readonly received: ClientFrame[] = [];
  readonly watched = new Map<string, number>();
  private readonly room: FakeRoom;
  private readonly person: Person;

  constructor(room: FakeRoom, person: Person) {
    this.room = room;
    this.person = person;
  }

  open(): void {
    this.isOpen = true;
    this.onopen?.();
    this.say({ type: "hello", body: this.room.hello(this.person) });
  }

  drop(code: number, reason = ""): void {
    this.isOpen = false;
    this.onclose?.({ code, reason });
  }

  close(): void {
    this.isOpen = false;
  }

  say(frame: ServerFrame): void {
    if (!this.isOpen) return;
    const bytes = encodeServerFrame(frame);
    this.onmessage?.({ data: bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) });
  }

  send(data: Uint8Array): void {
    if (!this.isOpen) throw new Error("the socket is not open");
    const frame = decodeClientFrame(data.slice());
    this.received.push(frame);
    queueMicrotask(() => this.isOpen && this.handle(frame));
  }

  records(run: FakeRun, from: number): void {
    const bytes = run.bytes.slice(from);
    if (bytes.length === 0) return;
    this.watched.set(run.summary.id, run.bytes.length);
    this.say({
      type: "records",
      run: run.summary.id,
      epoch: run.summary.epoch,
      offset: from,
      records: [{ block: 0, kind: "text", bytes }],
    });
  }

  end(run: FakeRun): void {
    this.say({ type: "end", run: run.summary.id, epoch: run.summary.epoch, offset: run.bytes.length });
    this.watched.delete(run.summary.id);
  }

  private handle(frame: ClientFrame): void {
    switch (frame.type) {
      case "join":
        this.join(frame.have, frame.state_vector);
        return;
      case "sync_step2":
      case "sync_update":
        if (this.person.role === "viewer") {
          if (frame.type === "sync_update") this.drop(4403, "viewers do not edit");
          return;
        }
        this.room.take(frame.bytes, this);
        return;
      case "awareness":
        this.awareness = frame.bytes;
        for (const socket of this.room.live) socket.say({ type: "awareness", bytes: frame.bytes });
        this.bind(frame.bytes);
        return;
      case "watch":
        this.watch(frame.run, frame.epoch, frame.offset);
        return;
      case "unwatch":
        this.watched.delete(frame.run);
        return;
      case "command":
        this.room.commands.push(frame.body);
        return;
      case "sync_step1":
      case "query_awareness":
        return;
      default:
        frame satisfies never;
    }
  }

  private join(have: number | null, stateVector: Uint8Array): void {
    const { rows, doc } = this.room;
    if (have === null) this.say({ type: "sync_step2", bytes: Y.encodeStateAsUpdate(doc, stateVector) });
    else for (const row of rows.slice(have)) this.say({ type: "sync_update", bytes: row });
    this.say({ type: "sync_step1", bytes: Y.encodeStateVector(doc) });
    this.say({ type: "saved", frames: 0, head: rows.length });
    for (const other of this.room.live) {
      if (other === this || other.awareness === null) continue;
      this.say({ type: "awareness", bytes: other.awareness });
      other.bind(other.awareness);
    }
  }

  /** The first client id in somebody's awareness is theirs. */
  private bind(bytes: Uint8Array): void {
    let client = 0;
    let shift = 0;
    for (const byte of bytes.subarray(1)) {
      client += (byte & 0x7f) * 2 ** shift;
      shift += 7;
      if (byte < 0x80) break;
    }
    for (const socket of this.room.live) socket.say({ type: "person", body: { ...this.person, client } });
  }

  private watch(id: string, epoch: number, offset: number): void {
    const run = this.room.run(id);
    this.watched.set(id, offset);
    if (epoch < run.summary.epoch) {
      const from = Math.min(offset, run.bytes.length);
      this.say({ type: "rewind", run: id, epoch: run.summary.epoch, offset: from });
      this.records(run, from);
    } else {
      this.records(run, offset);
    }
    if (!["queued", "admitted", "streaming", "recovering"].includes(run.summary.state)) this.end(run);
  }
}

export function memberId(name: string): string {
  const hex = [...name].map((letter) => letter.charCodeAt(0).toString(16)).join("");
  return `0198c0de-0000-7000-8000-${hex.padStart(12, "0").slice(-12)}`;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}
