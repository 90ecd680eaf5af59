//! Short notices at the foot of the page; most offer to take back what was just done.

import { RefusedError } from "../link/http.ts";
import type { Problem } from "../protocol/shapes.ts";
import { cell } from "./readable.ts";

const SHOWN_MS = 10_000;
const PLAIN_SHOWN_MS = 4_000;
const AT_ONCE_MAX = 3;

export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly undo?: () => void;
  /** Runs when the toast goes without Undo: what was put off until then. */
  readonly settle?: () => void;
}

export const toasts = cell<readonly Toast[]>([]);

let nextId = 1;
const timers = new Map<number, ReturnType<typeof setTimeout>>();

export function toast(text: string, options: Pick<Toast, "undo" | "settle"> = {}): void {
  const entry: Toast = { id: nextId++, text, ...options };
  const all = [...toasts.getSnapshot(), entry];
  while (all.length > AT_ONCE_MAX) finish(all.shift());
  toasts.set(all);
  timers.set(
    entry.id,
    setTimeout(() => dismiss(entry.id), entry.undo ? SHOWN_MS : PLAIN_SHOWN_MS),
  );
}

/** Says what was refused, in the words of whoever refused it. */
export function toastRefusal(error: unknown, otherwise: string): void {
  toast(error instanceof RefusedError ? lineOf(error.problem) : otherwise);
}

function lineOf({ title, next }: Problem): string {
  return next ? `${title}. ${next}` : title;
}

export function dismiss(id: number): void {
  finish(remove(id));
}

export function takeBack(id: number): void {
  remove(id)?.undo?.();
}

function remove(id: number): Toast | undefined {
  const found = toasts.getSnapshot().find((entry) => entry.id === id);
  toasts.set(toasts.getSnapshot().filter((entry) => entry.id !== id));
  return found;
}

function finish(entry: Toast | undefined): void {
  if (!entry) return;
  clearTimeout(timers.get(entry.id));
  timers.delete(entry.id);
  entry.settle?.();
}
