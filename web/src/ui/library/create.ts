//! Making a prompt and going there.

import { navigate } from "wouter/use-browser-location";
import { createPrompt, fetchPrompts, RefusedError } from "../../link/http.ts";
import type { NewPrompt, Prompt } from "../../protocol/resources.ts";
import { toastRefusal } from "../toasts.ts";
import { EXAMPLE } from "./example.ts";

/** An empty prompt, private until its owner opens it to the workspace. */
const BLANK: NewPrompt = { title: "Untitled prompt" };

export async function createAndOpen(prompt: NewPrompt = BLANK): Promise<void> {
  try {
    navigate(roomPath(await createPrompt(prompt)));
  } catch (error) {
    toastRefusal(error, "The prompt could not be made");
  }
}

/** Where the owner lands: in a runnable example as long as nothing was ever run, else in the library. */
export async function firstPage(): Promise<string> {
  try {
    const prompts = await fetchPrompts();
    const [only] = prompts;
    if (!only) return roomPath(await createPrompt(EXAMPLE));
    return prompts.length === 1 && !only.last_run ? roomPath(only) : "/";
  } catch (error) {
    if (error instanceof RefusedError) return "/";
    throw error;
  }
}

export function roomPath(prompt: Prompt): string {
  return `/p/${encodeURIComponent(prompt.slug || prompt.id)}`;
}
