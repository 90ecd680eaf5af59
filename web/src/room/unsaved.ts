//! One's own edits that are not durable yet, counted as a person would: a burst of typing is one edit.

import type * as Y from "yjs";
import type { Saved } from "./api.ts";

/** A pause longer than this begins a new edit. */
const BURST_PAUSE_MS = 1_000;
/** And so does going on for longer than this. */
const BURST_MAX_MS = 10_000;

interface Edit {
  readonly startedAtMs: number;
  lastAtMs: number;
  /** The frame of this socket that carries its last change; null while it was not sent. */
  frame: number | null;
}

/** In words: `offlineSinceMs` is null while the line is up. */
export function savedOf(edits: number, offlineSinceMs: number | null): Saved {
  if (edits === 0) return { kind: "saved" };
  return offlineSinceMs === null ? { kind: "saving", edits } : { kind: "offline", edits, sinceMs: offlineSinceMs };
}

export class Unsaved {
  private edits: Edit[] = [];
  /** From before the page was loaded: how many, and they are sent as one. */
  private carried = 0;
  private carriedFrame: number | null = null;
  /** Texts in which they were made; null when it is not known, after a reload. */
  private texts: Set<Y.Text> | null = new Set();

  get count(): number {
    return this.edits.length + this.carried;
  }

  /** Null: any text may hold some. */
  get touched(): ReadonlySet<Y.Text> | null {
    return this.texts;
  }

  carry(count: number): void {
    if (count <= 0) return;
    this.carried = count;
    this.texts = null;
  }

  note(nowMs: number, frame: number | null, texts: Iterable<Y.Text>): void {
    for (const text of texts) this.texts?.add(text);
    const last = this.edits.at(-1);
    if (last && nowMs - last.lastAtMs <= BURST_PAUSE_MS && nowMs - last.startedAtMs <= BURST_MAX_MS) {
      last.lastAtMs = nowMs;
      last.frame = frame;
      return;
    }
    this.edits.push({ startedAtMs: nowMs, lastAtMs: nowMs, frame });
  }

  /** A new socket counts its frames anew. */
  lineLost(): void {
    for (const edit of this.edits) edit.frame = null;
    this.carriedFrame = null;
  }

  /** One frame carries everything that was made so far. */
  sentIn(frame: number): void {
    for (const edit of this.edits) edit.frame = frame;
    this.carriedFrame = frame;
  }

  /** The first `frames` frames of this socket are durable. */
  settle(frames: number): void {
    this.edits = this.edits.filter((edit) => edit.frame === null || edit.frame > frames);
    if (this.carriedFrame !== null && this.carriedFrame <= frames) this.carried = 0;
    if (this.count === 0) this.texts = new Set();
  }
}
