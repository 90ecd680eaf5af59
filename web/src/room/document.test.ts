//! The prompt as it is edited, without a line.

import { afterEach, describe, expect, it, vi } from "vitest";
import * as Y from "yjs";
import { FakeRoom } from "../testing/FakeRoom.ts";
import type { Variable } from "./api.ts";
import { LiveDocument } from "./document.ts";
import { EDIT } from "./schema.ts";
import { SURVEY_EVERY_MS, variablesIn } from "./survey.ts";
import { changeBetween } from "./text.ts";

afterEach(() => void vi.useRealTimers());

describe("messages", () => {
  it("are added after another, moved and kept in order", () => {
    const { document } = newDocument();
    const b = document.addMessage("assistant", "m1", "b");
    const c = document.addMessage("user", undefined, "c");
    const a = document.addMessage("user", "m1", "a");
    expect(ids(document)).toEqual(["m1", a, b, c]);
    document.moveMessage(c, a);
    expect(ids(document)).toEqual(["m1", c, a, b]);
    expect(document.nudgeMessage("m1", "up")).toBe(false);
    expect(document.nudgeMessage("m1", "down")).toBe(true);
    expect(ids(document)).toEqual([c, "m1", a, b]);
    expect(document.nudgeMessage(b, "down")).toBe(false);
    document.moveMessage(c, null);
    expect(ids(document)).toEqual(["m1", a, b, c]);
  });

  it("find a place between equal and foreign order keys", () => {
    const { document, doc } = newDocument();
    const a = document.addMessage("user", undefined, "a");
    const b = document.addMessage("user", undefined, "b");
    const map = (doc.getMap("variants").get("main") as Y.Map<Y.Map<Y.Map<unknown>>>).get("messages");
    for (const id of ["m1", a, b]) map?.get(id)?.set("order", "!!");
    const before = ids(document);
    const c = document.addMessage("user", before[0], "c");
    expect(ids(document)).toEqual([before[0], c, ...before.slice(1)]);
  });

  it("keep their objects while somebody types, so that nothing is drawn again", () => {
    const { document } = newDocument();
    document.addMessage("user");
    const before = document.draft.getSnapshot();
    let changes = 0;
    document.draft.subscribe(() => {
      changes += 1;
    });
    edit(before?.messages[0]?.text, (text) => text.insert(0, "typed"));
    expect(document.draft.getSnapshot()).toBe(before);
    expect(changes).toBe(0);
    document.setRole(before?.messages[1]?.id ?? "", "assistant");
    expect(document.draft.getSnapshot()?.messages[0]).toBe(before?.messages[0]);
  });

  it("undone and done again are flagged, never removed", () => {
    const { document, doc } = newDocument();
    const id = document.addMessage("user", undefined, "mine");
    document.undo();
    expect(ids(document)).toEqual(["m1"]);
    const map = (doc.getMap("variants").get("main") as Y.Map<Y.Map<Y.Map<unknown>>>).get("messages");
    expect(map?.get(id)?.get("deleted")).toBe(true);
    document.redo();
    expect(ids(document)).toEqual(["m1", id]);
    expect(document.draft.getSnapshot()?.messages[1]?.text.toString()).toBe("mine");
  });
});

describe("variables", () => {
  it("are read from texts as they are typed, declared once they have a value", () => {
    vi.useFakeTimers();
    const { document, doc } = newDocument();
    expect(names(document)).toEqual(["name"]);
    edit(document.draft.getSnapshot()?.system, (text) => text.insert(0, "{{ city }} {{größe}} {{a b}} {{}}"));
    vi.advanceTimersByTime(SURVEY_EVERY_MS);
    expect(names(document)).toEqual(["city", "größe", "name"]);
    expect(find(document, "city").source).toBe("unset");
    expect(doc.getMap("variables").has("city")).toBe(false);
    edit(find(document, "city").value.ensure(), (text) => text.insert(0, "Zürich"));
    vi.advanceTimersByTime(SURVEY_EVERY_MS);
    expect(find(document, "city")).toMatchObject({ source: "value", effective: "Zürich" });
    expect(doc.getMap("variables").has("city")).toBe(true);
    edit(find(document, "größe").default.ensure(), (text) => text.insert(0, "10"));
    vi.advanceTimersByTime(SURVEY_EVERY_MS);
    expect(find(document, "größe")).toMatchObject({ source: "default", effective: "10" });
  });

  it("tell a field's listeners of others' typing and of its creation", () => {
    const { document, doc } = newDocument();
    const other = mirror(doc);
    let calls = 0;
    const field = find(document, "name").value;
    field.subscribe(() => {
      calls += 1;
    });
    const there = new LiveDocument({ doc: other, life: 1, chosenInputs: null, onInputsChosen: () => {} });
    edit(find(there, "name").value.ensure(), (text) => text.insert(0, "Ravi"));
    expect(field.read()).toBe("Ravi");
    expect(calls).toBeGreaterThan(0);
  });

  it("have a value in each input set, and one's own choice of set", () => {
    const { document } = newDocument();
    expect(document.fillValues({ name: "one", extra: { a: 1 } })).toBe(2);
    const second = document.addInputs("Case 2");
    expect(document.inputs.getSnapshot().chosen).toBe(second);
    expect(document.readValues()).toEqual({});
    document.fillValues({ name: "two" });
    document.chooseInputs("default");
    expect(document.readValues()).toEqual({ name: "one", extra: '{"a":1}' });
    document.removeInputs("default");
    expect(document.inputs.getSnapshot()).toMatchObject({ chosen: second, sets: [{ name: "Case 2" }] });
  });

  it("in 100,000 characters cost a keystroke nothing", () => {
    vi.useFakeTimers();
    const { document } = newDocument();
    const system = document.draft.getSnapshot()?.system;
    edit(system, (text) => text.insert(0, "word {{v}} ".repeat(9_100)));
    vi.advanceTimersByTime(SURVEY_EVERY_MS);
    const before = document.survey.readings;
    let told = 0;
    document.variables.subscribe(() => {
      told += 1;
    });
    const startedAt = performance.now();
    for (let key = 0; key < 100; key += 1) edit(system, (text) => text.insert(50_000, "x"));
    expect(performance.now() - startedAt).toBeLessThan(1_600);
    expect(document.survey.readings).toBe(before);
    vi.advanceTimersByTime(SURVEY_EVERY_MS);
    // One text was typed in, so one is read, once; nobody is told, since no name changed.
    expect(document.survey.readings).toBe(before + 1);
    expect(told).toBe(0);
  });
});

