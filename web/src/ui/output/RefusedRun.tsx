//! A run that was not started: why, what is kept, and when it can be tried again.

import { ArrowLeft, Play, Timer, TriangleAlert } from "lucide-react";
import { useEffect, useState } from "react";
import type { Problem, RunSummary } from "../../protocol/shapes.ts";
import { ProblemNotice, ProblemReference } from "../parts/ProblemNotice.tsx";
import { useRoom } from "../room/RoomContext.ts";
import { startRun } from "../room/runCommands.ts";

export interface RefusedRunProps {
  readonly problem: Problem;
  readonly previous: RunSummary | null;
  readonly onBack: () => void;
}

export function RefusedRun({ problem, previous, onBack }: RefusedRunProps) {
  const room = useRoom();
  const leftMs = useCountdown(problem);
  const limited = problem.retry_after_ms !== undefined;
  const Icon = limited ? Timer : TriangleAlert;
  return (
    <>
      <div className="pane-head">
        <h2 className="title grow">Run not started</h2>
        <span className={limited ? "state warn" : "state bad"}>
          <Icon className="i i14" aria-hidden="true" />
          {limited ? "Limit reached" : "Refused"}
        </span>
      </div>
      <div className="pad">
        {limited ? (
          <>
            <div>
              <div className="big-line">
                {leftMs > 0 ? `again in ${Math.ceil(leftMs / 1000)} s` : "it can start now"}
              </div>
              <div className="t2">{problem.title}</div>
            </div>
            <p className="small t2">{[problem.detail, problem.kept, problem.next].filter(Boolean).join(" ")}</p>
          </>
        ) : (
          <ProblemNotice problem={problem} tone="bad" />
        )}
        <ProblemReference problem={problem} />
      </div>
      <div className="actions">
        <button type="button" className="btn" disabled={leftMs > 0} onClick={() => startRun(room)}>
          <Play className="i i14" aria-hidden="true" /> Run again
        </button>
        {previous && (
          <button type="button" className="btn ghost" onClick={onBack}>
            <ArrowLeft className="i i14" aria-hidden="true" /> Back to run {previous.number}
          </button>
        )}
      </div>
    </>
  );
}

/** Milliseconds until the server would take it; counted from when the refusal came. */
function useCountdown(problem: Problem): number {
  const [end, setEnd] = useState(() => Date.now() + (problem.retry_after_ms ?? 0));
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const until = Date.now() + (problem.retry_after_ms ?? 0);
    setEnd(until);
    const timer = setInterval(() => {
      setNow(Date.now());
      if (Date.now() >= until) clearInterval(timer);
    }, 500);
    return () => clearInterval(timer);
  }, [problem]);
  return Math.max(0, end - now);
}
