//! One run's output as it arrives: the cursor, what was withdrawn, and readers who are told once per frame.

import type { RecordsFrame } from "../protocol/frames.ts";
import type { Seam } from "../protocol/shapes.ts";
import type { BlockReader, Output, OutputView, SeamMark } from "./api.ts";
import { OutputRecordLog } from "./record.ts";
import { Store } from "./store.ts";

/** How often the number of bytes is told. */
const BYTES_EVERY_MS = 250;
/** A hidden tab paints nothing: its readers are told this seldom. */
const HIDDEN_FLUSH_MS = 500;

/** Whether a frame fitted; `gap` means: watch again from the cursor. */
export type Fit = "fits" | "gap";

export interface RunCursor {
  readonly epoch: number;
  readonly offset: number;
}

export class LiveOutput implements Output {
  readonly run: string;
  readonly view = new Store<OutputView>({ phase: "waiting", blocks: [], bytes: 0, seams: [], resumed: null });

  private readonly log = new OutputRecordLog();
  private readonly readers = new Map<number, Set<PendingReader>>();
  private readonly onRelease: () => void;
  private epoch = 1;
  private ended = false;
  private frozen = false;
  private awaySinceMs: number | null = null;
  private told: readonly Seam[] = [];
  private seams: SeamMark[] = [];
  private flushing = false;
  private bytesTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(run: string, onRelease: () => void) {
    this.run = run;
    this.onRelease = onRelease;
  }

  get cursor(): RunCursor {
    return { epoch: this.epoch, offset: this.log.offset };
  }

  get isFrozen(): boolean {
    return this.frozen;
  }

  get isEnded(): boolean {
    return this.ended;
  }

  text(block: number): string {
    return this.log.text(block);
  }

  read(block: number, reader: BlockReader): () => void {
    const pending = new PendingReader(reader);
    const readers = this.readers.get(block) ?? new Set();
    this.readers.set(block, readers.add(pending));
    const text = this.log.text(block);
    if (text !== "") reader.append(text);
    if (this.ended) reader.end();
    return () => readers.delete(pending);
  }

  release(): void {
    this.onRelease();
  }

  records(frame: RecordsFrame): Fit {
    if (this.ended) return "fits";
    if (frame.epoch !== this.epoch || frame.offset !== this.log.offset) return this.misfit(frame);
    this.resume();
    let newBlock = false;
    for (const record of frame.records) {
      newBlock ||= !this.log.has(record.block);
      const text = this.log.append(record);
      for (const reader of this.readers.get(record.block) ?? []) reader.pieces.push(text);
    }
    if (this.view.getSnapshot().phase !== "streaming" || newBlock) {
      this.view.update((view) => ({ ...view, phase: "streaming", blocks: this.log.list(), bytes: this.log.offset }));
    } else {
      this.bytesTimer ??= setTimeout(() => this.tellBytes(), BYTES_EVERY_MS);
    }
    this.flushSoon();
    return "fits";
  }

  rewind(epoch: number, offset: number): Fit {
    if (this.ended) return "fits";
    if (epoch <= this.epoch) return "gap";
    this.flush();
    this.epoch = epoch;
    this.resume();
    // Nothing that is here was withdrawn: the bytes up to there follow in the new epoch.
    if (offset > this.log.offset) return "fits";
    const withdrawn = this.log.withdraw(offset);
    for (const { block, length } of withdrawn?.lost ?? []) {
      for (const reader of this.readers.get(block) ?? []) reader.truncate(length);
    }
    const place = withdrawn?.place ?? this.log.locate(offset) ?? { block: 0, index: 0 };
    this.seams.push({ epoch, ...place, withdrawn: withdrawn?.lost.map((l) => l.text).join("") ?? "", gapMs: null });
    this.view.update((view) => ({ ...view, blocks: this.log.list(), bytes: offset, seams: this.markSeams() }));
    return "fits";
  }

