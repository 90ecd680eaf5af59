//! Two people in one room, over an in-memory line.

import "fake-indexeddb/auto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Awareness, encodeAwarenessUpdate } from "y-protocols/awareness";
import * as Y from "yjs";
import type { Person } from "../protocol/shapes.ts";
import { FakeRoom, memberId } from "../testing/FakeRoom.ts";
import type { Room } from "./api.ts";
import { colourByName } from "./colours.ts";
import { openRoom } from "./open.ts";
import { EDIT } from "./schema.ts";

let server: FakeRoom;
const open: Room[] = [];

beforeEach(() => {
  server = new FakeRoom();
  const kept = new Map<string, string>();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
  });
  // A database per test: the lineage is part of its name.
  server.lineage = crypto.randomUUID();
});

afterEach(() => {
  for (const room of open.splice(0)) room.close();
  vi.unstubAllGlobals();
});

describe("two people in a room", () => {
  it("see each other's edits and are told when they are durable", async () => {
    const [ana, ravi] = await Promise.all([enter("Ana"), enter("Ravi")]);
    server.holdsCommits = true;
    type(ana, "title", 0, "Triage 😀");
    await until(() => ravi.document.getSnapshot().title.read() === "Triage 😀");
    expect(ana.saved.getSnapshot()).toEqual({ kind: "saving", edits: 1 });
    expect(ravi.saved.getSnapshot()).toEqual({ kind: "saved" });
    server.commit();
    expect(ana.saved.getSnapshot()).toEqual({ kind: "saved" });
  });

  it("undo only their own edits", async () => {
    const [ana, ravi] = await Promise.all([enter("Ana"), enter("Ravi")]);
    type(ana, "system", 0, "Ana. ");
    await until(() => system(ravi).startsWith("Ana. "));
    type(ravi, "system", 5, "Ravi. ");
    await until(() => system(ana).startsWith("Ana. Ravi. "));
    ana.document.getSnapshot().undo();
    expect(system(ana)).toBe("Ravi. Be brief.");
    await until(() => system(ravi) === "Ravi. Be brief.");
  });

  it("keep a teammate's typing in a message that is moved and removed", async () => {
    const [ana, ravi] = await Promise.all([enter("Ana"), enter("Ravi")]);
    const second = ana.document.getSnapshot().addMessage("assistant", "m1", "Yes");
    await until(() => draft(ravi).messages.length === 2);
    const undo = ana.document.getSnapshot().removeMessage("m1");
    type(ravi, "m1", 0, "typed meanwhile ");
    await until(() => draft(ravi).messages.length === 1);
    undo();
    ana.document.getSnapshot().moveMessage("m1", null);
    await until(
      () =>
        draft(ravi)
          .messages.map((m) => m.id)
          .join() === [second, "m1"].join(),
    );
    expect(draft(ravi).messages[1]?.text.toString()).toBe("typed meanwhile Hello {{name}}");
    expect(draft(ana).messages[1]?.text.toString()).toBe("typed meanwhile Hello {{name}}");
  });

  it("are told apart by the server's names, and by colours in order of arrival", async () => {
    const ana = await enter("Ana");
    await until(() => ana.presence.people.getSnapshot().length === 1);
    const ravi = await enter("Ravi");
    await until(
      () =>
        ana.presence.people
          .getSnapshot()
          .map((p) => p.name)
          .join() === "Ana,Ravi",
    );
    await until(
      () =>
        ana.presence.people
          .getSnapshot()
          .map((p) => p.colour)
          .join() === "1,2",
    );
    expect(ana.presence.people.getSnapshot().map((p) => p.me)).toEqual([true, false]);
    expect(ravi.presence.colourOf(memberId("Ana"))).toBe(1);
  });

  it("see another Yjs tool by the server's name for it, in a colour that no page keeps", async () => {
    const ana = await enter("Ana");
    await until(() => ana.presence.people.getSnapshot().length === 1);
    const mine = ana.presence.colourOf(memberId("Ana"));
    const name = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"].find(
      (one) => colourByName(memberId(one)) === mine,
    );
    const tool = new Awareness(new Y.Doc());
    tool.setLocalState({ user: { name: "Somebody else", color: "#ff0000" } });
    const person: Person = { id: memberId(name ?? ""), name: "Tool 😀", role: "editor", client: tool.clientID };
    server.live[0]?.say({ type: "person", body: person });
    server.live[0]?.say({ type: "awareness", bytes: encodeAwarenessUpdate(tool, [tool.clientID]) });
    await until(() => ana.presence.people.getSnapshot().length === 2);
    const [, seen] = ana.presence.people.getSnapshot();
    expect(seen).toMatchObject({ name: "Tool 😀", colour: mine, me: false });
    expect(ana.presence.people.getSnapshot()[0]?.colour).not.toBe(mine);
    tool.setLocalState(null);
    server.live[0]?.say({ type: "awareness", bytes: encodeAwarenessUpdate(tool, [tool.clientID]) });
    await until(() => ana.presence.people.getSnapshot().length === 1);
    tool.destroy();
  });

  it("see each other's carets where they are after edits before them", async () => {
    const [ana, ravi] = await Promise.all([enter("Ana"), enter("Ravi")]);
    ravi.presence.setCaret(draft(ravi).system, 3, 8);
    await until(() => ana.presence.caretsIn(draft(ana).system).length === 1);
    type(ana, "system", 0, "1234");
    expect(ana.presence.caretsIn(draft(ana).system)[0]).toMatchObject({ anchor: 7, head: 12, name: "Ravi" });
    expect(ana.presence.caretsIn(draft(ana).messages[0]?.text ?? new Y.Text())).toEqual([]);
  });

  it("see a caret that came before the text that it stands in", async () => {
    const ana = await enter("Ana");
    const ravi = new Y.Doc();
    Y.applyUpdate(ravi, Y.encodeStateAsUpdate(draft(ana).system.doc ?? new Y.Doc()));
    const text = (ravi.getMap("variants").get("main") as Y.Map<unknown>).get("system") as Y.Text;
    text.insert(0, "new ");
    const place = Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, 2));
    const tool = new Awareness(ravi);
    tool.setLocalState({ cursor: { anchor: place, head: place } });
    let told = 0;
    ana.presence.onCarets(() => {
      told += 1;
    });
    server.live[0]?.say({ type: "awareness", bytes: encodeAwarenessUpdate(tool, [tool.clientID]) });
    expect(ana.presence.caretsIn(draft(ana).system)).toEqual([]);
    const before = told;
    server.live[0]?.say({ type: "sync_update", bytes: Y.encodeStateAsUpdate(ravi) });
    expect(told).toBe(before + 1);
    expect(ana.presence.caretsIn(draft(ana).system)).toMatchObject([{ anchor: 2, head: 2 }]);
    type(ana, "system", 0, "x");
    expect(told, "no more than once").toBe(before + 1);
    tool.destroy();
  });
});

