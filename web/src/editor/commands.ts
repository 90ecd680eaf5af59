//! The keys of the prompt editor. CodeMirror's own commands bring a parser along that a prompt has no use for; what the
//! browser does well by itself (arrows, Home, End, words) is left to it.

import { type ChangeSpec, EditorSelection, findClusterBreak, type SelectionRange } from "@codemirror/state";
import type { Command, EditorView, KeyBinding } from "@codemirror/view";

const INDENT = "  ";

/** How far a deletion from a caret goes. */
type Edge = (view: EditorView, range: SelectionRange) => number;

/** Mod-Enter, Escape and Alt-arrows are the page's; after Escape, Tab leaves. */
export const promptKeys: readonly KeyBinding[] = [
  { key: "Enter", run: newLine, shift: newLine },
  { key: "Tab", run: indent, shift: outdent },
  { key: "Backspace", run: deleteTo(characterBefore) },
  { key: "Delete", run: deleteTo(characterAfter) },
  { key: "Mod-Backspace", mac: "Alt-Backspace", run: deleteTo((view, range) => view.moveByGroup(range, false).head) },
  { key: "Mod-Delete", mac: "Alt-Delete", run: deleteTo((view, range) => view.moveByGroup(range, true).head) },
  { mac: "Mod-Backspace", run: deleteTo((view, range) => view.moveToLineBoundary(range, false).head) },
  { mac: "Mod-Delete", run: deleteTo((view, range) => view.moveToLineBoundary(range, true).head) },
  // The browser knows only the lines that are drawn, so these three would stop short in a long prompt.
  { key: "Mod-a", run: selectAll },
  { key: "Mod-Home", mac: "Cmd-ArrowUp", run: toStart(false), shift: toStart(true) },
  { key: "Mod-End", mac: "Cmd-ArrowDown", run: toEnd(false), shift: toEnd(true) },
  { key: "PageUp", run: page(false, false), shift: page(false, true) },
  { key: "PageDown", run: page(true, false), shift: page(true, true) },
];

function newLine(view: EditorView): boolean {
  if (view.state.readOnly) return false;
  view.dispatch(view.state.replaceSelection("\n"), { userEvent: "input", scrollIntoView: true });
  return true;
}

function deleteTo(edge: Edge): Command {
  return (view) => {
    const { state } = view;
    if (state.readOnly) return false;
    const change = state.changeByRange((range) => {
      const end = range.empty ? edge(view, range) : range.to;
      const from = range.empty ? Math.min(range.head, end) : range.from;
      const to = range.empty ? Math.max(range.head, end) : range.to;
      return { changes: { from, to }, range: EditorSelection.cursor(from) };
    });
    if (!change.changes.empty) view.dispatch(change, { userEvent: "delete", scrollIntoView: true });
    return true;
  };
}

// In the order of the text and not of the screen, which differ where scripts of both directions meet.
function characterBefore({ state }: EditorView, { head }: SelectionRange): number {
  const line = state.doc.lineAt(head);
  if (head === line.from) return Math.max(0, head - 1);
  return line.from + findClusterBreak(line.text, head - line.from, false);
}

function characterAfter({ state }: EditorView, { head }: SelectionRange): number {
  const line = state.doc.lineAt(head);
  if (head === line.to) return Math.min(state.doc.length, head + 1);
  return line.from + findClusterBreak(line.text, head - line.from, true);
}

/** Two spaces at the caret, or before each line of a selection. */
function indent(view: EditorView): boolean {
  const { state } = view;
  if (state.readOnly) return false;
  const isEmpty = state.selection.ranges.every((range) => range.empty);
  const spec = isEmpty
    ? state.replaceSelection(INDENT)
    : { changes: selectedLines(state).map((from): ChangeSpec => ({ from, insert: INDENT })) };
  view.dispatch(spec, { userEvent: "input.indent", scrollIntoView: true });
  return true;
}

function outdent(view: EditorView): boolean {
  const { state } = view;
  if (state.readOnly) return false;
  const changes: ChangeSpec[] = [];
  for (const from of selectedLines(state)) {
    const spaces = /^(?: {1,2}|\t)/.exec(state.doc.lineAt(from).text)?.[0].length ?? 0;
    if (spaces > 0) changes.push({ from, to: from + spaces });
  }
  view.dispatch({ changes }, { userEvent: "delete.dedent", scrollIntoView: true });
  return true;
}

/** Where each line that a selection touches begins. */
function selectedLines(state: EditorView["state"]): number[] {
  const starts = new Set<number>();
  for (const range of state.selection.ranges) {
    for (let at = range.from; ; ) {
      const line = state.doc.lineAt(at);
      if (line.from < range.to || range.empty || line.from === range.from) starts.add(line.from);
      if (line.to >= range.to) break;
      at = line.to + 1;
    }
  }
  return [...starts];
}

function selectAll(view: EditorView): boolean {
  view.dispatch({ selection: { anchor: 0, head: view.state.doc.length }, userEvent: "select" });
  return true;
}

function toStart(extend: boolean): Command {
  return (view) => select(view, extend, () => 0);
}

function toEnd(extend: boolean): Command {
  return (view) => select(view, extend, () => view.state.doc.length);
}

function page(forward: boolean, extend: boolean): Command {
  return (view) => {
    const height = Math.max(view.defaultLineHeight, globalThis.innerHeight / 2);
    return select(view, extend, (range) => view.moveVertically(range, forward, height).head);
  };
}

function select(view: EditorView, extend: boolean, to: (range: SelectionRange) => number): boolean {
  const range = view.state.selection.main;
  const head = to(range);
  const selection = { anchor: extend ? range.anchor : head, head };
  view.dispatch({ selection, userEvent: "select", scrollIntoView: true });
  return true;
}
