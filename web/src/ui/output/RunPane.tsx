//! One run: whose, how it goes, its text in one of three views, and what can be done next.

import { isTerminal, type RunSummary } from "../../protocol/shapes.ts";
import type { Shown } from "../../room/api.ts";
import { isQueued } from "../parts/Outcome.tsx";
import { Metrics } from "./Metrics.tsx";
import { OutputActions } from "./OutputActions.tsx";
import { OutputReader } from "./OutputReader.tsx";
import { RequestView } from "./RequestView.tsx";
import { RunHeader, type RunView } from "./RunHeader.tsx";
import { useOutput } from "./useOutput.ts";
import { WaitingRun } from "./WaitingRun.tsx";

export interface RunPaneProps {
  readonly run: RunSummary;
  readonly shown: Shown;
  readonly view: RunView;
  readonly onView: (view: RunView) => void;
}

export function RunPane({ run, shown, view, onView }: RunPaneProps) {
  const output = useOutput(run.id);
  const waiting = run.bytes === 0 && (isQueued(run) || (run.state === "admitted" && run.problem !== undefined));
  return (
    <>
      <RunHeader run={run} view={view} onView={onView} waiting={waiting} />
      {!waiting && <Metrics run={run} stopping={shown.stopping.has(run.id)} />}
      {waiting && <WaitingRun run={run} />}
      {!waiting && view === "request" && <RequestView key={run.id} run={run.id} ended={isTerminal(run.state)} />}
      {!waiting && view !== "request" && (
        <OutputReader key={run.id} run={run} output={output} raw={view === "raw"} chip={shown.chip} />
      )}
      <OutputActions run={run} output={output} stopping={shown.stopping.has(run.id)} onSeeRaw={() => onView("raw")} />
    </>
  );
}