describe("a dropped line", () => {
  it("counts edits as unsynced and sends them when it is back", async () => {
    const ana = await enter("Ana");
    server.refusesConnections = true;
    server.dropAll();
    type(ana, "title", 0, "offline");
    type(ana, "title", 7, " edits");
    expect(ana.saved.getSnapshot()).toMatchObject({ kind: "offline", edits: 1 });
    server.refusesConnections = false;
    ana.tryNow();
    await until(() => server.text("title") === "offline edits");
    await until(() => ana.saved.getSnapshot().kind === "saved");
    expect(ana.session.getSnapshot().connection.kind).toBe("live");
  });

  it("asks only for the rows after those it holds", async () => {
    const ana = await enter("Ana");
    const ravi = await enter("Ravi");
    type(ravi, "title", 0, "x");
    await until(() => ana.document.getSnapshot().title.read() === "x" && ravi.saved.getSnapshot().kind === "saved");
    const head = server.rows.length;
    server.live[0]?.drop(4500);
    await until(() => ana.session.getSnapshot().connection.kind === "live");
    expect(server.live.at(-1)?.received[0]).toMatchObject({ type: "join", have: head });
    // Nothing of its own was unsaved: its answer carries nothing.
    const answer = server.live.at(-1)?.received.find((frame) => frame.type === "sync_step2");
    expect(answer).toMatchObject({ bytes: new Uint8Array([0, 0]) });
  });

  it("keeps unsynced edits over a reload and sends them then", async () => {
    const ana = await enter("Ana");
    server.refusesConnections = true;
    server.dropAll();
    type(ana, "title", 0, "written offline");
    await sleepUntilStored();
    ana.close();
    server.refusesConnections = false;
    const again = openAs("Ana");
    expect(server.text("title")).toBe("");
    await until(() => again.saved.getSnapshot().kind === "saved" && server.text("title") === "written offline");
    expect(again.document.getSnapshot().title.read()).toBe("written offline");
  });

  it("lets somebody who might edit go on after a reload without a connection", async () => {
    const ana = await enter("Ana");
    server.refusesConnections = true;
    server.dropAll();
    ana.close();
    const again = openAs("Ana");
    await until(() => again.document.getSnapshot().draft.getSnapshot() !== null);
    expect(again.session.getSnapshot().rights.edit).toBe(true);
    type(again, "title", 0, "still here");
    server.refusesConnections = false;
    again.tryNow();
    await until(() => server.text("title") === "still here");
  });

  it("never sends one person's unsynced edits in another's name", async () => {
    const ana = await enter("Ana");
    server.refusesConnections = true;
    server.dropAll();
    type(ana, "title", 0, "Ana's secret");
    await sleepUntilStored();
    ana.close();
    server.refusesConnections = false;
    const ravi = await enter("Ravi");
    expect(ravi.document.getSnapshot().title.read()).toBe("");
    expect(server.text("title")).toBe("");
  });
});

