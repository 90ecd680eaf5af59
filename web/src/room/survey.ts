//! Which variables the texts name. A keystroke only marks its text; marked texts are read later, off the input path.

import type * as Y from "yjs";

/** At most four readings a second, however fast somebody types. */
export const SURVEY_EVERY_MS = 250;

/** As the server reads them: letters, digits and three signs, blanks around them allowed. */
const NAME = "[\\p{Alphabetic}\\p{N}_.-]";
const BLANKS = "[ \\t\\r\\n]*";

/** `{{name}}`, the name as its first group; a new one for each use, since it keeps its place. */
export function variablePattern(): RegExp {
  return new RegExp(`\\{\\{${BLANKS}(${NAME}+)${BLANKS}\\}\\}`, "gu");
}

/** `{{` and a part of a name, up to the caret. */
export const OPEN_VARIABLE = new RegExp(`\\{\\{${BLANKS}${NAME}*$`, "u");
export const VARIABLE_NAME = new RegExp(`^${NAME}+$`, "u");

/** The names in a text, each once, in order of first appearance. */
export function variablesIn(text: string): string[] {
  const names = new Set<string>();
  for (const match of text.matchAll(variablePattern())) {
    if (match[1] !== undefined) names.add(match[1]);
  }
  return [...names];
}

export class Survey {
  private readonly read = new Map<Y.Text, readonly string[]>();
  private readonly stale = new Set<Y.Text>();
  private timer: ReturnType<typeof setTimeout> | null = null;
  private readonly onChange: () => void;
  /** How many texts were read in full; tests hold it down. */
  readings = 0;

  constructor(onChange: () => void) {
    this.onChange = onChange;
  }

  /** O(1): safe to call for each keystroke. */
  mark(text: Y.Text): void {
    this.stale.add(text);
    this.schedule();
  }

  schedule(): void {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.onChange();
    }, SURVEY_EVERY_MS);
  }

  /** Names over all these texts; only texts that changed since the last time are read. */
  names(texts: readonly Y.Text[]): string[] {
    const names = new Set<string>();
    const kept = new Set(texts);
    for (const text of this.read.keys()) if (!kept.has(text)) this.read.delete(text);
    for (const text of texts) {
      let found = this.read.get(text);
      if (found === undefined || this.stale.has(text)) {
        found = variablesIn(text.toString());
        this.readings += 1;
        this.read.set(text, found);
      }
      for (const name of found) names.add(name);
    }
    this.stale.clear();
    return [...names];
  }

  stop(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}
