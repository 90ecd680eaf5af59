//! Names of variables after `{{`: a chunk of its own, fetched when an editor first gets the focus.

import { autocompletion, type CompletionContext, type CompletionResult } from "@codemirror/autocomplete";
import type { Extension } from "@codemirror/state";
import type { EditorView } from "@codemirror/view";
import type { PromptDocument } from "../room/api.ts";
import { OPEN_VARIABLE, VARIABLE_NAME } from "../room/survey.ts";

export function variableCompletion(document: PromptDocument): Extension {
  return autocompletion({ override: [(context) => complete(context, document)], icons: false, closeOnBlur: true });
}

function complete(context: CompletionContext, document: PromptDocument): CompletionResult | null {
  const typed = context.matchBefore(OPEN_VARIABLE);
  if (typed === null) return null;
  const opening = /^\{\{\s*/.exec(typed.text)?.[0].length ?? 2;
  const from = typed.from + opening;
  const half = typed.text.slice(opening);
  const names = document.variables.getSnapshot().map((variable) => variable.name);
  const options = names.filter((name) => name !== half).map((label) => ({ label, apply: insertName }));
  return options.length === 0 ? null : { from, options, validFor: VARIABLE_NAME };
}

function insertName(view: EditorView, completion: { label: string }, from: number, to: number): void {
  const isClosed = view.state.sliceDoc(to, to + 2) === "}}";
  const insert = isClosed ? completion.label : `${completion.label}}}`;
  const end = from + completion.label.length + 2;
  view.dispatch({ changes: { from, to, insert }, selection: { anchor: end }, userEvent: "input.complete" });
}
