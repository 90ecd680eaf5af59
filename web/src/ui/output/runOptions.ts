//! What can be done with a run, by how it ended and by what its model accepts.

import { isTerminal, type RunSummary } from "../../protocol/shapes.ts";
import { findModel, models } from "../models.ts";

export function canRegenerate(run: RunSummary): boolean {
  return isTerminal(run.state);
}

export function canContinue(run: RunSummary): boolean {
  return whyNotContinue(run) === null;
}

/** Null if it can be continued; otherwise the sentence that says why it cannot. */
export function whyNotContinue(run: RunSummary): string | null {
  switch (run.state) {
    case "cancelled":
    case "interrupted":
    case "truncated":
    case "failed":
      break;
    case "completed":
      if (run.stop_reason === "max_tokens" || run.stop_reason === "pause") break;
      return run.stop_sequence === undefined
        ? "The model ended by itself: nothing to continue"
        : "Ended at a stop sequence: nothing to continue";
    case "queued":
    case "admitted":
    case "streaming":
    case "recovering":
      return "It still runs";
    case "rejected":
      return "It never started";
    default:
      run.state satisfies never;
      return "";
  }
  if (run.bytes === 0) return "Nothing was written yet: regenerate instead";
  const model = findModel(models.getSnapshot(), run.model);
  if (model && !model.prefill) return `${model.label} cannot go on from a given text`;
  return null;
}
