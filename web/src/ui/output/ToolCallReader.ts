//! Reads a tool call: one line of JSON names it, the rest are its arguments as the model wrote them.

import type { BlockReader } from "../../room/api.ts";
import { StreamedText } from "./StreamedText.ts";

export interface ToolCallHead {
  readonly id: string;
  readonly name: string;
}

export interface ToolCallReaderOptions {
  readonly readAll: () => string;
  readonly onGrow: () => void;
  readonly onHead: (head: ToolCallHead) => void;
}

export class ToolCallReader implements BlockReader {
  private readonly parent: HTMLElement;
  private readonly options: ToolCallReaderOptions;
  private body: StreamedText;
  private head = "";
  private headIsWhole = false;

  constructor(parent: HTMLElement, options: ToolCallReaderOptions) {
    this.parent = parent;
    this.options = options;
    this.body = this.newBody();
  }

  append(text: string): void {
    if (this.headIsWhole) {
      this.body.append(text);
      return;
    }
    this.head += text;
    const end = this.head.indexOf("\n");
    if (end === -1) return;
    this.headIsWhole = true;
    const head = parseCallHead(this.head);
    if (head) this.options.onHead(head);
    this.body.append(this.head.slice(end + 1));
  }

  truncate(length: number): void {
    const kept = this.options.readAll().slice(0, length);
    this.body.dispose();
    this.body = this.newBody();
    this.head = "";
    this.headIsWhole = false;
    this.append(kept);
  }

  end(): void {
    this.body.end();
    const args = argumentsOf(this.options.readAll());
    const pretty = prettyJson(args);
    if (pretty === null || pretty === args) return;
    this.body.dispose();
    this.body = this.newBody();
    this.body.append(pretty);
    this.body.end();
  }

  dispose(): void {
    this.body.dispose();
  }

  private newBody(): StreamedText {
    const { onGrow, readAll } = this.options;
    return new StreamedText(this.parent, { format: false, readAll: () => argumentsOf(readAll()), onGrow });
  }
}

export function parseCallHead(text: string): ToolCallHead | null {
  const end = text.indexOf("\n");
  if (end === -1) return null;
  try {
    const value = JSON.parse(text.slice(0, end)) as Partial<ToolCallHead>;
    return { id: String(value.id ?? ""), name: String(value.name ?? "a tool") };
  } catch {
    return null;
  }
}

function argumentsOf(text: string): string {
  const end = text.indexOf("\n");
  return end === -1 ? "" : text.slice(end + 1);
}

function prettyJson(text: string): string | null {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}
