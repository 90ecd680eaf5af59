//! All that a run would send, with values filled in, read again shortly after somebody typed.

import type { PromptDocument, Readable, Variable } from "../../room/api.ts";
import { variablePattern } from "../../room/survey.ts";

const SETTLE_MS = 400;

export function promptTexts(prompt: PromptDocument): Readable<readonly string[]> {
  let texts = readTexts(prompt);
  let timer: ReturnType<typeof setTimeout> | null = null;
  const listeners = new Set<() => void>();
  const update = () => {
    timer = null;
    texts = readTexts(prompt);
    for (const listener of [...listeners]) listener();
  };
  const schedule = () => {
    timer ??= setTimeout(update, SETTLE_MS);
  };
  let stop: (() => void) | null = null;
  return {
    getSnapshot: () => texts,
    subscribe(listener) {
      listeners.add(listener);
      stop ??= watch(prompt, schedule);
      return () => {
        listeners.delete(listener);
        if (listeners.size > 0) return;
        if (timer !== null) clearTimeout(timer);
        timer = null;
        stop?.();
        stop = null;
      };
    },
  };
}

function watch(prompt: PromptDocument, schedule: () => void): () => void {
  const doc = prompt.undoManager.doc;
  doc.on("update", schedule);
  const letGo = [prompt.draft.subscribe(schedule), prompt.variables.subscribe(schedule)];
  return () => {
    doc.off("update", schedule);
    for (const release of letGo) release();
  };
}

function readTexts(prompt: PromptDocument): readonly string[] {
  const draft = prompt.draft.getSnapshot();
  if (!draft) return [];
  const values = new Map(prompt.variables.getSnapshot().map((variable) => [variable.name, variable]));
  return [draft.system, ...draft.messages.map((message) => message.text)].map((text) => fill(text.toString(), values));
}

function fill(text: string, values: ReadonlyMap<string, Variable>): string {
  return text.replace(variablePattern(), (written, name: string) => {
    const variable = values.get(name);
    return variable && variable.source !== "unset" ? variable.effective : written;
  });
}
