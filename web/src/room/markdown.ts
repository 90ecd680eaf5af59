//! Cuts growing markdown at places where nothing that comes later can change what came before, so that each piece
//! is parsed and rendered once.

/** What the page does with the open piece's text node. */
export type MarkdownStep =
  /** More of the open piece. */
  | { readonly kind: "append"; readonly text: string }
  /** The open piece is whole: `source` is all that was appended since the last one. Render it, then open a new one. */
  | { readonly kind: "finish"; readonly source: string };

type Open =
  | { kind: "nothing" }
  /** A paragraph, quote or table: a blank line ends it. */
  | { kind: "flow" }
  /** A line at the margin that follows a blank one ends it, unless that is an item again. */
  | { kind: "list"; blank: boolean }
  /** Only its closing mark ends it. */
  | { kind: "fence"; mark: string; inList: boolean };

const FENCE = /^\s*(`{3,}|~{3,})/;
const ITEM = /^ {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)/;
const HEADING = /^ {0,3}#{1,6}(?:\s|$)/;
const RULE = /^ {0,3}(?:(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,})$/;

/** By this many characters it is certain whether a line is a list's item. */
const ITEM_MARK_CHARACTERS_MAX = 12;

/** Each character is looked at a fixed number of times: the cost is that of the new text alone. */
export class MarkdownBlocks {
  private open: Open = { kind: "nothing" };
  private source: string[] = [];
  private line = "";
  /** Whether the line is kept back until it is known to which piece it belongs. */
  private held = false;

  push(text: string): MarkdownStep[] {
    const steps: MarkdownStep[] = [];
    let from = 0;
    while (from < text.length) {
      const end = text.indexOf("\n", from);
      const to = end === -1 ? text.length : end + 1;
      this.take(text.slice(from, to), end !== -1, steps);
      from = to;
    }
    return steps;
  }

  /** No more text will come. */
  end(): MarkdownStep[] {
    const steps: MarkdownStep[] = [];
    if (this.held && this.line !== "") this.release(steps);
    this.line = "";
    this.held = false;
    this.finish(steps);
    return steps;
  }

  private take(piece: string, ended: boolean, steps: MarkdownStep[]): void {
    this.line += piece;
    if (!this.held) this.append(piece, steps);
    else if (ended || isDecided(this.line)) this.release(steps);
    if (!ended) return;
    this.endLine(this.line.slice(0, -1), steps);
    this.line = "";
    this.held = this.open.kind === "list" && this.open.blank;
  }

  private release(steps: MarkdownStep[]): void {
    this.held = false;
    if (endsList(this.line)) this.finish(steps);
    this.append(this.line, steps);
  }

  private endLine(line: string, steps: MarkdownStep[]): void {
    const open = this.open;
    const isBlank = line.trim() === "";
    switch (open.kind) {
      case "nothing":
      case "flow":
        if (!isBlank) this.readLine(line, steps);
        else if (open.kind === "flow") this.finish(steps);
        return;
      case "list": {
        const mark = FENCE.exec(line)?.[1];
        this.open = mark === undefined ? { kind: "list", blank: isBlank } : { kind: "fence", mark, inList: true };
        return;
      }
      case "fence":
        if (!closes(line, open.mark)) return;
        if (open.inList) this.open = { kind: "list", blank: false };
        else this.finish(steps);
        return;
      default:
        open satisfies never;
    }
  }

  private readLine(line: string, steps: MarkdownStep[]): void {
    const mark = FENCE.exec(line)?.[1];
    if (mark !== undefined) this.open = { kind: "fence", mark, inList: false };
    else if (HEADING.test(line) || (RULE.test(line) && this.open.kind === "nothing")) this.finish(steps);
    else if (ITEM.test(line) && !RULE.test(line)) this.open = { kind: "list", blank: false };
    else this.open = { kind: "flow" };
  }

  private append(text: string, steps: MarkdownStep[]): void {
    this.source.push(text);
    steps.push({ kind: "append", text });
  }

  private finish(steps: MarkdownStep[]): void {
    this.open = { kind: "nothing" };
    if (this.source.length === 0) return;
    steps.push({ kind: "finish", source: this.source.join("") });
    this.source = [];
  }
}

function isDecided(line: string): boolean {
  if (line.length >= ITEM_MARK_CHARACTERS_MAX) return true;
  return /^\s+\S/.test(line) || /^\S+\s/.test(line) || /^[^\s\-*+\d]/.test(line);
}

function endsList(line: string): boolean {
  return line.trim() !== "" && !/^\s/.test(line) && !ITEM.test(line);
}

function closes(line: string, mark: string): boolean {
  const text = line.trim();
  return text.length >= mark.length && text === (mark[0] ?? "").repeat(text.length);
}
