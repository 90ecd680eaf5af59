//! What is said below a text that ended other than by itself.

import { CircleDashed } from "lucide-react";
import type { RunSummary } from "../../protocol/shapes.ts";
import { ProblemNotice, ProblemReference } from "../parts/ProblemNotice.tsx";
import { firstName, money } from "../units.ts";

export function RunEnding({ run }: { readonly run: RunSummary }) {
  switch (run.state) {
    case "queued":
    case "admitted":
    case "streaming":
    case "recovering":
      return null;
    case "completed":
      return run.bytes === 0 ? <NoText run={run} /> : null;
    case "truncated":
      return <Line>{truncationOf(run)}</Line>;
    case "cancelled":
      return <Line>{cancellationOf(run)}</Line>;
    case "failed":
    case "rejected":
    case "interrupted":
      return <Failure run={run} />;
    default:
      run.state satisfies never;
      return null;
  }
}

function Line({ children }: { readonly children: string }) {
  return (
    <p className="t3 small" style={{ marginTop: 12 }}>
      {children}
    </p>
  );
}

function NoText({ run }: { readonly run: RunSummary }) {
  return (
    <div className="empty">
      <CircleDashed className="i i20" aria-hidden="true" />
      <p>
        {run.stop_sequence === undefined ? (
          "The model ended without writing any text."
        ) : (
          <>
            The first thing the model wrote was the stop sequence <span className="chip mono">{run.stop_sequence}</span>
            , so nothing was left to show.
          </>
        )}
      </p>
    </div>
  );
}

function Failure({ run }: { readonly run: RunSummary }) {
  const tone = run.state === "interrupted" ? "warn" : "bad";
  if (!run.problem) {
    return (
      <Line>
        {run.state === "interrupted" ? "The run was interrupted; what had arrived is kept." : "The run failed."}
      </Line>
    );
  }
  return (
    <div className="ending">
      <ProblemNotice problem={run.problem} tone={tone} />
      {!run.problem.kept && run.cost !== undefined && (
        <p className="small t2">
          {run.bytes > 0 ? "What had arrived is kept. " : ""}Charged {money(run.cost)}
          {run.usage?.estimated ? ", an estimate" : ""}.
        </p>
      )}
      <ProblemReference problem={run.problem} />
    </div>
  );
}

function truncationOf(run: RunSummary): string {
  if (run.stop_reason === "context_full") return "The model’s context was full. What it wrote is kept.";
  return "Cut off at max tokens. What was written is kept; Continue goes on from here where the model can.";
}

function cancellationOf(run: RunSummary): string {
  const who = run.stopped_by ? ` by ${firstName(run.stopped_by.name)}` : "";
  const time = run.ended_at_ms === undefined ? "" : `, ${new Date(run.ended_at_ms).toLocaleTimeString("en-GB")}`;
  return run.bytes === 0
    ? `Stopped${who}${time}, before the first token.`
    : `Stopped${who}${time}. What had arrived is kept.`;
}
