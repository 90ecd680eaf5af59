//! The editors that are on the page, by the key of their text: so that the focus can be put into one.

import type { PromptEditor } from "../../editor/api.ts";

const mounted = new Map<string, PromptEditor>();

export function registerEditor(field: string, editor: PromptEditor): () => void {
  mounted.set(field, editor);
  return () => {
    if (mounted.get(field) === editor) mounted.delete(field);
  };
}

export function focusField(field: string): void {
  mounted.get(field)?.focus();
}
