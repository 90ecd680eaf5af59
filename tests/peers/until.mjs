// Waiting for a condition, which is all that a test may wait for.
import { setTimeout as pause } from 'node:timers/promises';

const PATIENCE_MS = 30_000;
const BETWEEN_LOOKS_MS = 10;

/** Looks again and again until `look` gives something true, and gives that. */
export async function until(what, look, patienceMs = PATIENCE_MS) {
  const end = performance.now() + patienceMs;
  for (;;) {
    const found = await look();
    if (found) {
      return found;
    }
    if (performance.now() > end) {
      throw new Error(`waited ${patienceMs} ms in vain for ${what}`);
    }
    await pause(BETWEEN_LOOKS_MS);
  }
}
