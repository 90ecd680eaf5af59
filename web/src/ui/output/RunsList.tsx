//! The runs as rows, newest first; older ones are fetched as one comes near the end.

import { ChevronDown, ChevronUp } from "lucide-react";
import { lazy, memo, Suspense, useEffect, useRef, useState } from "react";
import type { RunSummary } from "../../protocol/shapes.ts";
import { modelLabel, models } from "../models.ts";
import { OutcomeIcon } from "../parts/Outcome.tsx";
import { useReadable } from "../readable.ts";
import { MemberAvatar } from "../room/MemberAvatar.tsx";
import { useRoom } from "../room/RoomContext.ts";
import { toastRefusal } from "../toasts.ts";
import { count, duration, firstName, money } from "../units.ts";
import { firstTokenMs, hasTokens } from "./Metrics.tsx";
import { numberOf } from "./runParameters.ts";

const RunDifference = lazy(async () => ({ default: (await import("./RunDifference.tsx")).RunDifference }));

export function RunsList({ onChoose }: { readonly onChoose: (run: RunSummary) => void }) {
  const room = useRoom();
  const { runs, more, loading } = useReadable(room.runs.list);
  const shown = useReadable(room.runs.shown).run?.id;
  const [open, setOpen] = useState<string | null>(null);
  return (
    <ol className="rl" reversed>
      {runs.map((run) => (
        <RunRow
          key={run.id}
          run={run}
          shown={run.id === shown}
          open={run.id === open}
          onOpen={setOpen}
          onChoose={onChoose}
        />
      ))}
      {more && <MoreRuns loading={loading} />}
    </ol>
  );
}

interface RunRowProps {
  readonly run: RunSummary;
  readonly shown: boolean;
  readonly open: boolean;
  readonly onOpen: (run: string | null) => void;
  readonly onChoose: (run: RunSummary) => void;
}

const RunRow = memo(function RunRow({ run, shown, open, onOpen, onChoose }: RunRowProps) {
  const first = firstTokenMs(run);
  const Fold = open ? ChevronUp : ChevronDown;
  return (
    <li>
      <div className={`r ${shown ? "on" : ""} ${open ? "open" : ""}`}>
        <button type="button" className="pick" aria-current={shown || undefined} onClick={() => onChoose(run)}>
          <b>
            <span className="vh">Run </span>
            {run.number}
          </b>
          <RunSubject run={run} />
        </button>
        <span className="n">{first === null ? "" : duration(first)}</span>
        <span className="n">{run.usage && hasTokens(run) ? `${count(run.usage.output_tokens)} tok` : ""}</span>
        <span className="n cost">{run.cost === undefined || run.cost === 0 ? "" : money(run.cost)}</span>
        <OutcomeIcon run={run} size={14} />
        <MemberAvatar member={run.by} size="sm" />
        <button
          type="button"
          className="icon-btn sm"
          aria-expanded={open}
          aria-label={`What differs from the draft in run ${run.number}`}
          onClick={() => onOpen(open ? null : run.id)}
        >
          <Fold className="i i14" aria-hidden="true" />
        </button>
      </div>
      {open && (
        <Suspense fallback={<div className="back" />}>
          <RunDifference run={run.id} />
        </Suspense>
      )}
    </li>
  );
});

function RunSubject({ run }: { readonly run: RunSummary }) {
  const known = useReadable(models);
  const temperature = numberOf(run.parameters, "temperature");
  const notes = [
    temperature === null ? "" : `temp ${temperature}`,
    run.origin === "continue" ? "continued" : "",
    run.state === "cancelled" && run.stopped_by ? `stopped by ${firstName(run.stopped_by.name)}` : "",
  ].filter(Boolean);
  return (
    <span className="cut">
      {modelLabel(known, run.model)}
      {notes.length > 0 && <span className="t3"> · {notes.join(" · ")}</span>}
    </span>
  );
}

/** Fetches the next page when it comes into view; the button is for whoever cannot scroll. */
function MoreRuns({ loading }: { readonly loading: boolean }) {
  const room = useRoom();
  const row = useRef<HTMLLIElement>(null);
  useEffect(() => {
    const element = row.current;
    if (!element) return undefined;
    const load = () => {
      room.runs.loadMore().catch((error: unknown) => toastRefusal(error, "Older runs could not be read"));
    };
    const observer = new IntersectionObserver((entries) => {
      if (!loading && entries.some((entry) => entry.isIntersecting)) load();
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [room, loading]);
  return (
    <li className="more-runs" ref={row}>
      <button
        type="button"
        className="btn ghost sm"
        disabled={loading}
        onClick={() =>
          void room.runs.loadMore().catch((error: unknown) => toastRefusal(error, "Older runs could not be read"))
        }
      >
        {loading ? "Reading older runs" : "Older runs"}
      </button>
    </li>
  );
}
