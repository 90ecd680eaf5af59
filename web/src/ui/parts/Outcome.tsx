//! How a run stands, as an icon and as a word: never by colour alone.

import {
  CircleCheck,
  CircleDashed,
  CircleStop,
  CircleX,
  Hourglass,
  type LucideIcon,
  Scissors,
  TriangleAlert,
} from "lucide-react";
import type { RunSummary } from "../../protocol/shapes.ts";
import { firstName } from "../units.ts";

type Tone = "live" | "ok" | "warn" | "bad" | "quiet";

interface Outcome {
  readonly word: string;
  readonly tone: Tone;
  /** Null: the pulsing dot. */
  readonly Icon: LucideIcon | null;
}

export function outcomeOf(run: RunSummary): Outcome {
  switch (run.state) {
    case "queued":
    case "admitted":
      if (run.problem) return waitingForProvider();
      return isQueued(run)
        ? { word: "Queued", tone: "quiet", Icon: Hourglass }
        : { word: "Starting", tone: "live", Icon: null };
    case "streaming":
      return { word: "Streaming", tone: "live", Icon: null };
    case "recovering":
      return { word: "Recovering", tone: "warn", Icon: TriangleAlert };
    case "completed":
      return run.bytes === 0 ? { word: "No text", tone: "warn", Icon: CircleDashed } : done("Completed");
    case "truncated":
      return { word: "Cut short", tone: "warn", Icon: Scissors };
    case "cancelled":
      return { word: stoppedWord(run), tone: "quiet", Icon: CircleStop };
    case "failed":
      return { word: "Failed", tone: "bad", Icon: CircleX };
    case "interrupted":
      return { word: "Interrupted", tone: "warn", Icon: TriangleAlert };
    case "rejected":
      return { word: "Not started", tone: "bad", Icon: CircleX };
    default:
      run.state satisfies never;
      return done("Completed");
  }
}

export function OutcomeMark({ run }: { readonly run: RunSummary }) {
  const { word, tone, Icon } = outcomeOf(run);
  return (
    <span className={`state ${tone}`}>
      {Icon ? <Icon className="i i14" aria-hidden="true" /> : <span className="dot" />}
      {word}
    </span>
  );
}

export function OutcomeIcon({ run, size }: { readonly run: RunSummary; readonly size: 12 | 14 }) {
  const { word, tone, Icon } = outcomeOf(run);
  const colour = tone === "quiet" ? "t3" : `${tone}-i`;
  if (!Icon) {
    return (
      <span className={`${colour} row`} role="img" aria-label={word} style={{ width: size, justifyContent: "center" }}>
        <span className="dot" />
      </span>
    );
  }
  return <Icon className={`i i${size} ${colour}`} role="img" aria-label={word} />;
}

/** Has a place in the queue: between being asked for and being given one, or a slot, a run is only starting. */
export function isQueued(run: RunSummary): boolean {
  return run.state === "queued" && (run.queue !== undefined || run.problem !== undefined);
}

function done(word: string): Outcome {
  return { word, tone: "ok", Icon: CircleCheck };
}

function waitingForProvider(): Outcome {
  return { word: "Waiting for provider", tone: "warn", Icon: TriangleAlert };
}

function stoppedWord(run: RunSummary): string {
  return run.stopped_by ? `Stopped by ${firstName(run.stopped_by.name)}` : "Stopped";
}
