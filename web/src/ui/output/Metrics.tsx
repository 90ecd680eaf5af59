//! How a run goes, in one line of numbers that stay in their places.

import { useRef } from "react";
import { isTerminal, type RunSummary } from "../../protocol/shapes.ts";
import { OutcomeMark } from "../parts/Outcome.tsx";
import { count, duration, money } from "../units.ts";
import { maxTokensOf } from "./runParameters.ts";

/** Speed is that of the last seconds, by this page's clock: the server's may differ. */
const SPEED_WINDOW_MS = 3_000;
/** Shorter spans say nothing about speed. */
const SPEED_SPAN_MS_MIN = 400;

export function Metrics({ run, stopping }: { readonly run: RunSummary; readonly stopping: boolean }) {
  const speed = useSpeed(run);
  const live = !isTerminal(run.state);
  const first = firstTokenMs(run);
  return (
    <div className="metrics">
      {stopping && live ? <span className="state">Stopping</span> : <OutcomeMark run={run} />}
      {run.stop_sequence !== undefined && (
        <span className="minor">
          at<b className="mono">{run.stop_sequence}</b>
        </span>
      )}
      {run.state === "truncated" && (
        <Fact label="at" value={run.stop_reason === "context_full" ? "full context" : "max tokens"} />
      )}
      {first !== null && <Fact label="TTFT" value={duration(first)} />}
      {live && speed !== null && <Fact label="Speed" value={`${speed} tok/s`} />}
      {!live && run.ended_at_ms !== undefined && (
        <Fact minor label="Total" value={duration(run.ended_at_ms - (run.admitted_at_ms ?? run.created_at_ms))} />
      )}
      {hasTokens(run) && <Tokens run={run} live={live} />}
      {run.attempts > 1 && <Fact label="Attempts" value={String(run.attempts)} />}
      {run.cost !== undefined && run.cost > 0 && (
        <Fact
          label={run.state === "cancelled" || run.state === "interrupted" ? "Paid" : "Cost"}
          value={`${run.usage?.estimated && run.cost > 0 ? "≈" : ""}${money(run.cost)}`}
        />
      )}
    </div>
  );
}

interface FactProps {
  readonly label: string;
  readonly value: string;
  /** Gives way where the pane is narrow. */
  readonly minor?: boolean;
}

function Fact({ label, value, minor = false }: FactProps) {
  return (
    <span className={minor ? "minor" : undefined}>
      {label}
      <b>{value}</b>
    </span>
  );
}

function Tokens({ run, live }: { readonly run: RunSummary; readonly live: boolean }) {
  if (!run.usage || (live && run.usage.output_tokens === 0)) return null;
  const about = run.usage.estimated ? "≈" : "";
  const max = maxTokensOf(run.parameters);
  if (live) {
    return (
      <span>
        Output<b>{`${about}${count(run.usage.output_tokens)}`}</b>
        {max !== null && ` of ${count(max)}`}
      </span>
    );
  }
  const thought = run.usage.reasoning_tokens > 0 ? `${count(run.usage.reasoning_tokens)} of them reasoning` : undefined;
  return (
    <span title={thought}>
      Tokens<b>{`${count(run.usage.input_tokens)} → ${about}${count(run.usage.output_tokens)}`}</b>
    </span>
  );
}

export function hasTokens({ usage }: RunSummary): boolean {
  return usage !== undefined && usage.input_tokens + usage.output_tokens > 0;
}

export function firstTokenMs(run: RunSummary): number | null {
  if (run.first_token_at_ms === undefined) return null;
  return run.first_token_at_ms - (run.admitted_at_ms ?? run.created_at_ms);
}

interface Sample {
  readonly atMs: number;
  readonly tokens: number;
}

function useSpeed(run: RunSummary): number | null {
  const seen = useRef<{ run: string; samples: Sample[] }>({ run: "", samples: [] });
  if (seen.current.run !== run.id) seen.current = { run: run.id, samples: [] };
  const { samples } = seen.current;
  const tokens = run.usage?.output_tokens;
  const now = performance.now();
  if (tokens !== undefined && samples.at(-1)?.tokens !== tokens) samples.push({ atMs: now, tokens });
  while (samples.length > 2 && now - (samples[0]?.atMs ?? now) > SPEED_WINDOW_MS) samples.shift();
  const [oldest] = samples;
  const newest = samples.at(-1);
  if (!oldest || !newest || newest.atMs - oldest.atMs < SPEED_SPAN_MS_MIN) return null;
  return Math.round(((newest.tokens - oldest.tokens) / (newest.atMs - oldest.atMs)) * 1000);
}
