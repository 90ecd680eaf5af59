//! Made-up rooms, one for each state that the page can be in.

import * as Y from "yjs";
import type { MemberRole, RunSummary } from "../src/protocol/shapes.ts";
import type { Room } from "../src/room/api.ts";
import { openRoom } from "../src/room/open.ts";
import { FakeRoom, memberId } from "../src/testing/FakeRoom.ts";
import { problem } from "./http.ts";
import { ANSWER, MESSAGES, SYSTEM, VALUES } from "./texts.ts";

export interface Stage {
  readonly role: MemberRole;
  open(prompt: string, member: string | null): Room;
  id(name: string): string;
  content(): unknown;
  detail(run: string): unknown;
}

const person = (name: string) => ({ id: memberId(name), name, role: "editor" as const });
const utf8 = new TextEncoder();

export function playScene(scene: string): Stage {
  const server = new FakeRoom();
  server.lineage = crypto.randomUUID();
  write(server, scene);
  if (scene !== "norun") history(server);
  let mine: Room | null = null;
  const join = (name: string, role: MemberRole = "editor") =>
    openRoom("ticket-triage", null, { url: () => "", openSocket: server.connect(name, role), random: Math.random });
  const role: MemberRole = scene === "viewer" ? "viewer" : "owner";
  return {
    role,
    id: memberId,
    open: () => {
      if (scene === "connecting") server.refusesConnections = true;
      mine = join("Jonas", role);
      if (scene !== "alone" && scene !== "connecting") void guests(join);
      void play(scene, server, mine);
      return mine;
    },
    content: () => inParts(mine?.document.getSnapshot().readContent() as never),
    detail: (id) => detail(server, mine, id),
  };
}

async function guests(join: (name: string) => Room): Promise<void> {
  for (const name of ["Ana", "Ravi", "Mei"]) {
    const room = join(name);
    await until(() => room.document.getSnapshot().draft.getSnapshot() !== null);
    const draft = room.document.getSnapshot().draft.getSnapshot();
    if (!draft) continue;
    const system = draft.system.toString();
    const last = draft.messages.at(-1)?.text;
    if (name === "Ana") room.presence.setCaret(draft.system, system.indexOf("sentence") + 8, system.indexOf("sentence") + 8);
    const line = last?.toString().indexOf("Triage") ?? 0;
    if (name === "Ravi" && last) room.presence.setCaret(last, line, last.length);
  }
}

async function play(scene: string, server: FakeRoom, room: Room): Promise<void> {
  await until(() => room.session.getSnapshot().connection.kind === "live" || scene === "connecting");
  const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));
  const live = (change: Partial<RunSummary> = {}) => {
    const run = server.startRun(person("Ana"), change.state ?? "streaming");
    const whole = { ...run, ...base(), number: 42 + server.runs.size, created_at_ms: Date.now() - 3_100, admitted_at_ms: Date.now() - 3_000, first_token_at_ms: Date.now() - 2_588, ...change };
    server.tellRun(whole);
    return whole;
  };
  server.commands.push = (...commands) => {
    for (const command of commands) void act(server, command as never, room);
    return 0;
  };
  switch (scene) {
    case "streaming": {
      const run = live();
      const words = ANSWER.split(/(?<= )/).slice(0, -4);
      for (let at = 0; at < words.length; at += 3) {
        server.stream(run.id, words.slice(at, at + 3).join(""));
        server.tellRun({ ...run, usage: usage(841, Math.round(at * 1.4)), cost: 4_000_000 + at * 11_000 });
        await pause(35);
      }
      return;
    }
    case "long": {
      const run = live();
      for (let at = 0; at < 2_000; at++) {
        server.stream(run.id, `## Part ${at}\n\n${ANSWER.slice(0, 460)}\n\n`);
        if (at % 10 === 0) await pause(16);
      }
      server.end(run.id);
      return;
    }
    case "reasoning": {
      const run = live({ bytes: 10 });
      await pause(300);
      const records = [
        { block: 0, kind: "reasoning" as const, bytes: utf8.encode("The ticket says that webhooks stopped at 06:40. INC-2291 started at 06:35 and concerns DHL.\n\nSo the outage explains it, and I must not ask for more logs.") },
        { block: 1, kind: "text" as const, bytes: utf8.encode("I look up the incident first, to be sure that it still goes on.\n\n") },
        { block: 2, kind: "tool_call" as const, bytes: utf8.encode('{"id":"call_7Qx","name":"find_incident"}\n{"carrier":"DHL","since":"06:35","fields":["id","status","eta"]}') },
        { block: 3, kind: "text" as const, bytes: utf8.encode("**integration**, P1. The incident explains the") },
      ];
      for (const socket of server.live) socket.say({ type: "records", run: run.id, epoch: 1, offset: 0, records });
      return;
    }
    case "queued":
      live({ state: "queued", queue: { position: 3, waiting: 7, reason: "All 16 Claude Sonnet slots are busy." } });
      return;
    case "overloaded":
      live({ state: "admitted", problem: { ...problem(529, "provider.overloaded", "Anthropic is overloaded (529)", "It refused 3 of our last 4 requests. The next try is in 25 s."), retry_after_ms: 25_000 } });
      return;
    case "seam": {
      const run = live({ attempts: 2 });
      const cut = ANSWER.indexOf("Tracking");
      server.stream(run.id, ANSWER.slice(0, cut));
      await pause(400);
      server.rewind(run.id, server.run(run.id).bytes.length);
      server.stream(run.id, ANSWER.slice(cut, -120));
      return;
    }
    case "resumed": {
      const run = live();
      server.stream(run.id, ANSWER.slice(0, 400));
      await pause(500);
      server.dropAll();
      await pause(600);
      room.tryNow();
      await until(() => room.session.getSnapshot().connection.kind === "live");
      await pause(100);
      server.stream(run.id, ANSWER.slice(400, 700));
      return;
    }
    case "offline": {
      server.refusesConnections = true;
      await pause(300);
      server.dropAll();
      const draft = room.document.getSnapshot().draft.getSnapshot();
      draft?.system.doc?.transact(() => draft.system.insert(draft.system.length, "\n- End with the next update time."), (await import("../src/room/schema.ts")).EDIT);
      return;
    }
    case "deleted":
      await pause(200);
      for (const socket of server.live) {
        socket.say({ type: "problem", body: problem(410, "prompt.deleted", "Ravi deleted this prompt", "Its runs and your last edit are kept for 30 days.") });
        socket.drop(4410, "deleted");
      }
      return;
    case "refused":
      void room.runs.start().catch(() => {});
      return;
    case "starting":
      void room.runs.start().catch(() => {});
      return;
    case "chip": {
      const [first] = room.runs.list.getSnapshot().runs;
      if (first) room.runs.choose(first.id);
      await pause(200);
      live();
      return;
    }
    case "failed": case "cancelled": case "empty-output": case "interrupted": case "truncated": {
      const run = live();
      server.stream(run.id, scene === "empty-output" ? "" : ANSWER.slice(0, 420));
      await pause(100);
      const end = ENDS[scene];
      server.tellRun({ ...run, ...end, bytes: server.run(run.id).bytes.length, ended_at_ms: Date.now() });
      for (const socket of server.live) socket.end(server.run(run.id));
      return;
    }
    default:
  }
}

