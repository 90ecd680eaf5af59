// @vitest-environment jsdom
//! The editor and the plain fields on shared texts.

import { EditorView } from "@codemirror/view";
import { afterEach, describe, expect, it, vi } from "vitest";
import * as Y from "yjs";
import type { RemoteCaret, Room } from "../room/api.ts";
import { LiveDocument } from "../room/document.ts";
import { EDIT } from "../room/schema.ts";
import { Store } from "../room/store.ts";
import { FakeRoom } from "../testing/FakeRoom.ts";
import { FLAG_SHOWN_MS } from "./carets.ts";
import { bindTextField } from "./field.ts";
import { mountPromptEditor } from "./prompt.ts";

const clean: (() => void)[] = [];

afterEach(() => {
  for (const undo of clean.splice(0)) undo();
  document.body.replaceChildren();
  vi.useRealTimers();
});

describe("a prompt editor", () => {
  it("writes what is typed and shows what others type", () => {
    const { view, text } = mount();
    view.dispatch({ changes: { from: 0, insert: "Hi. " }, userEvent: "input.type" });
    expect(text.toString()).toBe("Hi. Be brief.");
    text.doc?.transact(() => text.insert(4, "You: "));
    expect(view.state.doc.toString()).toBe("Hi. You: Be brief.");
  });

  it("takes whole characters where a change would cut one", () => {
    const { view, text } = mount();
    view.dispatch({ changes: { from: 0, insert: "😀" } });
    view.dispatch({ changes: { from: 1, to: 2, insert: "" } });
    expect(text.toString()).toBe("Be brief.");
    view.dispatch({ changes: { from: 0, insert: "a\ud83db\r\nc" } });
    expect(text.toString()).toBe("a\ufffdb\ncBe brief.");
    expect(view.state.doc.toString()).toBe(text.toString());
  });

  it("keeps in step with a text that holds carriage returns", () => {
    const { room, text } = newRoom();
    text.doc?.transact(() => text.insert(0, "a\r\nb\r\n"));
    const { view } = mount(room, text);
    view.dispatch({ changes: { from: view.state.doc.length, insert: "!" } });
    expect(text.toString()).toBe("a\r\nb\r\nBe brief.!");
  });

  it("undoes one's own edits only, through the room's one history", () => {
    const { view, text, room } = mount();
    view.dispatch({ changes: { from: 0, insert: "mine " } });
    text.doc?.transact(() => text.insert(0, "theirs "), "remote");
    room.document.getSnapshot().undo();
    expect(view.state.doc.toString()).toBe("theirs Be brief.");
  });

  it("colours variables, amber where they are unset", async () => {
    const { view, text, room } = mount();
    text.doc?.transact(() => text.insert(0, "{{city}} {{name}} "), EDIT);
    room.document.getSnapshot().fillValues({ name: "Ana" });
    await eventually(() => {
      const marks = [...view.dom.querySelectorAll(".var")].map((mark) => `${mark.textContent} ${mark.className}`);
      expect(marks).toEqual(["{{city}} var var-unset", "{{name}} var"]);
    });
  });

  it("shows others' carets with a name that goes after a while", async () => {
    const { view, carets, room } = mount();
    carets.push({ client: 2, name: "Ravi", colour: 2, anchor: 0, head: 2, movedAtMs: Date.now() });
    moved(room);
    await eventually(() => expect(view.dom.querySelector(".rc.p-2.rc-fresh .rc-flag")?.textContent).toBe("Ravi"));
    expect(view.dom.querySelector(".rs.p-2")?.textContent).toBe("Be");
    carets[0] = { client: 2, name: "Ravi", colour: 2, anchor: 0, head: 2, movedAtMs: Date.now() - FLAG_SHOWN_MS };
    moved(room);
    await eventually(() => expect(view.dom.querySelector(".rc.rc-fresh")).toBeNull());
    expect(view.dom.querySelector(".rc.p-2")).not.toBeNull();
  });

  it("deletes what a reader sees as one character, and joins lines", () => {
    const { view, text } = mount();
    view.dispatch({ changes: { from: 0, insert: "a👩‍💻\n" }, selection: { anchor: 7 } });
    press(view, "Backspace");
    expect(text.toString()).toBe("a👩‍💻Be brief.");
    press(view, "Backspace");
    expect(text.toString()).toBe("aBe brief.");
    press(view, "Delete");
    expect(text.toString()).toBe("ae brief.");
    press(view, "Enter");
    expect(text.toString()).toBe("a\ne brief.");
  });

  it("indents a caret and selected lines, and takes it back", () => {
    const { view, text } = mount();
    view.dispatch({ changes: { from: 0, insert: "one\ntwo\n" }, selection: { anchor: 0, head: 8 } });
    press(view, "Tab");
    expect(text.toString()).toBe("  one\n  two\nBe brief.");
    press(view, "Tab", { shiftKey: true });
    expect(text.toString()).toBe("one\ntwo\nBe brief.");
    view.dispatch({ selection: { anchor: 0 } });
    press(view, "Tab");
    expect(text.toString()).toBe("  one\ntwo\nBe brief.");
    press(view, "a", { ctrlKey: true });
    expect(view.state.selection.main.to).toBe(view.state.doc.length);
  });

  it("can be read and not changed by a viewer", () => {
    const { view, editor } = mount();
    editor.setReadOnly(true);
    expect(view.contentDOM.getAttribute("contenteditable")).toBe("false");
    expect(view.contentDOM.getAttribute("tabindex")).toBe("0");
    editor.setReadOnly(false);
    expect(view.contentDOM.getAttribute("contenteditable")).toBe("true");
  });
});

