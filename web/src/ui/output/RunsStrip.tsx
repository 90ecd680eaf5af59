//! The runs of this prompt: tiles while one goes on, rows when it is quiet, all of them when asked for.

import { ChevronRight, X } from "lucide-react";
import type { RunSummary } from "../../protocol/shapes.ts";
import { isTerminal } from "../../protocol/shapes.ts";
import { modelLabel, models } from "../models.ts";
import { OutcomeIcon } from "../parts/Outcome.tsx";
import { useReadable } from "../readable.ts";
import { MemberAvatar } from "../room/MemberAvatar.tsx";
import { useRoom } from "../room/RoomContext.ts";
import { count, money } from "../units.ts";
import { useMedia } from "../useMedia.ts";
import { RunsList } from "./RunsList.tsx";

const TILES_MAX = 8;
/** Where the runs have a tab of their own. */
const TABBED = "(max-width: 1099px)";

export interface RunsStripProps {
  readonly live: boolean;
  readonly all: boolean;
  readonly onAll: (all: boolean) => void;
  readonly onChoose: () => void;
}

export function RunsStrip({ live, all, onAll, onChoose }: RunsStripProps) {
  const room = useRoom();
  const { runs, more } = useReadable(room.runs.list);
  const tabbed = useMedia(TABBED);
  if (runs.length === 0) return tabbed ? <NoRuns /> : null;
  const tiles = live && !all && !tabbed;
  const choose = (run: RunSummary) => {
    room.runs.choose(run.id);
    onChoose();
  };
  return (
    <section className={`strip ${tiles ? "" : "list"} ${all ? "full" : ""}`} aria-label="Runs" data-pane tabIndex={-1}>
      <header>
        <h2>Runs</h2> <span className="count">{todayLine(runs, more)}</span>
        <span className="grow" />
        {!tabbed && (
          <button type="button" className="btn ghost sm" aria-pressed={all} onClick={() => onAll(!all)}>
            {all ? "Close" : "All runs"}
            {all ? <X className="i i12" aria-hidden="true" /> : <ChevronRight className="i i12" aria-hidden="true" />}
          </button>
        )}
      </header>
      {tiles ? <Tiles runs={runs.slice(0, TILES_MAX)} onChoose={choose} /> : <RunsList onChoose={choose} />}
    </section>
  );
}

function NoRuns() {
  return (
    <section className="strip list" aria-label="Runs">
      <p className="empty">Nothing has run yet.</p>
    </section>
  );
}

interface TilesProps {
  readonly runs: readonly RunSummary[];
  readonly onChoose: (run: RunSummary) => void;
}

function Tiles({ runs, onChoose }: TilesProps) {
  const room = useRoom();
  const shown = useReadable(room.runs.shown).run?.id;
  const known = useReadable(models);
  return (
    <div className="tiles">
      {runs.map((run) => (
        <button
          key={run.id}
          type="button"
          className="tile"
          aria-current={run.id === shown || undefined}
          onClick={() => onChoose(run)}
        >
          <span className="top">
            <b>
              <span className="vh">Run </span>
              {run.number}
            </b>
            <OutcomeIcon run={run} size={12} />
          </span>
          <span className="mid cut">{modelLabel(known, run.model)}</span>
          <span className="bot">
            <span>{tileFact(run)}</span>
            <MemberAvatar member={run.by} size="xs" />
          </span>
        </button>
      ))}
    </div>
  );
}

function tileFact(run: RunSummary): string {
  if (isTerminal(run.state) && run.cost !== undefined && run.cost > 0) return money(run.cost);
  if (run.usage) return `${count(run.usage.output_tokens)} tok`;
  return run.bytes > 0 ? `${count(run.bytes)} B` : "–";
}

function todayLine(runs: readonly RunSummary[], more: boolean): string {
  const today = new Date().toDateString();
  const ofToday = runs.filter((run) => new Date(run.created_at_ms).toDateString() === today);
  const atLeast = more && ofToday.length === runs.length ? "at least " : "";
  const cost = ofToday.reduce((sum, run) => sum + (run.cost ?? 0), 0);
  return `${atLeast}${ofToday.length} today${cost > 0 ? ` · ${money(cost)}` : ""}`;
}