const ENDS: Record<string, Partial<RunSummary>> = {
  failed: { state: "failed", cost: 3_100_000, usage: usage(841, 41, true), problem: problem(502, "provider.cut_short", "Anthropic closed the connection early", "No end marker after 41 tokens. We do not retry once text has arrived, so that nothing is paid twice.", "", "The 41 tokens are kept. Charged $0.0031, marked as an estimate.") },
  cancelled: { state: "cancelled", cost: 4_000_000, usage: usage(841, 96), stopped_by: person("Ana") },
  interrupted: { state: "interrupted", cost: 4_000_000, usage: usage(841, 96, true), problem: problem(503, "run.interrupted", "The server restarted in mid-run", "This model cannot go on from a given text by itself.", "Continue or regenerate.", "All that had arrived is kept.") },
  truncated: { state: "truncated", stop_reason: "max_tokens", cost: 15_000_000, usage: usage(841, 1024) },
  "empty-output": { state: "completed", stop_reason: "stop_sequence", stop_sequence: "</reply>", cost: 2_500_000, usage: usage(841, 1) },
};

async function act(server: FakeRoom, command: { id: string; do: string; run?: string }, room: Room): Promise<void> {
  const mine = server.live[0];
  const query = new URLSearchParams(performance.getEntriesByType("navigation")[0]?.name.split("?")[1] ?? "");
  if (query.get("scene") === "starting") return;
  if (query.get("scene") === "refused") {
    mine?.say({ type: "reply", body: { id: command.id, error: { ...problem(429, "run.too_many", "20 of 20 runs used this minute", "Each person may start 20 runs a minute.", "", "Nothing was sent and nothing was charged. Your draft and values are saved."), retry_after_ms: 14_000 } } });
    return;
  }
  if (command.do === "cancel" && command.run) {
    const found = server.run(command.run);
    mine?.say({ type: "reply", body: { id: command.id, ok: { run: found.summary } } });
    server.tellRun({ ...found.summary, state: "cancelled", stopped_by: person("Jonas"), ended_at_ms: Date.now(), bytes: found.bytes.length });
    for (const socket of server.live) if (socket.watched.has(command.run)) socket.end(found);
    return;
  }
  const run = server.startRun(person("Jonas"));
  const whole = { ...run, ...base(), number: 42 + server.runs.size, created_at_ms: Date.now(), admitted_at_ms: Date.now() };
  server.tellRun(whole);
  mine?.say({ type: "reply", body: { id: command.id, ok: { run: whole } } });
  void room;
  const words = ANSWER.split(/(?<= )/);
  for (let at = 0; at < words.length; at += 2) {
    await new Promise((done) => setTimeout(done, 40));
    if (server.run(run.id).summary.state !== "streaming") return;
    server.stream(run.id, words.slice(at, at + 2).join(""));
    server.tellRun({ ...whole, first_token_at_ms: whole.created_at_ms + 200, usage: usage(841, at), cost: 2_500_000 + at * 15_000 });
  }
  server.tellRun({ ...server.run(run.id).summary, ended_at_ms: Date.now(), stop_reason: "end" });
  server.end(run.id);
}