describe("a plain field", () => {
  it("writes the least change and creates its text on first use", () => {
    const { room, doc } = newRoom();
    const input = field("input");
    const source = value(room, "name");
    clean.push(bindTextField(input, source, room));
    expect(source.current()).toBeNull();
    enter(input, "Zürich 😀");
    expect(source.read()).toBe("Zürich 😀");
    const before = Y.encodeStateVector(doc);
    enter(input, "Zürich 😁");
    expect(Y.encodeStateAsUpdate(doc, before).length).toBeLessThan(60);
  });

  it("keeps the caret where it is in the text when others type before it", () => {
    const { room } = newRoom();
    const area = field("textarea");
    const source = value(room, "name");
    const text = source.ensure();
    text.insert(0, "one two");
    clean.push(bindTextField(area, source, room));
    area.focus();
    area.setSelectionRange(4, 7);
    text.insert(0, "zero ");
    expect(area.value).toBe("zero one two");
    expect([area.selectionStart, area.selectionEnd]).toEqual([9, 12]);
  });

  it("leaves what an input method composes alone until it is done", () => {
    const { room } = newRoom();
    const input = field("input");
    const source = value(room, "name");
    clean.push(bindTextField(input, source, room));
    input.dispatchEvent(new Event("compositionstart"));
    enter(input, "に");
    source.ensure().insert(0, "x");
    expect(input.value).toBe("に");
    input.value = "に";
    source.ensure().delete(0, 1);
    input.dispatchEvent(new Event("compositionend"));
    expect(source.read()).toBe("に");
  });

  it("undoes through the room", () => {
    const { room } = newRoom();
    const input = field("input");
    clean.push(bindTextField(input, room.document.getSnapshot().title, room));
    enter(input, "A title");
    input.dispatchEvent(new KeyboardEvent("keydown", { key: "z", ctrlKey: true, cancelable: true }));
    expect(input.value).toBe("");
    input.dispatchEvent(new KeyboardEvent("keydown", { key: "z", ctrlKey: true, shiftKey: true, cancelable: true }));
    expect(input.value).toBe("A title");
  });
});

const caretListeners = new WeakMap<Room, Set<() => void>>();

function newRoom() {
  const doc = new Y.Doc();
  Y.applyUpdate(doc, new FakeRoom().rows[0] ?? new Uint8Array());
  const live = new LiveDocument({ doc, life: 1, chosenInputs: null, onInputsChosen: () => {} });
  clean.push(() => live.destroy());
  const carets: RemoteCaret[] = [];
  const listeners = new Set<() => void>();
  const presence = {
    caretsIn: () => carets,
    onCarets: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    setCaret: () => {},
    clearCaret: () => {},
    setFocus: () => {},
  };
  const room = { document: new Store(live), presence } as unknown as Room;
  caretListeners.set(room, listeners);
  const text = live.draft.getSnapshot()?.system;
  if (text === undefined) throw new Error("the draft is not there");
  return { room, doc, text, carets };
}

function mount(room?: Room, text?: Y.Text) {
  const made = newRoom();
  const used = { room: room ?? made.room, text: text ?? made.text };
  const editor = mountPromptEditor(document.body, { ...used, field: "system", label: "System", readOnly: false });
  clean.unshift(() => editor.destroy());
  const view = EditorView.findFromDOM(editor.dom);
  if (view === null) throw new Error("no view");
  return { ...made, ...used, editor, view };
}

function eventually(check: () => void): Promise<void> {
  return vi.waitFor(check, { timeout: 5_000, interval: 10 });
}

function press(view: EditorView, key: string, modifiers: KeyboardEventInit = {}): void {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...modifiers });
  view.contentDOM.dispatchEvent(event);
}

function moved(room: Room): void {
  for (const listener of caretListeners.get(room) ?? []) listener();
}

function field<T extends "input" | "textarea">(tag: T): HTMLElementTagNameMap[T] {
  const element = document.createElement(tag);
  document.body.append(element);
  return element;
}

function value(room: Room, name: string) {
  const found = room.document
    .getSnapshot()
    .variables.getSnapshot()
    .find((variable) => variable.name === name);
  if (found === undefined) throw new Error(`no variable ${name}`);
  return found.value;
}

function enter(element: HTMLInputElement, text: string): void {
  element.value = text;
  element.dispatchEvent(new Event("input"));
}
