//! Runs in a room: starting, stopping, following, and watching over a dropped line.

import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FakeRoom, memberId } from "../testing/FakeRoom.ts";
import type { Room } from "./api.ts";
import { openRoom } from "./open.ts";

let server: FakeRoom;
const open: Room[] = [];

beforeEach(() => {
  server = new FakeRoom();
  server.lineage = crypto.randomUUID();
});

afterEach(() => {
  for (const room of open.splice(0)) room.close();
});

describe("a run that is asked for", () => {
  it("shows as starting at once and as itself when the reply comes", async () => {
    const ana = await enter("Ana");
    const answer = ana.runs.start();
    expect(ana.runs.shown.getSnapshot().starting).toMatchObject({ kind: "run", sent: true });
    await until(() => server.commands.length === 1);
    expect(server.commands[0]).toMatchObject({ do: "run", variant: "main", inputs: "default" });
    reply("Ana");
    expect((await answer).number).toBe(1);
    expect(ana.runs.shown.getSnapshot()).toMatchObject({ starting: null, run: { number: 1 }, mode: "following" });
  });

  it("is sent again with the same id after a drop, behind the edits before it", async () => {
    const ana = await enter("Ana");
    server.refusesConnections = true;
    server.dropAll();
    ana.document.getSnapshot().setParameter("temperature", 0.5);
    const answer = ana.runs.start();
    expect(ana.runs.shown.getSnapshot().starting?.sent).toBe(false);
    server.refusesConnections = false;
    ana.tryNow();
    await until(() => server.commands.length === 1);
    server.dropAll();
    await until(() => server.commands.length === 2);
    expect(server.commands[1]?.id).toBe(server.commands[0]?.id);
    const order = server.live[0]?.received.map((frame) => frame.type) ?? [];
    expect(order.indexOf("sync_step2")).toBeLessThan(order.indexOf("command"));
    reply("Ana");
    await answer;
  });

  it("that is refused says why", async () => {
    const ana = await enter("Ana");
    const answer = ana.runs.start();
    await until(() => server.commands.length === 1);
    const problem = {
      type: "about:blank",
      title: "The queue is full",
      status: 429,
      code: "run.queue_full",
      detail: "",
    };
    server.live[0]?.say({ type: "reply", body: { id: server.commands[0]?.id ?? "", error: problem } });
    await expect(answer).rejects.toMatchObject({ problem: { code: "run.queue_full" } });
    expect(ana.runs.shown.getSnapshot()).toMatchObject({ starting: null, refused: { code: "run.queue_full" } });
  });
});

describe("the pane", () => {
  it("follows the newest run until the reader holds one, then offers the newer", async () => {
    const ana = await enter("Ana");
    const first = server.startRun(person("Ravi"));
    expect(ana.runs.shown.getSnapshot().run?.id).toBe(first.id);
    ana.runs.hold();
    const second = server.startRun(person("Ravi"));
    expect(ana.runs.shown.getSnapshot()).toMatchObject({
      mode: "holding",
      run: { id: first.id },
      chip: { id: second.id },
    });
    ana.runs.follow();
    expect(ana.runs.shown.getSnapshot()).toMatchObject({ mode: "following", run: { id: second.id }, chip: null });
    ana.runs.choose(first.id);
    expect(ana.runs.shown.getSnapshot()).toMatchObject({ run: { id: first.id }, chip: null });
  });

  it("freezes a text that is being stopped and thaws it with the end", async () => {
    const ana = await enter("Ana");
    const run = server.startRun(person("Ravi"));
    const { seen } = watch(ana, run.id);
    await until(() => server.live[0]?.watched.has(run.id) === true);
    server.stream(run.id, "partial");
    await until(() => seen() === "partial");
    const answer = ana.runs.cancel(run.id);
    expect(ana.runs.cancel(run.id)).toBe(answer);
    expect([...ana.runs.shown.getSnapshot().stopping]).toEqual([run.id]);
    server.stream(run.id, " late");
    await until(() => server.commands.length === 1);
    expect(seen()).toBe("partial");
    server.live[0]?.say({
      type: "reply",
      body: { id: server.commands[0]?.id ?? "", ok: { run: server.run(run.id).summary } },
    });
    await answer;
    expect([...ana.runs.shown.getSnapshot().stopping]).toEqual([run.id]);
    server.end(run.id, "cancelled");
    expect([...ana.runs.shown.getSnapshot().stopping]).toEqual([]);
    expect(seen()).toBe("partial late");
  });

  it("does not let a late frame bring an ended run back", async () => {
    const ana = await enter("Ana");
    const run = server.startRun(person("Ravi"));
    server.tellRun({ ...run, state: "completed" });
    server.tellRun({ ...run, state: "streaming" });
    expect(ana.runs.list.getSnapshot().runs[0]?.state).toBe("completed");
  });
});

