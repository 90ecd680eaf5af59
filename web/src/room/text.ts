//! Writing into a shared text so that everybody ends up with the same characters: no half of a surrogate pair is
//! ever inserted, left behind or cut off.

import type * as Y from "yjs";

/** The one stretch in which two texts differ, in whole code points. */
export interface TextChange {
  from: number;
  to: number;
  insert: string;
}

/** Null when they are equal. */
export function changeBetween(before: string, after: string): TextChange | null {
  if (before === after) return null;
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before.charCodeAt(start) === after.charCodeAt(start)) start += 1;
  if (splitsPair(before, start) || splitsPair(after, start)) start -= 1;
  let end = 0;
  while (
    end < shorter - start &&
    before.charCodeAt(before.length - 1 - end) === after.charCodeAt(after.length - 1 - end)
  ) {
    end += 1;
  }
  if (splitsPair(before, before.length - end) || splitsPair(after, after.length - end)) end -= 1;
  return { from: start, to: before.length - end, insert: after.slice(start, after.length - end) };
}

/** Makes the text say `next` with the least change; the caller opens the transaction. */
export function replaceText(text: Y.Text, next: string): void {
  const change = changeBetween(text.toString(), next.toWellFormed());
  if (change === null) return;
  if (change.to > change.from) text.delete(change.from, change.to - change.from);
  if (change.insert !== "") text.insert(change.from, change.insert);
}

/** Whether a cut at `index` would fall between the two halves of a pair. */
export function splitsPair(text: string, index: number): boolean {
  if (index <= 0 || index >= text.length) return false;
  return isHigh(text.charCodeAt(index - 1)) && isLow(text.charCodeAt(index));
}

function isHigh(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdbff;
}

function isLow(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
