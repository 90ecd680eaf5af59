//! Places in an ordered map: a key between two neighbours, so that moving something never touches its content.

import { generateKeyBetween, generateNKeysBetween } from "jittered-fractional-indexing";
import type { Ordered } from "./schema.ts";

/**
 * A key that sorts before `before`, or last when null. Where the neighbours' keys leave no room (equal, or not ours)
 * all of them get new ones; the caller opens the transaction.
 */
export function orderBefore(entries: readonly Ordered[], before: string | null): string {
  const found = before === null ? -1 : entries.findIndex((entry) => entry.id === before);
  const at = found === -1 ? entries.length : found;
  try {
    return generateKeyBetween(entries[at - 1]?.order ?? null, entries[at]?.order ?? null);
  } catch {
    return respread(entries, at);
  }
}

/** `count` keys in order, for something that is built anew. */
export function newOrders(count: number): string[] {
  return generateNKeysBetween(null, null, count);
}

function respread(entries: readonly Ordered[], at: number): string {
  const orders = newOrders(entries.length + 1);
  const own = orders.splice(at, 1)[0] ?? "a0";
  entries.forEach((entry, index) => {
    entry.map.set("order", orders[index]);
  });
  return own;
}