describe("an output that is watched", () => {
  it("comes to a late joiner whole and goes on", async () => {
    const run = server.startRun(person("Ravi"));
    server.stream(run.id, "Said before 😀. ");
    const ana = await enter("Ana");
    const { seen } = watch(ana, run.id);
    await until(() => seen() === "Said before 😀. ");
    server.stream(run.id, "And after.");
    server.end(run.id);
    expect(seen()).toBe("Said before 😀. And after.");
  });

  it("is taken up at the exact byte after a drop, seam and all", async () => {
    const ana = await enter("Ana");
    const run = server.startRun(person("Ravi"));
    const { seen, output } = watch(ana, run.id);
    await until(() => server.live[0]?.watched.has(run.id) === true);
    server.stream(run.id, "one é two");
    await until(() => seen() === "one é two");
    server.refusesConnections = true;
    server.dropAll();
    expect(output.view.getSnapshot().phase).toBe("resuming");
    server.stream(run.id, " three");
    server.refusesConnections = false;
    ana.tryNow();
    await until(() => seen() === "one é two three");
    expect(server.live[0]?.received.find((frame) => frame.type === "watch")).toMatchObject({ epoch: 1, offset: 10 });
    expect(output.view.getSnapshot().resumed).toMatchObject({ atBytes: 10, index: 9 });
    server.rewind(run.id, 6);
    server.stream(run.id, " zwei");
    server.end(run.id);
    expect(seen()).toBe("one é zwei");
    expect(output.view.getSnapshot().seams).toMatchObject([{ epoch: 2, withdrawn: " two three", index: 5 }]);
  });

  it("is not sent any more once nobody holds it", async () => {
    const ana = await enter("Ana");
    const run = server.startRun(person("Ravi"));
    const { output } = watch(ana, run.id);
    const second = ana.runs.output(run.id);
    expect(second).toBe(output);
    await until(() => server.live[0]?.watched.has(run.id) === true);
    output.release();
    second.release();
    await until(() => server.live[0]?.watched.has(run.id) === false);
  });

  it("never watches more runs than the server allows", async () => {
    const ana = await enter("Ana");
    const runs = Array.from({ length: 10 }, () => server.startRun(person("Ravi")));
    for (const run of runs) ana.runs.output(run.id);
    await until(() => server.live[0]?.watched.size === 8);
    server.end(runs[0]?.id ?? "");
    await until(() => server.live[0]?.watched.has(runs[9]?.id ?? "") === true);
  });
});

async function enter(name: string): Promise<Room> {
  const room = openRoom("ticket-triage", null, {
    url: () => "ws://room",
    openSocket: server.connect(name),
    random: () => 0,
  });
  open.push(room);
  await until(() => room.session.getSnapshot().connection.kind === "live");
  return room;
}

function watch(room: Room, run: string) {
  const output = room.runs.output(run);
  let text = "";
  output.read(0, {
    append: (more) => {
      text += more;
    },
    truncate: (length) => {
      text = text.slice(0, length);
    },
    end: () => {},
  });
  return { output, seen: () => text };
}

function person(name: string) {
  return { id: memberId(name), name, role: "editor" as const };
}

function reply(by: string): void {
  const run = server.startRun(person(by));
  server.live[0]?.say({ type: "reply", body: { id: server.commands.at(-1)?.id ?? "", ok: { run } } });
}

function until(condition: () => boolean): Promise<void> {
  return vi.waitFor(() => expect(condition()).toBe(true), { timeout: 5_000, interval: 5 });
}
