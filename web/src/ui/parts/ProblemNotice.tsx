//! A problem as people read it: what happened, what is kept, what to do next; then code and request id to copy.

import { CircleX, Copy, TriangleAlert } from "lucide-react";
import type { Problem } from "../../protocol/shapes.ts";
import { copyText } from "../copy.ts";

export function ProblemNotice({ problem, tone }: { readonly problem: Problem; readonly tone: "bad" | "warn" }) {
  const Icon = tone === "bad" ? CircleX : TriangleAlert;
  return (
    <>
      <div className={`notice ${tone}`}>
        <Icon className="i" aria-hidden="true" />
        <div>
          <b>{problem.title}</b>
          {problem.detail}
        </div>
      </div>
      {(problem.kept || problem.next) && (
        <p className="small t2">{[problem.kept, problem.next].filter(Boolean).join(" ")}</p>
      )}
    </>
  );
}

export function ProblemReference({ problem }: { readonly problem: Problem }) {
  const reference = problem.request_id ? `${problem.code} ${problem.request_id}` : problem.code;
  return (
    <div className="reference">
      Code <span className="mono">{problem.code}</span>
      {problem.request_id && (
        <>
          <span className="sep" />
          Request <span className="mono">{problem.request_id}</span>
        </>
      )}
      <button
        type="button"
        className="icon-btn sm"
        aria-label="Copy code and request id"
        onClick={() => void copyText(reference, "Code and request id copied")}
      >
        <Copy className="i i14" aria-hidden="true" />
      </button>
    </div>
  );
}
