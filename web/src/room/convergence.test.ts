//! Random editing by three people over lines that drop: all end with the same prompt, and nothing is cut in half.

import { afterEach, expect, it, vi } from "vitest";
import type * as Y from "yjs";
import { FakeRoom } from "../testing/FakeRoom.ts";
import type { Room } from "./api.ts";
import { openRoom } from "./open.ts";
import { EDIT } from "./schema.ts";
import { replaceText } from "./text.ts";

const WORDS = ["a", "😀", "😁", "{{x}} ", "né", "👩‍💻", "\n", "word "];
const ROUNDS = 8;
const STEPS = 120;

let open: Room[] = [];

afterEach(() => {
  for (const room of open.splice(0)) room.close();
});

it.each(Array.from({ length: ROUNDS }, (_, seed) => seed + 1))("three people converge, seed %i", async (seed) => {
  const random = mulberry(seed);
  const server = new FakeRoom();
  server.lineage = crypto.randomUUID();
  open = ["Ana", "Ravi", "Mei"].map((name) =>
    openRoom("ticket-triage", null, { url: () => "ws://room", openSocket: server.connect(name), random: () => 0 }),
  );
  await until(() => open.every(isLive));
  for (let step = 0; step < STEPS; step += 1) {
    const room = open[Math.floor(random() * open.length)];
    if (room?.document.getSnapshot().draft.getSnapshot()) act(room, random);
    if (random() < 0.04) server.live[Math.floor(random() * server.live.length)]?.drop(1006);
    if (random() < 0.3) await Promise.resolve();
  }
  for (const room of open) room.tryNow();
  await until(() => open.every((room) => isLive(room) && room.saved.getSnapshot().kind === "saved"));
  await until(() => new Set(open.map(content)).size === 1);
  expect(open.map((room) => room.document.getSnapshot().life)).toEqual([1, 1, 1]);
  expect(content(open[0] as Room).isWellFormed()).toBe(true);
});

function act(room: Room, random: () => number): void {
  const document = room.document.getSnapshot();
  const draft = document.draft.getSnapshot();
  if (draft === null) return;
  const messages = draft.messages;
  const some = messages[Math.floor(random() * messages.length)];
  const choice = random();
  if (choice < 0.5) write(random() < 0.5 || some === undefined ? draft.system : some.text, random);
  else if (choice < 0.6) document.addMessage(random() < 0.5 ? "user" : "assistant", some?.id, "new 😀");
  else if (choice < 0.66 && some) document.removeMessage(some.id);
  else if (choice < 0.78 && some)
    document.moveMessage(some.id, messages[Math.floor(random() * messages.length)]?.id ?? null);
  else if (choice < 0.84) document.undo();
  else if (choice < 0.88) document.redo();
  else if (choice < 0.94) document.fillValues({ x: WORDS[Math.floor(random() * WORDS.length)] });
  else document.setParameter("temperature", Math.round(random() * 10) / 10);
}

function write(text: Y.Text, random: () => number): void {
  const before = [...text.toString()];
  const at = Math.floor(random() * (before.length + 1));
  const removed = random() < 0.4 ? Math.floor(random() * 4) : 0;
  before.splice(at, removed, WORDS[Math.floor(random() * WORDS.length)] ?? "");
  text.doc?.transact(() => replaceText(text, before.join("")), EDIT);
}

function isLive(room: Room): boolean {
  return room.session.getSnapshot().connection.kind === "live";
}

function content(room: Room): string {
  return JSON.stringify(room.document.getSnapshot().readContent());
}

function until(condition: () => boolean): Promise<void> {
  return vi.waitFor(() => expect(condition()).toBe(true), { timeout: 8_000, interval: 10 });
}

function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
