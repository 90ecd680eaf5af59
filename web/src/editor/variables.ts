//! Colours `{{name}}` in the visible part of an editor: class `var`, and `var-unset` where a run would have no value.

import { type Extension, StateEffect } from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  type EditorView,
  MatchDecorator,
  ViewPlugin,
  type ViewUpdate,
} from "@codemirror/view";
import type { PromptDocument } from "../room/api.ts";
import { variablePattern } from "../room/survey.ts";

const recolour = StateEffect.define<null>();

class VariableMarks {
  decorations: DecorationSet;
  private readonly view: EditorView;
  private readonly document: PromptDocument;
  private readonly matcher: MatchDecorator;
  private readonly unsubscribe: () => void;
  private unset: ReadonlySet<string>;
  private isQueued = false;

  constructor(view: EditorView, document: PromptDocument) {
    this.view = view;
    this.document = document;
    this.unset = this.readUnset();
    this.matcher = new MatchDecorator({
      regexp: variablePattern(),
      decoration: (match) => Decoration.mark({ class: this.unset.has(match[1] ?? "") ? "var var-unset" : "var" }),
    });
    this.decorations = this.matcher.createDeco(view);
    this.unsubscribe = document.variables.subscribe(() => this.queue());
  }

  update(update: ViewUpdate): void {
    const isRecoloured = update.transactions.some((transaction) => transaction.effects.some((e) => e.is(recolour)));
    this.decorations = isRecoloured
      ? this.matcher.createDeco(update.view)
      : this.matcher.updateDeco(update, this.decorations);
  }

  destroy(): void {
    this.unsubscribe();
  }

  private queue(): void {
    const unset = this.readUnset();
    if (unset.size === this.unset.size && [...unset].every((name) => this.unset.has(name))) return;
    this.unset = unset;
    if (this.isQueued) return;
    this.isQueued = true;
    queueMicrotask(() => {
      this.isQueued = false;
      if (this.view.dom.isConnected) this.view.dispatch({ effects: recolour.of(null) });
    });
  }

  private readUnset(): ReadonlySet<string> {
    const variables = this.document.variables.getSnapshot();
    return new Set(variables.filter((variable) => variable.source === "unset").map((variable) => variable.name));
  }
}

export function variableMarks(document: PromptDocument): Extension {
  return ViewPlugin.define((view) => new VariableMarks(view, document), { decorations: (marks) => marks.decorations });
}
