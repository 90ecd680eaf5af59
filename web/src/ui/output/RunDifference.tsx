//! What restoring a run would change in the draft, and the button that does it. Loaded on demand.

import { Undo2 } from "lucide-react";
import { useEffect, useState } from "react";
import { RefusedError } from "../../link/http.ts";
import type { PromptContent, RunDetail } from "../../protocol/resources.ts";
import type { Problem } from "../../protocol/shapes.ts";
import type { PromptDocument } from "../../room/api.ts";
import { ProblemNotice } from "../parts/ProblemNotice.tsx";
import { usePromptDocument, useRights, useRoom } from "../room/RoomContext.ts";
import { toast } from "../toasts.ts";
import { type Difference, differencesBetween } from "./differences.ts";

type Loaded = { readonly detail: RunDetail } | { readonly problem: Problem } | null;

export function RunDifference({ run }: { readonly run: string }) {
  const room = useRoom();
  const prompt = usePromptDocument();
  const { edit } = useRights();
  const [loaded, setLoaded] = useState<Loaded>(null);
  useEffect(() => {
    let current = true;
    room.runs
      .detail(run)
      .then((detail) => current && setLoaded({ detail }))
      .catch((error: unknown) => {
        if (!(error instanceof RefusedError)) throw error;
        if (current) setLoaded({ problem: error.problem });
      });
    return () => {
      current = false;
    };
  }, [room, run]);
  if (loaded === null)
    return (
      <div className="back">
        <span className="skel" style={{ width: "40%" }} />
      </div>
    );
  if ("problem" in loaded)
    return (
      <div className="back">
        <ProblemNotice problem={loaded.problem} tone="bad" />
      </div>
    );
  const content = loaded.detail.source.content;
  if (!content) return <div className="back t3">What it ran is in the Request view.</div>;
  const differences = differencesBetween(prompt.readContent(), content);
  return (
    <div className="back">
      {differences.map((difference) => (
        <DifferenceRow key={difference.label} difference={difference} />
      ))}
      {differences.length === 0 && <p className="t2">The same as the draft now.</p>}
      {edit && differences.length > 0 && (
        <div className="row">
          <button type="button" className="btn sm" onClick={() => restore(prompt, content, loaded.detail.run.number)}>
            <Undo2 className="i i14" aria-hidden="true" /> Restore to draft
          </button>
          <span className="t3">Undo brings today’s draft back</span>
        </div>
      )}
    </div>
  );
}

function restore(prompt: PromptDocument, content: PromptContent, number: number): void {
  toast(`The draft is what run ${number} ran`, { undo: prompt.restore(content) });
}

function DifferenceRow({ difference }: { readonly difference: Difference }) {
  return (
    <div className="d">
      <span className="k">{difference.label}</span>
      {difference.kind === "value" ? (
        <span className="mono">
          <del>{difference.before || "none"}</del> → <ins>{difference.after || "none"}</ins>
        </span>
      ) : (
        <span className="mono lines">
          {difference.lines.map((line, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: lines have no identity and never move
            <span key={at}>
              {line.parts.map((part, index) => {
                if (part.kind === "same") return part.text;
                // biome-ignore lint/suspicious/noArrayIndexKey: parts have no identity and never move
                return part.kind === "gone" ? <del key={index}>{part.text}</del> : <ins key={index}>{part.text}</ins>;
              })}
            </span>
          ))}
          {difference.further > 0 && <span className="t3">and {difference.further} more lines</span>}
        </span>
      )}
    </div>
  );
}
