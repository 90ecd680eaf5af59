//! What the screens mount: the prompt editor, and a small text bound to a plain input.

import type * as Y from "yjs";
import type { Room } from "../room/api.ts";

export interface PromptEditorOptions {
  readonly room: Room;
  readonly text: Y.Text;
  /** Where the caret is, for presence: `system`, `message:<id>`. */
  readonly field: string;
  readonly label: string;
  readonly placeholder?: string;
  readonly readOnly: boolean;
}

/** One editor on the page. Class names to style: see `editor/prompt.ts`. */
export interface PromptEditor {
  readonly dom: HTMLElement;
  focus(): void;
  setReadOnly(readOnly: boolean): void;
  /** Puts text at the caret as if typed. */
  insert(text: string): void;
  destroy(): void;
}
