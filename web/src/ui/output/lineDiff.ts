//! The lines in which two texts differ, and within a changed line the words.

export interface ChangedLine {
  readonly parts: readonly LinePart[];
}

export interface LinePart {
  readonly kind: "same" | "gone" | "new";
  readonly text: string;
}

/** Above this many lines in the differing middle, no best match is looked for. */
const MATCHED_LINES_MAX = 400;

export function changedLines(before: string, after: string): readonly ChangedLine[] {
  const old = before.split("\n");
  const next = after.split("\n");
  let start = 0;
  while (start < old.length && start < next.length && old[start] === next[start]) start++;
  let endOld = old.length;
  let endNext = next.length;
  while (endOld > start && endNext > start && old[endOld - 1] === next[endNext - 1]) {
    endOld--;
    endNext--;
  }
  return pairUp(matchLines(old.slice(start, endOld), next.slice(start, endNext)));
}

type Step = { readonly kind: "same" | "gone" | "new"; readonly line: string };

function matchLines(old: readonly string[], next: readonly string[]): readonly Step[] {
  if (old.length > MATCHED_LINES_MAX || next.length > MATCHED_LINES_MAX) {
    return [...old.map((line) => step("gone", line)), ...next.map((line) => step("new", line))];
  }
  const lengths = commonLengths(old, next);
  const at = (row: number, column: number) => lengths[row * (next.length + 1) + column] ?? 0;
  const steps: Step[] = [];
  let row = 0;
  let column = 0;
  while (row < old.length || column < next.length) {
    const gone = old[row];
    const come = next[column];
    if (gone !== undefined && gone === come) {
      steps.push(step("same", gone));
      row++;
      column++;
    } else if (gone !== undefined && (come === undefined || at(row + 1, column) >= at(row, column + 1))) {
      steps.push(step("gone", gone));
      row++;
    } else {
      steps.push(step("new", come ?? ""));
      column++;
    }
  }
  return steps;
}

/** The length of the longest common subsequence of what is left from each place on. */
function commonLengths(old: readonly string[], next: readonly string[]): Uint16Array {
  const width = next.length + 1;
  const lengths = new Uint16Array((old.length + 1) * width);
  for (let row = old.length - 1; row >= 0; row--) {
    for (let column = next.length - 1; column >= 0; column--) {
      const here = row * width + column;
      lengths[here] =
        old[row] === next[column]
          ? (lengths[here + width + 1] ?? 0) + 1
          : Math.max(lengths[here + width] ?? 0, lengths[here + 1] ?? 0);
    }
  }
  return lengths;
}

/** A line that went and one that came at the same place are one line that changed. */
function pairUp(steps: readonly Step[]): readonly ChangedLine[] {
  const lines: ChangedLine[] = [];
  let gone: string[] = [];
  let come: string[] = [];
  const flush = () => {
    const pairs = Math.max(gone.length, come.length);
    for (let at = 0; at < pairs; at++) lines.push(changedLine(gone[at], come[at]));
    gone = [];
    come = [];
  };
  for (const { kind, line } of steps) {
    if (kind === "gone") gone.push(line);
    else if (kind === "new") come.push(line);
    else flush();
  }
  flush();
  return lines;
}

function changedLine(gone: string | undefined, come: string | undefined): ChangedLine {
  if (gone === undefined) return { parts: [{ kind: "new", text: come ?? "" }] };
  if (come === undefined) return { parts: [{ kind: "gone", text: gone }] };
  const head = commonStart(gone, come);
  const tail = commonEnd(gone.slice(head), come.slice(head));
  const parts: LinePart[] = [
    { kind: "same", text: gone.slice(0, head) },
    { kind: "gone", text: gone.slice(head, gone.length - tail) },
    { kind: "new", text: come.slice(head, come.length - tail) },
    { kind: "same", text: gone.slice(gone.length - tail) },
  ];
  return { parts: parts.filter((part) => part.text !== "") };
}

function commonStart(one: string, other: string): number {
  let length = 0;
  while (length < one.length && one[length] === other[length]) length++;
  return length;
}

function commonEnd(one: string, other: string): number {
  let length = 0;
  while (length < one.length && length < other.length && one.at(-1 - length) === other.at(-1 - length)) length++;
  return length;
}

function step(kind: Step["kind"], line: string): Step {
  return { kind, line };
}
