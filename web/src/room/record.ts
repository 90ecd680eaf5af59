//! A run's output as this page has it: blocks of text, and where each byte of the server's count lies in them.

import type { OutputRecord } from "../protocol/frames.ts";
import type { BlockKind } from "../protocol/shapes.ts";
import type { OutputBlock } from "./api.ts";
import { indexAfterBytes } from "./utf8.ts";

/** Between two marks lies one block's text, so finding a byte costs at most this much reading. */
const MARK_EVERY_BYTES = 1_024;

const utf8 = new TextDecoder();

interface Block {
  readonly kind: BlockKind;
  /** Joined when somebody asks for the whole. */
  pieces: string[];
  length: number;
}

interface Mark {
  readonly offset: number;
  readonly block: number;
  readonly index: number;
}

export interface Place {
  readonly block: number;
  readonly index: number;
}

export class OutputRecordLog {
  private readonly blocks = new Map<number, Block>();
  private marks: Mark[] = [];
  private end = 0;

  /** Bytes held, by the server's count. */
  get offset(): number {
    return this.end;
  }

  list(): OutputBlock[] {
    return [...this.blocks].map(([block, { kind }]) => ({ block, kind }));
  }

  has(block: number): boolean {
    return this.blocks.has(block);
  }

  length(block: number): number {
    return this.blocks.get(block)?.length ?? 0;
  }

  text(block: number): string {
    const found = this.blocks.get(block);
    if (found === undefined) return "";
    if (found.pieces.length > 1) found.pieces = [found.pieces.join("")];
    return found.pieces[0] ?? "";
  }

  /** Returns the new text. */
  append({ block, kind, bytes }: OutputRecord): string {
    const text = utf8.decode(bytes);
    let found = this.blocks.get(block);
    if (found === undefined) {
      found = { kind, pieces: [], length: 0 };
      this.blocks.set(block, found);
    }
    const last = this.marks.at(-1);
    if (last === undefined || last.block !== block || this.end - last.offset >= MARK_EVERY_BYTES) {
      this.marks.push({ offset: this.end, block, index: found.length });
    }
    found.pieces.push(text);
    found.length += text.length;
    this.end += bytes.length;
    return text;
  }

  /** Where a byte lies; null when it is not here yet. */
  locate(offset: number): Place | null {
    if (offset > this.end) return null;
    const at = this.markBefore(offset);
    const mark = this.marks[at];
    if (mark === undefined) return null;
    return { block: mark.block, index: indexAfterBytes(this.text(mark.block), mark.index, offset - mark.offset) };
  }

  /** Takes everything from `offset` on back; returns what each block lost. */
  withdraw(offset: number): { place: Place; lost: { block: number; length: number; text: string }[] } | null {
    if (offset >= this.end) return null;
    const at = this.markBefore(offset);
    const place = this.locate(offset) ?? { block: 0, index: 0 };
    const keep = new Map<number, number>([[place.block, place.index]]);
    for (const mark of this.marks.slice(at + 1)) {
      if (!keep.has(mark.block)) keep.set(mark.block, mark.index);
    }
    const lost: { block: number; length: number; text: string }[] = [];
    for (const [block, length] of keep) {
      const found = this.blocks.get(block);
      const text = this.text(block);
      if (found === undefined || length >= text.length) continue;
      lost.push({ block, length, text: text.slice(length) });
      found.pieces = [text.slice(0, length)];
      found.length = length;
      if (length === 0) this.blocks.delete(block);
    }
    this.marks = this.marks.slice(0, at + 1);
    if (this.marks.at(-1)?.offset === offset) this.marks.pop();
    this.end = offset;
    return { place, lost };
  }

  /** The last mark at or before a byte. */
  private markBefore(offset: number): number {
    let low = 0;
    let high = this.marks.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.marks[middle]?.offset ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