function base() {
  return { model: "anthropic/claude-sonnet-4-5", parameters: { temperature: 0.2, max_tokens: 1024 } };
}

function usage(input: number, output: number, estimated = false) {
  return { input_tokens: input, cached_input_tokens: 0, output_tokens: output, reasoning_tokens: 0, estimated };
}

/** Five runs of this morning, as in the pictures. */
function history(server: FakeRoom): void {
  const at = (minutes: number) => Date.now() - minutes * 60_000;
  const past = (name: string, minutes: number, change: Partial<RunSummary>) => {
    const run = server.startRun(person(name), "completed");
    const found = server.run(run.id);
    found.bytes = utf8.encode(ANSWER);
    found.summary = {
      ...run, ...base(), number: 42 + server.runs.size, created_at_ms: at(minutes), admitted_at_ms: at(minutes), first_token_at_ms: at(minutes) + 412,
      ended_at_ms: at(minutes) + 3_900, bytes: found.bytes.length, stop_reason: "end", usage: usage(841, 243), cost: 6_200_000, ...change,
    };
  };
  past("Ravi", 55, { state: "interrupted" });
  past("Ravi", 41, { usage: usage(841, 255), cost: 6_300_000 });
  past("Mei", 33, { state: "cancelled", stopped_by: person("Ana"), usage: usage(841, 96), cost: 4_000_000 });
  past("Jonas", 12, { parameters: { temperature: 0.7, max_tokens: 1024 }, usage: usage(841, 261), cost: 6_400_000 });
  past("Ana", 2, { stop_reason: "stop_sequence", stop_sequence: "</reply>" });
}

function write(server: FakeRoom, scene: string): void {
  const before = Y.encodeStateVector(server.doc);
  server.doc.transact(() => {
    server.doc.getText("title").insert(0, "Ticket triage");
    const variant = server.doc.getMap("variants").get("main") as Y.Map<unknown>;
    variant.set("model", "anthropic/claude-sonnet-4-5");
    const params = variant.get("params") as Y.Map<unknown>;
    params.set("temperature", 0.2);
    params.set("max_tokens", 1024);
    params.set("stop", "</reply>");
    const system = variant.get("system") as Y.Text;
    system.delete(0, system.length);
    system.insert(0, SYSTEM);
    const messages = variant.get("messages") as Y.Map<unknown>;
    for (const [at, [role, text]] of MESSAGES.entries()) {
      const part = new Y.Map<unknown>([["kind", "text"], ["order", "a0"], ["text", new Y.Text(text)]]);
      messages.set(`m${at + 1}`, new Y.Map<unknown>([["role", role], ["order", `a${at}`], ["deleted", false], ["parts", new Y.Map<unknown>([["p1", part]])]]));
    }
    const variables = server.doc.getMap("variables");
    for (const [name, order] of [["company", "a1"], ["language", "a4"]] as const) {
      variables.set(name, new Y.Map<unknown>([["type", "text"], ["default", new Y.Text(name === "company" ? "Parcelwise" : "English")], ["order", order], ["deleted", false]]));
    }
    variables.set("known_incidents", new Y.Map<unknown>([["type", "json"], ["default", new Y.Text()], ["order", "a3"], ["deleted", false]]));
    const set = server.doc.getMap("inputs").get("default") as Y.Map<unknown>;
    set.set("name", "Webhooks silent");
    const values = set.get("values") as Y.Map<unknown>;
    for (const [name, value] of Object.entries(VALUES)) if (scene !== "unset" || name === "ticket") values.set(name, new Y.Text(value));
  });
  server.rows.push(Y.encodeStateAsUpdate(server.doc, before));
}

function detail(server: FakeRoom, room: Room | null, id: string): unknown {
  const run = server.run(id);
  const content = structuredClone(room?.document.getSnapshot().readContent());
  const [variant] = content?.variants ?? [];
  if (variant && run.summary.number === 46) {
    variant.parameters = { ...variant.parameters, temperature: 0.7 };
    variant.system = variant.system.replace(", under 120 words", "");
  }
  return {
    run: run.summary,
    request: { model: "claude-sonnet-4-5", max_tokens: 1024, temperature: 0.2, stream: true, system: SYSTEM, messages: MESSAGES.map(([role, content]) => ({ role, content })) },
    source: { content: inParts(content), values: VALUES },
    blocks: [{ block: 0, kind: "text", text: new TextDecoder().decode(run.bytes) }],
  };
}

/** As the server writes it: a message in parts. */
function inParts(content: ReturnType<typeof structuredClone<never>> | undefined): unknown {
  const plain = content as { variants: { messages: { id?: string; role: string; text: string }[] }[] } | undefined;
  return { ...plain, variants: plain?.variants.map((variant) => ({ ...variant, messages: variant.messages.map(({ id, role, text }) => ({ id, role, parts: [{ kind: "text", id: "p1", text }] })) })) };
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((done) => setTimeout(done, 20));
}
