//! A run that has not begun: its place in the queue, or the provider that it waits for.

import type { RunSummary } from "../../protocol/shapes.ts";
import { useNow } from "../now.ts";
import { ProblemNotice } from "../parts/ProblemNotice.tsx";
import { duration, ordinal } from "../units.ts";

const PIPS_MAX = 16;

export function WaitingRun({ run }: { readonly run: RunSummary }) {
  const now = useNow(1_000);
  if (run.problem) {
    return (
      <div className="pad">
        <ProblemNotice problem={run.problem} tone="warn" />
        {!run.problem.kept && <p className="small t2">Run {run.number} keeps its place and has cost nothing.</p>}
      </div>
    );
  }
  const place = run.queue;
  return (
    <div className="pad">
      <div>
        <div className="big-line">
          {place ? `${ordinal(place.position)} of ${Math.max(place.waiting, place.position)}` : "In the queue"}
        </div>
        <div className="t2" style={{ marginTop: 1 }}>
          waiting for {duration(Math.max(0, Math.floor((now - run.created_at_ms) / 1000) * 1000)).replace(".0", "")}
        </div>
      </div>
      {place && <Pips position={place.position} waiting={Math.max(place.waiting, place.position)} />}
      <p className="small t2">{place?.reason} Waiting costs nothing.</p>
    </div>
  );
}

function Pips({ position, waiting }: { readonly position: number; readonly waiting: number }) {
  const shown = Math.min(waiting, PIPS_MAX);
  const places = Array.from({ length: shown }, (_, at) => at + 1);
  return (
    <div className="queue" aria-hidden="true">
      {places.map((place) => (
        <i key={place} className={place === Math.min(position, shown) ? "me" : ""} />
      ))}
    </div>
  );
}