describe("the whole draft", () => {
  it("is restored as one step and brought back as one", () => {
    const { document } = newDocument();
    const kept = document.readContent();
    document.addMessage("assistant", undefined, "answer");
    document.setParameter("temperature", 0.2);
    edit(document.draft.getSnapshot()?.system, (text) => text.insert(0, "Changed. "));
    const changed = document.readContent();
    const undo = document.restore(kept);
    expect(document.readContent()).toMatchObject({ variants: [withoutOrder(kept)] });
    undo();
    expect(document.readContent().variants[0]).toMatchObject(withoutOrder(changed));
    undo();
    document.restore(kept);
    document.undo();
    expect(document.readContent().variants[0]).toMatchObject(withoutOrder(changed));
  });

  it("keeps parameters and says nothing when they stay", () => {
    const { document } = newDocument();
    document.setParameter("stop", "END\nSTOP");
    document.setParameter("temperature", 0.7);
    expect(document.draft.getSnapshot()?.parameters).toEqual({ stop: "END\nSTOP", temperature: 0.7 });
    document.setParameter("stop", undefined);
    expect(document.draft.getSnapshot()?.parameters).toEqual({ temperature: 0.7 });
  });
});

describe("changes of a text", () => {
  it("never cut a character in half", () => {
    // 😀 and 😁 share their first half, 😀 and 🐀 their second.
    expect(changeBetween("a😀b", "a😁b")).toEqual({ from: 1, to: 3, insert: "😁" });
    expect(changeBetween("😀", "\u{1FA00}")).toEqual({ from: 0, to: 2, insert: "\u{1FA00}" });
    for (const [before, after] of [
      ["a😀b", "ab"],
      ["ab", "a😀b"],
      ["😀😀", "😀"],
      ["", "😀"],
      ["same", "same"],
    ] as const) {
      const change = changeBetween(before, after);
      const result = change === null ? before : before.slice(0, change.from) + change.insert + before.slice(change.to);
      expect(result).toBe(after);
      expect(change?.insert.isWellFormed() ?? true).toBe(true);
    }
  });

  it("name variables as the server does", () => {
    expect(variablesIn("{{a}} {{ b.c }} {{d-e}} {{f_1}} {{g h}} {{{i}}} {{a}}")).toEqual([
      "a",
      "b.c",
      "d-e",
      "f_1",
      "i",
    ]);
  });
});

function newDocument(): { document: LiveDocument; doc: Y.Doc } {
  const doc = new Y.Doc();
  Y.applyUpdate(doc, new FakeRoom().rows[0] ?? new Uint8Array());
  return { doc, document: new LiveDocument({ doc, life: 1, chosenInputs: null, onInputsChosen: () => {} }) };
}

function mirror(doc: Y.Doc): Y.Doc {
  const other = new Y.Doc();
  Y.applyUpdate(other, Y.encodeStateAsUpdate(doc));
  other.on("update", (update: Uint8Array) => Y.applyUpdate(doc, update));
  return other;
}

function ids(document: LiveDocument): string[] {
  return document.draft.getSnapshot()?.messages.map((message) => message.id) ?? [];
}

function names(document: LiveDocument): string[] {
  return document.variables.getSnapshot().map((variable) => variable.name);
}

function find(document: LiveDocument, name: string): Variable {
  const variable = document.variables.getSnapshot().find((entry) => entry.name === name);
  if (variable === undefined) throw new Error(`no variable ${name}`);
  return variable;
}

function edit(text: Y.Text | undefined, change: (text: Y.Text) => void): void {
  if (text === undefined) throw new Error("no text");
  text.doc?.transact(() => change(text), EDIT);
}

/** Restoring gives messages that were deleted their content back, not their ids' neighbours. */
function withoutOrder(content: ReturnType<LiveDocument["readContent"]>) {
  const variant = content.variants[0];
  if (variant === undefined) throw new Error("no variant");
  return { model: variant.model, parameters: variant.parameters, system: variant.system, messages: variant.messages };
}