  end(epoch: number, offset: number): Fit {
    if (this.ended) return "fits";
    if (epoch !== this.epoch || offset !== this.log.offset) return "gap";
    this.resume();
    this.ended = true;
    this.frozen = false;
    this.flush();
    for (const readers of this.readers.values()) for (const reader of readers) reader.target.end();
    if (this.bytesTimer !== null) clearTimeout(this.bytesTimer);
    this.bytesTimer = null;
    this.view.update((view) => ({
      ...view,
      phase: "ended",
      blocks: this.log.list(),
      bytes: offset,
      seams: this.markSeams(),
    }));
    return "fits";
  }

  /** The line is down; what comes next is said to be resumed. */
  lineLost(nowMs: number): void {
    if (this.ended || this.awaySinceMs !== null) return;
    this.awaySinceMs = nowMs;
    if (this.view.getSnapshot().phase === "streaming") this.view.update((view) => ({ ...view, phase: "resuming" }));
  }

  /** Seams as the server tells them, also those from before this page looked. */
  tellSeams(seams: readonly Seam[]): void {
    if (seams.length === this.told.length) return;
    this.told = seams;
    this.view.update((view) => ({ ...view, seams: this.markSeams() }));
  }

  /** Readers hear nothing until the run has ended or `thaw`: one has pressed Stop. */
  freeze(): void {
    this.flush();
    this.frozen = !this.ended;
  }

  thaw(): void {
    this.frozen = false;
    this.flushSoon();
  }

  /** Records of an older epoch were withdrawn, and what is wholly in hand already is dropped, so that a second `watch` does no harm; all else is a gap. */
  private misfit(frame: RecordsFrame): Fit {
    if (frame.epoch < this.epoch) return "fits";
    const length = frame.records.reduce((sum, record) => sum + record.bytes.length, 0);
    return frame.epoch === this.epoch && frame.offset + length <= this.log.offset ? "fits" : "gap";
  }

  private resume(): void {
    const since = this.awaySinceMs;
    if (since === null) return;
    this.awaySinceMs = null;
    if (this.log.offset === 0) return;
    const place = this.log.locate(this.log.offset) ?? { block: 0, index: 0 };
    const now = Date.now();
    const resumed = { atBytes: this.log.offset, ...place, awayMs: now - since, resumedAtMs: now };
    this.view.update((view) => ({ ...view, phase: "streaming", resumed }));
  }

  private markSeams(): readonly SeamMark[] {
    const marks = this.seams.map((mark) => {
      const told = this.told.find((seam) => seam.epoch === mark.epoch);
      return told === undefined ? mark : { ...mark, gapMs: told.gap_ms };
    });
    for (const { epoch, offset, gap_ms } of this.told) {
      const place = this.log.locate(offset);
      if (place === null || marks.some((mark) => mark.epoch === epoch)) continue;
      marks.push({ epoch, ...place, withdrawn: "", gapMs: gap_ms });
    }
    return marks.sort((a, b) => a.epoch - b.epoch);
  }

  private tellBytes(): void {
    this.bytesTimer = null;
    const missing = this.told.length > this.view.getSnapshot().seams.length;
    this.view.update((view) => ({ ...view, bytes: this.log.offset, ...(missing ? { seams: this.markSeams() } : {}) }));
  }

  private flushSoon(): void {
    if (this.flushing || this.frozen) return;
    this.flushing = true;
    nextFrame(() => {
      this.flushing = false;
      if (!this.frozen) this.flush();
    });
  }

  private flush(): void {
    for (const readers of this.readers.values()) for (const reader of readers) reader.flush();
  }
}

class PendingReader {
  readonly target: BlockReader;
  pieces: string[] = [];

  constructor(target: BlockReader) {
    this.target = target;
  }

  flush(): void {
    if (this.pieces.length === 0) return;
    const text = this.pieces.join("");
    this.pieces = [];
    this.target.append(text);
  }

  truncate(length: number): void {
    this.flush();
    this.target.truncate(length);
  }
}

function nextFrame(callback: () => void): void {
  const hidden = globalThis.document?.visibilityState !== "visible";
  if (hidden || globalThis.requestAnimationFrame === undefined)
    setTimeout(callback, hidden && globalThis.document ? HIDDEN_FLUSH_MS : 0);
  else requestAnimationFrame(callback);
}
