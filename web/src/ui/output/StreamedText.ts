//! Puts growing text on the page at the same cost per token however long it is: one append to one text node a frame;
//! a finished piece of markdown is rendered once, in place; pieces that are far away are not laid out.

import type { BlockReader, SeamMark } from "../../room/api.ts";
import { MarkdownBlocks } from "../../room/markdown.ts";
import { duration, plural } from "../units.ts";
import { formatSoon } from "./formatting.ts";

/** A text node longer than this is closed at the next line end, because laying it out costs by its length. */
const NODE_CHARACTERS_MAX = 4_000;
/** A text without line ends is cut here all the same. */
const NODE_CHARACTERS_FORCED = 32_000;
/** How much text is laid out, or skipped, together. */
const PIECE_CHARACTERS = 12_000;
const BULK_CHARACTERS = 40_000;
/** About 75 characters to a line of 23 px. */
const PIXELS_PER_CHARACTER = 0.3;

export interface StreamedTextOptions {
  /** Whether finished markdown is rendered. */
  readonly format: boolean;
  /** All the text so far, for building it again after something was withdrawn. */
  readonly readAll: () => string;
  /** After the text grew. */
  readonly onGrow: () => void;
}

export class StreamedText implements BlockReader {
  private readonly root: HTMLElement;
  private readonly options: StreamedTextOptions;
  private readonly caret = document.createElement("span");
  private blocks = new MarkdownBlocks();
  private piece: HTMLElement | null = null;
  private pieceLength = 0;
  /** The elements of the markdown block that is still open, and its newest text node. */
  private tail: HTMLElement[] = [];
  private node: Text | null = null;
  private length = 0;
  private seams: readonly SeamMark[] = [];
  private caretOn = false;
  private ended = false;
  /** A long text at once is not measured piece by piece: that would lay all of it out. */
  private isBulk = false;

  constructor(parent: HTMLElement, options: StreamedTextOptions) {
    this.root = document.createElement("div");
    this.options = options;
    this.caret.className = "caret";
    parent.append(this.root);
  }

  append(text: string): void {
    this.isBulk = text.length > BULK_CHARACTERS;
    const start = this.length;
    const end = start + text.length;
    this.length = end;
    let from = start;
    for (const seam of this.seams) {
      if (seam.index < from || seam.index >= end) continue;
      this.push(text.slice(from - start, seam.index - start));
      this.insertSeam(seam);
      from = seam.index;
    }
    this.push(text.slice(from - start));
    this.placeCaret();
    this.options.onGrow();
  }

  truncate(length: number): void {
    this.rebuild(this.options.readAll().slice(0, length));
  }

  end(): void {
    this.ended = true;
    this.caret.remove();
    this.finishAll();
    this.options.onGrow();
  }

  /** Seams are few and late: when one comes, the text is built again with it. */
  setSeams(seams: readonly SeamMark[]): void {
    if (seams.length === this.seams.length && seams.every((seam) => this.isShown(seam))) return;
    const ended = this.ended;
    const soFar = this.options.readAll().slice(0, this.length);
    this.seams = seams.toSorted((one, other) => one.index - other.index);
    if (soFar === "") return;
    this.rebuild(soFar);
    if (ended) this.end();
  }

  setCaret(on: boolean): void {
    this.caretOn = on;
    if (on) this.placeCaret();
    else this.caret.remove();
  }

  /** A line at the place where the text is now, for a while; returns how to take it away at once. */
  showMark(words: string, shownMs: number): () => void {
    const mark = document.createElement("span");
    mark.className = "resume";
    mark.textContent = words;
    const holder = this.openTail();
    this.node = document.createTextNode("");
    holder.append(mark, this.node);
    const timer = setTimeout(() => mark.remove(), shownMs);
    return () => {
      clearTimeout(timer);
      mark.remove();
    };
  }

  dispose(): void {
    this.root.remove();
  }

  private isShown({ epoch, index, gapMs }: SeamMark): boolean {
    return this.seams.some((known) => known.epoch === epoch && known.index === index && known.gapMs === gapMs);
  }

  private push(text: string): void {
    if (text === "") return;
    if (!this.options.format) {
      this.paint(text);
      return;
    }
    for (const step of this.blocks.push(text)) {
      if (step.kind === "append") this.paint(step.text);
      else this.finish(step.source);
    }
  }

