//! What screen readers hear: one polite line at most every ten seconds, errors at once and once.

import { cell } from "./readable.ts";

const POLITE_GAP_MS = 10_000;

export const politeLine = cell("");
export const urgentLine = cell("");

let lastAtMs = 0;
let waiting: ReturnType<typeof setTimeout> | null = null;
let newest = "";

/** Of several lines within ten seconds only the newest is said. */
export function announce(line: string): void {
  newest = line;
  if (waiting !== null) return;
  const delayMs = Math.max(0, lastAtMs + POLITE_GAP_MS - Date.now());
  waiting = setTimeout(() => {
    waiting = null;
    lastAtMs = Date.now();
    politeLine.set(newest);
  }, delayMs);
}

export function announceError(line: string): void {
  urgentLine.set(line);
}
