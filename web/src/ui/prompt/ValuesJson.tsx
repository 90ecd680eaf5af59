//! The chosen set's values as JSON: to read, to edit, to paste into.

import { useState } from "react";
import { usePromptDocument } from "../room/RoomContext.ts";
import { toast } from "../toasts.ts";
import { plural } from "../units.ts";

export function ValuesJson() {
  const prompt = usePromptDocument();
  const [text, setText] = useState(() => JSON.stringify(prompt.readValues(), null, 2));
  const [problem, setProblem] = useState<string | null>(null);
  const apply = () => {
    const values = parse(text);
    if (typeof values === "string") return setProblem(values);
    setProblem(null);
    toast(`${plural(prompt.fillValues(values), "value")} set`, { undo: () => prompt.undo() });
  };
  return (
    <div className="json">
      <textarea
        className={problem ? "input bad" : "input"}
        aria-label="Values as JSON"
        spellCheck={false}
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setProblem(null);
        }}
      />
      <div className="row">
        <button type="button" className="btn sm" onClick={apply}>
          Use these values
        </button>
        <button
          type="button"
          className="btn ghost sm"
          onClick={() => setText(JSON.stringify(prompt.readValues(), null, 2))}
        >
          Read again
        </button>
        <span className={problem ? "small bad-i" : "help"} role={problem ? "alert" : undefined}>
          {problem ?? "Paste an object; new names become variables."}
        </span>
      </div>
    </div>
  );
}

/** The object, or what is wrong with it. */
function parse(text: string): Record<string, unknown> | string {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return "It has to be an object: { … }";
    return value as Record<string, unknown>;
  } catch (error) {
    return error instanceof Error ? error.message : "It is not JSON";
  }
}
