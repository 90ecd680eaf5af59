//! The text being read: it stays at its end only for a reader who is there, and never takes the scroll from one who is not.

import { ArrowDown } from "lucide-react";
import { type RefObject, useCallback, useEffect, useRef, useState } from "react";
import { isTerminal, type RunSummary } from "../../protocol/shapes.ts";
import type { Output } from "../../room/api.ts";
import { useRoom } from "../room/RoomContext.ts";
import { firstName } from "../units.ts";
import { OutputText } from "./OutputText.tsx";
import { RunEnding } from "./RunEnding.tsx";

/** A reader this near to the end wants to stay there. */
const NEAR_END_PX = 40;

export interface OutputReaderProps {
  readonly run: RunSummary;
  readonly output: Output | null;
  readonly raw: boolean;
  /** A newer run that is not shown. */
  readonly chip: RunSummary | null;
}

export function OutputReader({ run, output, raw, chip }: OutputReaderProps) {
  const room = useRoom();
  const area = useRef<HTMLElement>(null);
  const live = !isTerminal(run.state);
  const { away, onGrow, jump } = usePinnedScroll(area, live);
  useHoldOnSelection(area);
  return (
    <div className="reader">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling text must be reachable by keyboard */}
      <section ref={area} className={raw ? "read raw" : "read"} aria-label="Text" aria-busy={live} tabIndex={0}>
        {output && <OutputText output={output} raw={raw} live={live} onGrow={onGrow} />}
        <RunEnding run={run} />
      </section>
      <div className="float">
        {chip && (
          <button type="button" className="btn ink" onClick={() => room.runs.follow()}>
            {firstName(chip.by.name)} started run {chip.number} · Watch
          </button>
        )}
        {!chip && away && live && (
          <button
            type="button"
            className="btn ink"
            onClick={() => {
              jump();
              if (room.runs.list.getSnapshot().runs[0]?.id === run.id) room.runs.follow();
            }}
          >
            <ArrowDown className="i i14" aria-hidden="true" /> Jump to live
          </button>
        )}
      </div>
    </div>
  );
}

function usePinnedScroll(area: RefObject<HTMLElement | null>, live: boolean) {
  const room = useRoom();
  const [away, setAway] = useState(false);
  const pinned = useRef(true);
  /** Where this page put the scroll itself: anything else was the reader. */
  const ownTop = useRef(0);
  const jump = useCallback(() => {
    const element = area.current;
    if (!element) return;
    pinned.current = true;
    setAway(false);
    element.scrollTop = element.scrollHeight;
    ownTop.current = element.scrollTop;
  }, [area]);
  const onGrow = useCallback(() => {
    if (pinned.current && live) jump();
  }, [jump, live]);
  useEffect(() => {
    const element = area.current;
    if (!element) return undefined;
    const onScroll = () => {
      if (Math.abs(element.scrollTop - ownTop.current) < 2) return;
      ownTop.current = element.scrollTop;
      pinned.current = element.scrollHeight - element.clientHeight - element.scrollTop <= NEAR_END_PX;
      setAway(!pinned.current);
      if (!pinned.current) room.runs.hold();
    };
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => element.removeEventListener("scroll", onScroll);
  }, [area, room]);
  return { away, onGrow, jump };
}

/** Whoever selects in a text is reading it: it must not be replaced. */
function useHoldOnSelection(area: RefObject<HTMLElement | null>): void {
  const room = useRoom();
  useEffect(() => {
    const onSelect = () => {
      const selection = document.getSelection();
      if (!selection || selection.isCollapsed || !selection.anchorNode) return;
      if (area.current?.contains(selection.anchorNode)) room.runs.hold();
    };
    document.addEventListener("selectionchange", onSelect);
    return () => document.removeEventListener("selectionchange", onSelect);
  }, [area, room]);
}
