//! The prompts of the workspace as this page knows them: refreshed while one looks, changed at once when one acts.

import { changePrompt, deletePrompt, fetchPrompts, RefusedError } from "../../link/http.ts";
import type { Prompt, Visibility } from "../../protocol/resources.ts";
import type { Problem } from "../../protocol/shapes.ts";
import { signedOut } from "../account.ts";
import { cell } from "../readable.ts";
import { toast, toastRefusal } from "../toasts.ts";

const REFRESH_MS = 4_000;

export interface PromptList {
  /** Null until the first answer. Most recently changed first. */
  readonly prompts: readonly Prompt[] | null;
  readonly problem: Problem | null;
}

export const promptList = cell<PromptList>({ prompts: null, problem: null });

/** Deleted here, and still to be deleted at the server once Undo has passed. */
const leaving = new Set<string>();

/** Refreshes until the returned function is called. */
export function watchPrompts(): () => void {
  void refresh();
  const timer = setInterval(() => document.visibilityState === "visible" && void refresh(), REFRESH_MS);
  return () => clearInterval(timer);
}

export async function refresh(): Promise<void> {
  try {
    publish(await fetchPrompts());
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    if (error.problem.status === 401) return signedOut();
    promptList.set({ ...promptList.getSnapshot(), problem: error.problem });
  }
}

export async function renamePrompt(prompt: Prompt, title: string): Promise<void> {
  replace({ ...prompt, title });
  await settle(changePrompt(prompt.id, { title }), "The prompt could not be renamed");
}

export async function setVisibility(prompt: Prompt, visibility: Visibility): Promise<void> {
  replace({ ...prompt, visibility });
  await settle(changePrompt(prompt.id, { visibility }), "The visibility could not be changed");
}

/** Gone from the list at once; closed for others only when Undo has passed. */
export function removePrompt(prompt: Prompt): void {
  leaving.add(prompt.id);
  publish(promptList.getSnapshot().prompts ?? []);
  toast(`${prompt.title || "The prompt"} was deleted`, {
    undo: () => {
      leaving.delete(prompt.id);
      void refresh();
    },
    settle: () =>
      void settle(deletePrompt(prompt.id), "The prompt could not be deleted").then(() => leaving.delete(prompt.id)),
  });
}

async function settle(change: Promise<unknown>, otherwise: string): Promise<void> {
  try {
    await change;
  } catch (error) {
    toastRefusal(error, otherwise);
  }
  await refresh();
}

function replace(changed: Prompt): void {
  publish((promptList.getSnapshot().prompts ?? []).map((prompt) => (prompt.id === changed.id ? changed : prompt)));
}

function publish(all: readonly Prompt[]): void {
  const prompts = all
    .filter((prompt) => !leaving.has(prompt.id) && prompt.deleted_at_ms === undefined)
    .toSorted((one, other) => other.updated_at_ms - one.updated_at_ms);
  promptList.set({ prompts, problem: null });
}
