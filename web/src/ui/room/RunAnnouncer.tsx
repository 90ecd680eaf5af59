//! Tells screen readers what runs do; never the text itself.

import { useEffect, useRef } from "react";
import { isTerminal, type RunSummary } from "../../protocol/shapes.ts";
import { announce, announceError } from "../announce.ts";
import { outcomeOf } from "../parts/Outcome.tsx";
import { useReadable } from "../readable.ts";
import { count, firstName } from "../units.ts";
import { useRoom } from "./RoomContext.ts";

export function RunAnnouncer() {
  const room = useRoom();
  const { runs } = useReadable(room.runs.list);
  const { refused } = useReadable(room.runs.shown);
  const heard = useRef<Map<string, string> | null>(null);
  useEffect(() => {
    const states = new Map(runs.map((run) => [run.id, run.state]));
    const before = heard.current;
    heard.current = states;
    // What was there on arrival is not news.
    if (before === null || before.size === 0) return;
    for (const run of runs) if (before.get(run.id) !== run.state) say(run, before.has(run.id));
  }, [runs]);
  useEffect(() => {
    if (refused) announceError(`${refused.title}. ${refused.detail}`);
  }, [refused]);
  return null;
}

function say(run: RunSummary, known: boolean): void {
  if (run.state === "failed") announceError(`Run ${run.number} failed. ${run.problem?.title ?? ""}`);
  else
    announce(!known && !isTerminal(run.state) ? `${firstName(run.by.name)} started run ${run.number}` : stateLine(run));
}

function stateLine(run: RunSummary): string {
  const tokens = isTerminal(run.state) && run.usage ? `, ${count(run.usage.output_tokens)} tokens` : "";
  return `Run ${run.number}: ${outcomeOf(run).word.toLowerCase()}${tokens}`;
}
