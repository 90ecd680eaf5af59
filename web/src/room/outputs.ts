//! The outputs that this page watches: shared by all who hold one, kept a while after, asked for again from their
//! cursors when the line comes back.

import type { ClientFrame, ServerFrame } from "../protocol/frames.ts";
import type { RunSummary } from "../protocol/shapes.ts";
import { LiveOutput } from "./output.ts";

/** Outputs that nobody holds are kept, up to this many, so that going back to one shows it at once. */
const KEPT_MAX = 8;
const WATCHED_MAX = 8;
/** A gap is asked for again at most this often. */
const WATCH_AGAIN_MS = 1_000;

interface Held {
  readonly output: LiveOutput;
  holders: number;
  watched: boolean;
  askedAtMs: number;
}

type OutputFrame = Extract<ServerFrame, { type: "records" | "rewind" | "end" }>;

export class Outputs {
  private readonly held = new Map<string, Held>();
  private readonly send: (frame: ClientFrame) => boolean;
  private watchedMax = WATCHED_MAX;

  constructor(send: (frame: ClientFrame) => boolean) {
    this.send = send;
  }

  hold(run: string, summary: RunSummary | undefined): LiveOutput {
    const known = this.held.get(run);
    const entry = known ?? {
      output: new LiveOutput(run, () => this.letGo(run)),
      holders: 0,
      watched: false,
      askedAtMs: 0,
    };
    this.held.delete(run);
    this.held.set(run, entry);
    entry.holders += 1;
    if (summary?.seams !== undefined) entry.output.tellSeams(summary.seams);
    this.watchMore();
    return entry.output;
  }

  find(run: string): LiveOutput | null {
    return this.held.get(run)?.output ?? null;
  }

  frame(frame: OutputFrame): void {
    const entry = this.held.get(frame.run);
    if (entry === undefined) return;
    const { output } = entry;
    const fit =
      frame.type === "records"
        ? output.records(frame)
        : frame.type === "rewind"
          ? output.rewind(frame.epoch, frame.offset)
          : output.end(frame.epoch, frame.offset);
    if (output.isEnded) {
      entry.watched = false;
      this.watchMore();
    } else if (fit === "gap" && Date.now() - entry.askedAtMs >= WATCH_AGAIN_MS) {
      this.watch(entry);
    }
  }

  lineLost(nowMs: number): void {
    for (const entry of this.held.values()) {
      if (entry.watched) entry.output.lineLost(nowMs);
      entry.watched = false;
      entry.askedAtMs = 0;
    }
  }

  lineBack(watchedMax: number): void {
    this.watchedMax = watchedMax;
    this.watchMore();
  }

  private letGo(run: string): void {
    const entry = this.held.get(run);
    if (entry === undefined || entry.holders === 0) return;
    entry.holders -= 1;
    if (entry.holders > 0) return;
    if (entry.watched) this.send({ type: "unwatch", run });
    entry.watched = false;
    this.forgetOldest();
    this.watchMore();
  }

  private forgetOldest(): void {
    const idle = [...this.held].filter(([, entry]) => entry.holders === 0);
    for (const [run] of idle.slice(0, Math.max(0, idle.length - KEPT_MAX))) this.held.delete(run);
  }

  private watchMore(): void {
    let room = this.watchedMax - [...this.held.values()].filter((entry) => entry.watched).length;
    // Newest first: what was asked for last is what somebody looks at.
    for (const entry of [...this.held.values()].reverse()) {
      if (room <= 0) return;
      if (entry.watched || entry.holders === 0 || entry.output.isEnded) continue;
      if (!this.watch(entry)) return;
      room -= 1;
    }
  }

  private watch(entry: Held): boolean {
    entry.askedAtMs = Date.now();
    entry.watched = this.send({ type: "watch", run: entry.output.run, ...entry.output.cursor });
    return entry.watched;
  }
}
