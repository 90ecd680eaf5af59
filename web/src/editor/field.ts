//! A small shared text in a plain `<input>` or `<textarea>`: least changes out, caret kept when others' come in.

import type { Room, TextField } from "../room/api.ts";
import { EDIT } from "../room/schema.ts";
import { changeBetween, replaceText, type TextChange } from "../room/text.ts";

type Element = HTMLInputElement | HTMLTextAreaElement;

/** Keeps both the same; returns how to let go. */
export function bindTextField(element: Element, field: TextField, room: Room): () => void {
  let isComposing = false;
  let isWriting = false;
  const show = (): void => {
    // A value that is set from outside would break what an input method is composing.
    if (!isComposing && !isWriting) showText(element, field.read());
  };
  const writeTyped = (): void => {
    // Making the text tells its listeners of an empty one, while what was typed is still only here.
    isWriting = true;
    write(element, field);
    isWriting = false;
    show();
  };
  const listeners: { [type: string]: (event: Event) => void } = {
    input: writeTyped,
    compositionstart: () => {
      isComposing = true;
    },
    compositionend: () => {
      isComposing = false;
      writeTyped();
    },
    beforeinput: (event) => undoInstead(event as InputEvent, room),
    keydown: (event) => undoByKey(event as KeyboardEvent, room),
    focus: () => {
      room.presence.setFocus({ field: field.key });
      tellCaret(element, field, room);
    },
    blur: () => {
      const text = field.current();
      if (text !== null) room.presence.clearCaret(text);
    },
    select: () => tellCaret(element, field, room),
    keyup: () => tellCaret(element, field, room),
    pointerup: () => tellCaret(element, field, room),
  };
  element.value = field.read();
  for (const [type, listener] of Object.entries(listeners)) element.addEventListener(type, listener);
  const unsubscribe = field.subscribe(show);
  return () => {
    unsubscribe();
    for (const [type, listener] of Object.entries(listeners)) element.removeEventListener(type, listener);
  };
}

/** Where a caret is after a change made elsewhere. */
export function movedIndex(index: number, change: TextChange): number {
  if (index <= change.from) return index;
  if (index >= change.to) return index + change.insert.length - (change.to - change.from);
  return change.from + change.insert.length;
}

function write(element: Element, field: TextField): void {
  if (element.readOnly || element.value === field.read()) return;
  const text = field.ensure();
  text.doc?.transact(() => replaceText(text, element.value), EDIT);
}

function showText(element: Element, next: string): void {
  const change = changeBetween(element.value, next);
  if (change === null) return;
  const isActive = element.ownerDocument.activeElement === element;
  const start = element.selectionStart ?? 0;
  const end = element.selectionEnd ?? 0;
  element.value = next;
  if (isActive) element.setSelectionRange(movedIndex(start, change), movedIndex(end, change));
}

function undoInstead(event: InputEvent, room: Room): void {
  if (event.inputType !== "historyUndo" && event.inputType !== "historyRedo") return;
  event.preventDefault();
  const document = room.document.getSnapshot();
  if (event.inputType === "historyUndo") document.undo();
  else document.redo();
}

function undoByKey(event: KeyboardEvent, room: Room): void {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || event.isComposing) return;
  const key = event.key.toLowerCase();
  const isRedo = (key === "z" && event.shiftKey) || (key === "y" && !event.shiftKey);
  if (key !== "z" && !isRedo) return;
  event.preventDefault();
  const document = room.document.getSnapshot();
  if (isRedo) document.redo();
  else document.undo();
}

function tellCaret(element: Element, field: TextField, room: Room): void {
  const text = field.current();
  if (text === null) return;
  const start = element.selectionStart ?? 0;
  const end = element.selectionEnd ?? 0;
  const isBackward = element.selectionDirection === "backward";
  room.presence.setCaret(text, isBackward ? end : start, isBackward ? start : end);
}
