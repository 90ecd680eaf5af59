//! How long to wait before the next try: full jitter, so that a fallen node's clients do not return as one.

export const RETRY_FIRST_MS = 100;
export const RETRY_MAX_MS = 10_000;

/** A random moment up to a ceiling that doubles with each failed try. */
export function retryDelayMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.floor(random() * ceiling);
}