describe("the reset path", () => {
  it("puts text aside and starts empty when the history is another", async () => {
    const ana = await enter("Ana");
    server.refusesConnections = true;
    server.dropAll();
    type(ana, "title", 0, "my title");
    server.renew(crypto.randomUUID());
    server.refusesConnections = false;
    ana.tryNow();
    await until(() => ana.session.getSnapshot().connection.kind === "live");
    expect(ana.document.getSnapshot().life).toBe(2);
    expect(ana.aside.getSnapshot()?.fields).toEqual([{ label: "Title", text: "my title" }]);
    expect(ana.aside.getSnapshot()?.problem.code).toBe("document.lineage_changed");
    await until(() => system(ana) === "Be brief.");
    expect(server.text("title")).toBe("");
  });

  it("goes on with a new client id after a refused edit", async () => {
    const ana = await enter("Ana");
    const client = ana.presence.awareness.clientID;
    server.holdsCommits = true;
    type(ana, "title", 0, "refused");
    server.live[0]?.drop(4415, "arrays are not kept here");
    await until(() => ana.session.getSnapshot().connection.kind === "live");
    expect(ana.presence.awareness.clientID).not.toBe(client);
    expect(ana.aside.getSnapshot()?.fields).toEqual([{ label: "Title", text: "refused" }]);
    server.holdsCommits = false;
    type(ana, "title", 0, "fine ");
    await until(() => server.text("title") === "fine ");
  });

  it("keeps the text of somebody who may no longer edit, and lets them read on", async () => {
    const ana = await enter("Ana");
    server.refusesConnections = true;
    server.dropAll();
    type(ana, "title", 0, "too late");
    server.refusesConnections = false;
    server.roleOf.set("Ana", "viewer");
    ana.tryNow();
    await until(() => ana.session.getSnapshot().connection.kind === "live");
    expect(ana.session.getSnapshot().rights.edit).toBe(false);
    expect(ana.aside.getSnapshot()?.fields).toEqual([{ label: "Title", text: "too late" }]);
    expect(system(ana)).toBe("Be brief.");
    expect(server.live[0]?.received.some((frame) => frame.type === "sync_update")).toBe(false);
  });

  it("says in the server's words why it was closed", async () => {
    const ana = await enter("Ana");
    const problem = {
      type: "about:blank",
      title: "Ravi deleted this prompt",
      status: 410,
      code: "prompt.deleted",
      detail: "",
    };
    server.live[0]?.say({ type: "problem", body: problem });
    server.live[0]?.drop(4410);
    expect(ana.session.getSnapshot().connection).toMatchObject({ kind: "closed", problem: { title: problem.title } });
  });

  it("stops with a reason when access is gone", async () => {
    const ana = await enter("Ana");
    server.live[0]?.drop(4404, "no such prompt");
    const { connection } = ana.session.getSnapshot();
    expect(connection).toMatchObject({ kind: "closed", closeCode: 4404, problem: { code: "prompt.not_found" } });
    await until(() => ana.document.getSnapshot().draft.getSnapshot() === null);
  });

  it("takes an edit that no message can carry back before it is sent", async () => {
    const ana = await enter("Ana");
    type(ana, "title", 0, "x".repeat(1_100_000));
    await until(() => ana.aside.getSnapshot() !== null);
    expect(ana.aside.getSnapshot()?.problem.code).toBe("document.too_large");
    await until(() => ana.session.getSnapshot().connection.kind === "live");
    expect(server.text("title")).toBe("");
  });
});

async function enter(name: string): Promise<Room> {
  const room = openAs(name);
  await until(() => room.session.getSnapshot().connection.kind === "live");
  return room;
}

function openAs(name: string): Room {
  const room = openRoom("ticket-triage", memberId(name), {
    url: () => "ws://room",
    openSocket: server.connect(name),
    random: () => 0,
  });
  open.push(room);
  return room;
}

function draft(room: Room) {
  const draft = room.document.getSnapshot().draft.getSnapshot();
  if (draft === null) throw new Error("the draft is not there");
  return draft;
}

function system(room: Room): string {
  return room.document.getSnapshot().draft.getSnapshot()?.system.toString() ?? "";
}

function type(room: Room, where: string, index: number, text: string): void {
  const document = room.document.getSnapshot();
  const target =
    where === "title"
      ? document.title.ensure()
      : where === "system"
        ? draft(room).system
        : draft(room).messages.find((message) => message.id === where)?.text;
  target?.doc?.transact(() => target.insert(index, text), EDIT);
}

function until(condition: () => boolean): Promise<void> {
  return vi.waitFor(() => expect(condition()).toBe(true), { timeout: 5_000, interval: 5 });
}

/** The mark is written after the edits that it counts. */
async function sleepUntilStored(): Promise<void> {
  await vi.waitFor(
    async () => {
      const databases = await indexedDB.databases();
      const stored = await Promise.all(databases.map(({ name }) => readMark(name ?? "")));
      expect(stored.some((mark) => (mark?.unsaved ?? 0) > 0)).toBe(true);
    },
    { timeout: 5_000, interval: 20 },
  );
}

function readMark(name: string): Promise<{ unsaved: number } | undefined> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name);
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      const db = request.result;
      const get = db.transaction("custom").objectStore("custom").get("mark");
      get.onsuccess = () => {
        db.close();
        resolve(get.result);
      };
      get.onerror = () => reject(get.error);
    };
  });
}
