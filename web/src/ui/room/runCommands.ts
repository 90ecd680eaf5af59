//! Run, Stop, Regenerate, Continue: what a press does, and who says so when it is refused.

import { RefusedError } from "../../link/http.ts";
import { isTerminal, type RunSummary } from "../../protocol/shapes.ts";
import type { Room, Shown } from "../../room/api.ts";
import { toastRefusal } from "../toasts.ts";

/** With `model`, that run alone goes to another model; the draft stays. */
export function startRun(room: Room, model?: string): void {
  void settle(room.runs.start(model === undefined ? {} : { overrides: { model } }));
}

export function regenerate(room: Room, run: RunSummary): void {
  void settle(room.runs.regenerate(run.id));
}

export function continueRun(room: Room, run: RunSummary): void {
  void settle(room.runs.continueRun(run.id));
}

export function stopRun(room: Room, run: RunSummary): void {
  room.runs.cancel(run.id).catch((error: unknown) => toastRefusal(error, "The run could not be stopped"));
}

/** The run that Stop means: the one that is looked at, while it goes on. */
export function stoppable(shown: Shown): RunSummary | null {
  const run = shown.run;
  return run && !isTerminal(run.state) && !shown.stopping.has(run.id) ? run : null;
}

/** A refused start is shown by the output pane, where the run would be; anything else is a bug. */
async function settle(start: Promise<unknown>): Promise<void> {
  try {
    await start;
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
  }
}
