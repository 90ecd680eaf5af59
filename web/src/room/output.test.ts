//! One run's output: the cursor, the rewind, the seam, and readers.

import { describe, expect, it, vi } from "vitest";
import type { RecordsFrame } from "../protocol/frames.ts";
import type { BlockKind } from "../protocol/shapes.ts";
import type { BlockReader } from "./api.ts";
import { LiveOutput } from "./output.ts";

const RUN = "0198c0de-0000-7000-8000-00000000000b";
const utf8 = new TextEncoder();

describe("an output", () => {
  it("counts bytes as the server does, whatever the characters", () => {
    const output = newOutput();
    expect(output.records(records(1, 0, [0, "text", "aé😀"]))).toBe("fits");
    expect(output.cursor).toEqual({ epoch: 1, offset: 7 });
    expect(output.text(0)).toBe("aé😀");
  });

  it("keeps blocks apart and in order of arrival", () => {
    const output = newOutput();
    output.records(records(1, 0, [0, "reasoning", "hm"], [2, "tool_call", '{"id":"1"}\n'], [1, "text", "yes"]));
    output.records(records(1, 16, [2, "tool_call", "{}"]));
    expect(output.view.getSnapshot().blocks).toEqual([
      { block: 0, kind: "reasoning" },
      { block: 2, kind: "tool_call" },
      { block: 1, kind: "text" },
    ]);
    expect(output.text(2)).toBe('{"id":"1"}\n{}');
  });

  it("refuses a gap, an older epoch and half an overlap, and drops what it has", () => {
    const output = newOutput();
    output.records(records(1, 0, [0, "text", "hello"]));
    expect(output.records(records(1, 6, [0, "text", "x"]))).toBe("gap");
    expect(output.records(records(2, 5, [0, "text", "x"]))).toBe("gap");
    expect(output.records(records(1, 3, [0, "text", "lo you"]))).toBe("gap");
    expect(output.records(records(1, 0, [0, "text", "hello"]))).toBe("fits");
    expect(output.end(1, 9)).toBe("gap");
    output.rewind(2, 5);
    expect(output.records(records(1, 5, [0, "text", " late"]))).toBe("fits");
    expect(output.text(0)).toBe("hello");
  });

  it("withdraws exactly the bytes after a rewind, over blocks and inside characters' neighbours", () => {
    const output = newOutput();
    output.records(records(1, 0, [0, "text", "é😀one"], [1, "text", "two"], [0, "text", "three"]));
    const reader = attach(output, 0);
    expect(output.rewind(2, 8)).toBe("fits");
    expect(output.text(0)).toBe("é😀on");
    expect(output.view.getSnapshot().blocks).toEqual([{ block: 0, kind: "text" }]);
    expect(output.view.getSnapshot().seams).toEqual([
      { epoch: 2, block: 0, index: 5, withdrawn: "ethreetwo", gapMs: null },
    ]);
    expect(output.records(records(2, 8, [0, "text", "ward"]))).toBe("fits");
    output.end(2, 12);
    expect(reader.text).toBe("é😀onward");
    expect(reader.isEnded).toBe(true);
  });

  it("finds any byte again after many small records", () => {
    const output = newOutput();
    const words = Array.from({ length: 2_000 }, (_, index) => `w${index}é😀 `);
    const whole = words.join("");
    let offset = 0;
    for (const word of words) {
      output.records(records(1, offset, [0, "text", word]));
      offset += utf8.encode(word).length;
    }
    const kept = words.slice(0, 1_234).join("");
    output.rewind(2, utf8.encode(kept).length);
    expect(output.text(0)).toBe(kept);
    expect(output.view.getSnapshot().seams[0]?.withdrawn).toBe(whole.slice(kept.length));
  });

  it("goes on where nothing was withdrawn when the rewind lies ahead", () => {
    const output = newOutput();
    output.records(records(1, 0, [0, "text", "abc"]));
    expect(output.rewind(2, 10)).toBe("fits");
    expect(output.cursor).toEqual({ epoch: 2, offset: 3 });
    expect(output.records(records(2, 3, [0, "text", "defghij"]))).toBe("fits");
    expect(output.text(0)).toBe("abcdefghij");
  });

  it("says that a dropped line was taken up again, and where", () => {
    vi.useFakeTimers({ now: 1_000 });
    const output = newOutput();
    output.records(records(1, 0, [0, "text", "before "]));
    output.lineLost(1_000);
    expect(output.view.getSnapshot().phase).toBe("resuming");
    vi.setSystemTime(2_800);
    output.records(records(1, 7, [0, "text", "after"]));
    expect(output.view.getSnapshot()).toMatchObject({
      phase: "streaming",
      resumed: { atBytes: 7, block: 0, index: 7, awayMs: 1_800 },
    });
    vi.useRealTimers();
  });

  it("shows the server's seams to whoever came later", () => {
    const output = newOutput();
    output.tellSeams([{ epoch: 2, offset: 4, at_ms: 1, gap_ms: 2_100 }]);
    output.rewind(2, 0);
    output.records(records(2, 0, [0, "text", "é12345"]));
    output.end(2, 7);
    expect(output.view.getSnapshot().seams).toEqual([{ epoch: 2, block: 0, index: 0, withdrawn: "", gapMs: 2_100 }]);
  });

  it("tells readers once per frame, nothing while frozen, and all at the end", async () => {
    const output = newOutput();
    const reader = attach(output, 0);
    for (const [index, word] of ["a", "b", "c"].entries()) output.records(records(1, index, [0, "text", word]));
    expect(reader.appends).toEqual([]);
    await vi.waitFor(() => expect(reader.appends).toEqual(["abc"]));
    output.freeze();
    output.records(records(1, 3, [0, "text", "late"]));
    expect(reader.text).toBe("abc");
    output.end(1, 7);
    expect(reader.appends).toEqual(["abc", "late"]);
    expect(attach(output, 0).text).toBe("abclate");
  });

  it("costs the same per record after a megabyte as at the start", () => {
    const output = newOutput();
    attach(output, 0);
    const chunk = "x".repeat(60);
    const timeOf = (count: number): number => {
      const startedAt = performance.now();
      for (let index = 0; index < count; index += 1) {
        output.records(records(1, output.cursor.offset, [0, "text", chunk]));
      }
      return performance.now() - startedAt;
    };
    timeOf(2_000);
    const first = timeOf(5_000);
    timeOf(10_000);
    const last = timeOf(5_000);
    expect(output.cursor.offset).toBeGreaterThan(1_000_000);
    expect(last).toBeLessThan(first * 8 + 200);
  });
});

function newOutput(): LiveOutput {
  return new LiveOutput(RUN, () => {});
}

function records(epoch: number, offset: number, ...list: [number, BlockKind, string][]): RecordsFrame {
  const found = list.map(([block, kind, text]) => ({ block, kind, bytes: utf8.encode(text) }));
  return { type: "records", run: RUN, epoch, offset, records: found };
}

function attach(output: LiveOutput, block: number): { text: string; appends: string[]; isEnded: boolean } {
  const seen = { text: "", appends: [] as string[], isEnded: false };
  const reader: BlockReader = {
    append: (text) => {
      seen.text += text;
      seen.appends.push(text);
    },
    truncate: (length) => {
      seen.text = seen.text.slice(0, length);
    },
    end: () => {
      seen.isEnded = true;
    },
  };
  output.read(block, reader);
  return seen;
}
