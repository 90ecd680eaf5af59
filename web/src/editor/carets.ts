//! Other people's carets and selections in one editor. Classes: `rc p-N` with a flag `rc-flag`, `rc-fresh` while the
//! flag shows, and `rs p-N` for selected text; N is the presence colour, 1 to 8.

import { type Extension, StateEffect } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, ViewPlugin, type ViewUpdate, WidgetType } from "@codemirror/view";
import type * as Y from "yjs";
import type { Presence, RemoteCaret } from "../room/api.ts";

/** How long a name shows after its caret moved. */
export const FLAG_SHOWN_MS = 1_500;

const redraw = StateEffect.define<null>();

class CaretWidget extends WidgetType {
  readonly caret: RemoteCaret;
  readonly isFresh: boolean;

  constructor(caret: RemoteCaret, isFresh: boolean) {
    super();
    this.caret = caret;
    this.isFresh = isFresh;
  }

  override eq(other: CaretWidget): boolean {
    const [a, b] = [this.caret, other.caret];
    return a.client === b.client && a.name === b.name && a.colour === b.colour && this.isFresh === other.isFresh;
  }

  override toDOM(): HTMLElement {
    const caret = document.createElement("span");
    caret.className = `rc p-${this.caret.colour}${this.isFresh ? " rc-fresh" : ""}`;
    caret.setAttribute("aria-hidden", "true");
    const flag = document.createElement("span");
    flag.className = "rc-flag";
    flag.textContent = this.caret.name;
    caret.append(flag);
    return caret;
  }

  override updateDOM(dom: HTMLElement): boolean {
    dom.className = `rc p-${this.caret.colour}${this.isFresh ? " rc-fresh" : ""}`;
    if (dom.firstChild) dom.firstChild.textContent = this.caret.name;
    return true;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

class Carets {
  decorations: DecorationSet;
  private readonly view: EditorView;
  private readonly text: Y.Text;
  private readonly presence: Presence;
  private readonly unsubscribe: () => void;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private isQueued = false;

  constructor(view: EditorView, text: Y.Text, presence: Presence) {
    this.view = view;
    this.text = text;
    this.presence = presence;
    this.decorations = this.draw(view.state.doc.length);
    this.unsubscribe = presence.onCarets(() => this.queue());
  }

  update(update: ViewUpdate): void {
    if (update.transactions.some((transaction) => transaction.effects.some((effect) => effect.is(redraw)))) {
      this.decorations = this.draw(update.state.doc.length);
    } else if (update.docChanged) {
      // Between two messages of their owner, carets move with the text around them.
      this.decorations = this.decorations.map(update.changes);
    }
  }

  destroy(): void {
    this.unsubscribe();
    if (this.timer !== null) clearTimeout(this.timer);
  }

  /** Presence may change inside an update of this view, where it may not be told to draw. */
  private queue(): void {
    if (this.isQueued) return;
    this.isQueued = true;
    queueMicrotask(() => {
      this.isQueued = false;
      if (this.view.dom.isConnected) this.view.dispatch({ effects: redraw.of(null) });
    });
  }

  private draw(length: number): DecorationSet {
    const now = Date.now();
    const ranges = [];
    let staleInMs = Number.POSITIVE_INFINITY;
    for (const caret of this.presence.caretsIn(this.text)) {
      const head = Math.min(caret.head, length);
      const anchor = Math.min(caret.anchor, length);
      const freshForMs = FLAG_SHOWN_MS - (now - caret.movedAtMs);
      if (freshForMs > 0) staleInMs = Math.min(staleInMs, freshForMs);
      if (anchor !== head) {
        const mark = Decoration.mark({ class: `rs p-${caret.colour}` });
        ranges.push(mark.range(Math.min(anchor, head), Math.max(anchor, head)));
      }
      const widget = new CaretWidget(caret, freshForMs > 0);
      ranges.push(Decoration.widget({ widget, side: head >= anchor ? -1 : 1 }).range(head));
    }
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = Number.isFinite(staleInMs) ? setTimeout(() => this.queue(), staleInMs) : null;
    return Decoration.set(ranges, true);
  }
}

export function remoteCarets(text: Y.Text, presence: Presence): Extension {
  return ViewPlugin.define((view) => new Carets(view, text, presence), { decorations: (carets) => carets.decorations });
}

/** Tells the room where one's own caret is, while the editor has the focus. */
export function ownCaret(text: Y.Text, field: string, presence: Presence): Extension {
  return EditorView.updateListener.of((update) => {
    if (!update.selectionSet && !update.docChanged && !update.focusChanged) return;
    if (!update.view.hasFocus) {
      if (update.focusChanged) presence.clearCaret(text);
      return;
    }
    const { anchor, head } = update.state.selection.main;
    presence.setCaret(text, anchor, head);
    if (update.focusChanged) presence.setFocus({ field });
  });
}
