//! The editor of one shared text. Its classes are CodeMirror's (`cm-editor`, `cm-content`, `cm-line`,
//! `cm-placeholder`, `cm-tooltip-autocomplete`) and those of `carets.ts` and `variables.ts`; the page styles them.

import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
import type { PromptEditor, PromptEditorOptions } from "./api.ts";
import { ownCaret, remoteCarets } from "./carets.ts";
import { promptKeys } from "./commands.ts";
import { wholeCharacters } from "./surrogates.ts";
import { variableMarks } from "./variables.ts";

/** Ready at once; completion follows when its chunk has come. */
export function mountPromptEditor(parent: HTMLElement, options: PromptEditorOptions): PromptEditor {
  const access = new Compartment();
  const completion = new Compartment();
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: options.text.toString(),
      extensions: [
        completion.of([]),
        access.of(accessOf(options.readOnly)),
        // Any other setting would count a carriage return and a line end as one, and the shared text does not.
        EditorState.lineSeparator.of("\n"),
        sharing(options),
        keymap.of([...yUndoManagerKeymap, ...promptKeys]),
        looks(options),
        onFirstFocus(() => loadCompletion(view, completion, options)),
      ],
    }),
  });
  return {
    dom: view.dom,
    focus: () => view.focus(),
    setReadOnly: (readOnly) => view.dispatch({ effects: access.reconfigure(accessOf(readOnly)) }),
    insert: (text) => {
      view.dispatch(view.state.replaceSelection(text), { userEvent: "input", scrollIntoView: true });
      view.focus();
    },
    destroy: () => {
      options.room.presence.clearCaret(options.text);
      view.destroy();
    },
  };
}

function sharing({ room, text, field }: PromptEditorOptions): Extension {
  const document = room.document.getSnapshot();
  return [
    wholeCharacters,
    yCollab(text, null, { undoManager: document.undoManager }),
    remoteCarets(text, room.presence),
    ownCaret(text, field, room.presence),
    variableMarks(document),
  ];
}

function looks(options: PromptEditorOptions): Extension {
  return [
    EditorView.lineWrapping,
    EditorView.contentAttributes.of({
      "aria-label": options.label,
      "aria-multiline": "true",
      spellcheck: "false",
      autocorrect: "off",
      autocapitalize: "off",
      translate: "no",
    }),
    options.placeholder === undefined ? [] : placeholder(options.placeholder),
  ];
}

function accessOf(readOnly: boolean): Extension {
  if (!readOnly) return [];
  return [
    EditorState.readOnly.of(true),
    EditorView.editable.of(false),
    // Still reachable, so that it can be read and copied by keyboard.
    EditorView.contentAttributes.of({ tabindex: "0", "aria-readonly": "true" }),
  ];
}

function onFirstFocus(load: () => void): Extension {
  let isAsked = false;
  return EditorView.focusChangeEffect.of((_state, focusing) => {
    if (focusing && !isAsked) {
      isAsked = true;
      load();
    }
    return null;
  });
}

function loadCompletion(view: EditorView, slot: Compartment, { room }: PromptEditorOptions): void {
  import("./completion.ts").then(
    ({ variableCompletion }) => {
      if (!view.dom.isConnected) return;
      view.dispatch({ effects: slot.reconfigure(variableCompletion(room.document.getSnapshot())) });
    },
    () => {
      // Without its chunk one types names in full.
    },
  );
}