  private paint(text: string): void {
    // Between markdown blocks line ends show nothing; of a raw text they are part.
    let rest = this.options.format && this.tail.length === 0 ? text.replace(/^[\r\n]+/, "") : text;
    while (rest !== "") {
      const node = this.openNode();
      const room = cutAt(node.length, rest);
      node.appendData(rest.slice(0, room));
      this.pieceLength += room;
      rest = rest.slice(room);
      if (rest !== "" || isFull(node)) this.node = null;
    }
  }

  private openNode(): Text {
    if (this.node) return this.node;
    const holder = this.tail.length === 0 ? this.openTail() : this.addTail();
    this.node = document.createTextNode("");
    holder.append(this.node);
    return this.node;
  }

  private openTail(): HTMLElement {
    return this.tail.at(-1) ?? this.addTail();
  }

  private addTail(): HTMLElement {
    if (!this.piece || this.pieceLength > PIECE_CHARACTERS) this.openPiece();
    const holder = document.createElement("div");
    holder.className = "plain";
    this.piece?.append(holder);
    this.tail.push(holder);
    return holder;
  }

  private openPiece(): void {
    this.closePiece();
    this.piece = document.createElement("div");
    this.piece.className = "piece open";
    this.pieceLength = 0;
    this.root.append(this.piece);
  }

  /** Its height is told before it may be skipped, so that nothing moves when it is. */
  private closePiece(): void {
    if (!this.piece) return;
    const height = this.isBulk ? this.pieceLength * PIXELS_PER_CHARACTER : this.piece.offsetHeight;
    this.piece.style.containIntrinsicBlockSize = `auto ${Math.round(height)}px`;
    this.piece.classList.remove("open");
  }

  private finish(source: string): void {
    const tail = this.tail;
    this.tail = [];
    this.node = null;
    const [first] = tail;
    if (!first) return;
    formatSoon(source, first, (formatted) => {
      first.before(formatted);
      for (const holder of tail) holder.remove();
      this.options.onGrow();
    });
  }

  private finishAll(): void {
    if (this.options.format) {
      for (const step of this.blocks.end()) {
        if (step.kind === "append") this.paint(step.text);
        else this.finish(step.source);
      }
    }
    this.blocks = new MarkdownBlocks();
    this.tail = [];
    this.node = null;
  }

  /** A seam stands between two pieces of text for good, so the markdown before it is closed. */
  private insertSeam(seam: SeamMark): void {
    this.finishAll();
    const line = document.createElement("div");
    line.className = "seam";
    line.textContent = seamWords(seam);
    if (!this.piece) this.openPiece();
    this.piece?.append(line);
  }

  private placeCaret(): void {
    if (!this.caretOn || this.ended) return;
    const holder = this.tail.at(-1);
    if (holder) holder.append(this.caret);
    else this.caret.remove();
  }

  private rebuild(text: string): void {
    this.root.replaceChildren();
    this.blocks = new MarkdownBlocks();
    this.piece = null;
    this.pieceLength = 0;
    this.tail = [];
    this.node = null;
    this.length = 0;
    this.ended = false;
    if (text !== "") this.append(text);
  }
}

function seamWords(seam: SeamMark): string {
  const lost = seam.withdrawn === "" ? "" : ` · ${plural(seam.withdrawn.length, "character")} written again`;
  const gap = seam.gapMs === null ? "" : ` ${duration(seam.gapMs)}`;
  return `interrupted${gap} · continued by attempt ${seam.epoch}${lost}`;
}

/** How much of `text` still belongs into a node that has `length` characters. */
function cutAt(length: number, text: string): number {
  if (length + text.length <= NODE_CHARACTERS_MAX) return text.length;
  const from = Math.max(0, NODE_CHARACTERS_MAX - length);
  const lineEnd = text.indexOf("\n", from);
  if (lineEnd !== -1) return lineEnd + 1;
  const forced = Math.max(1, NODE_CHARACTERS_FORCED - length);
  return text.length <= forced ? text.length : beforeSurrogate(text, forced);
}

function isFull(node: Text): boolean {
  return node.length >= NODE_CHARACTERS_MAX && node.data.endsWith("\n");
}

/** Never between the halves of a character. */
function beforeSurrogate(text: string, at: number): number {
  const code = text.charCodeAt(at - 1);
  return code >= 0xd800 && code < 0xdc00 ? at + 1 : at;
}
