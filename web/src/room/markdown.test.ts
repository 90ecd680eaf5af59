//! Growing markdown is cut only where nothing that follows can change what came before.

import { marked } from "marked";
import { describe, expect, it } from "vitest";
import { MarkdownBlocks } from "./markdown.ts";

const SAMPLE = `# Heading
A paragraph that
goes on.

- one
- two

  more of two

- three
After a lazy line

Next:
\`\`\`js
const a = 1;

const b = 2;
\`\`\`
| a | b |
|---|---|
| 1 | 2 |

1. first

   \`\`\`sh
   ls

   pwd
   \`\`\`

2. second

> quoted 😀
> still

---
The end`;

describe("markdown that grows", () => {
  it("is cut into whole pieces", () => {
    expect(pieces("One.\n\n```\na\n\nb\n```\n- x\n\n- y\n\nTwo")).toEqual([
      "One.\n\n",
      "```\na\n\nb\n```\n",
      "- x\n\n- y\n\n",
      "Two",
    ]);
  });

  it("is cut at the same places however it arrives", () => {
    const whole = pieces(SAMPLE);
    for (const size of [1, 2, 3, 7, 50]) expect(pieces(SAMPLE, size)).toEqual(whole);
    expect(whole.join("")).toBe(SAMPLE);
  });

  it("renders piece by piece to what the whole renders to", () => {
    const cut = pieces(SAMPLE)
      .map((piece) => marked.parse(piece, { async: false }))
      .join("");
    expect(cut).toBe(marked.parse(SAMPLE, { async: false }));
  });

  it("shows everything as it comes, but for the mark of a line after a list", () => {
    const blocks = new MarkdownBlocks();
    expect(blocks.push("Hel")).toEqual([{ kind: "append", text: "Hel" }]);
    expect(blocks.push("lo\n\n- a\n\n").filter((step) => step.kind === "finish")).toEqual([
      { kind: "finish", source: "Hello\n\n" },
    ]);
    expect(blocks.push("-")).toEqual([]);
    expect(blocks.push(" b")).toEqual([{ kind: "append", text: "- b" }]);
  });

  it("costs the same per character in a long output", () => {
    const blocks = new MarkdownBlocks();
    const paragraph = `${"word ".repeat(40)}\n\n- item\n- item\n\n\`\`\`\ncode\n\`\`\`\n`;
    let finished = 0;
    const startedAt = performance.now();
    for (let length = 0; length < 2_000_000; length += paragraph.length) {
      for (let at = 0; at < paragraph.length; at += 16) {
        finished += blocks.push(paragraph.slice(at, at + 16)).filter((step) => step.kind === "finish").length;
      }
    }
    expect(finished).toBeGreaterThan(10_000);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  });
});

function pieces(text: string, size = text.length): string[] {
  const blocks = new MarkdownBlocks();
  const steps = [];
  for (let at = 0; at < text.length; at += size) steps.push(...blocks.push(text.slice(at, at + size)));
  steps.push(...blocks.end());
  let open = "";
  const done: string[] = [];
  for (const step of steps) {
    if (step.kind === "append") open += step.text;
    else {
      expect(step.source).toBe(open);
      done.push(step.source);
      open = "";
    }
  }
  expect(open).toBe("");
  return done;
}
