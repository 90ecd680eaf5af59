//! Adding a message and writing in it at once.

import type { PromptDocument } from "../../room/api.ts";
import { focusField } from "./editors.ts";

/** The roles take turns: after a user's message comes the assistant's. */
export function addMessageAndFocus(prompt: PromptDocument): void {
  const last = prompt.draft.getSnapshot()?.messages.at(-1);
  const id = prompt.addMessage(last?.role === "user" ? "assistant" : "user");
  requestAnimationFrame(() => focusField(`message:${id}`));
}
