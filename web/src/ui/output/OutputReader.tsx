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
    // Else the browser moves the place itself when pieces above change, which would look like the reader's doing.
    element.style.overflowAnchor = "none";
    element.scrollTop = element.scrollHeight;
    ownTop.current = element.scrollTop;
  }, [area]);
  const willJump = useRef(false);
  /** A run that was over on arrival is read from its start; one that went on is stayed with, its last words too. */
  const follows = useRef(live);
  // Many pieces may grow in one frame: the place is read and set once, after them and before the paint.
  const onGrow = useCallback(() => {
    if (!pinned.current || !follows.current || willJump.current) return;
    willJump.current = true;
    queueMicrotask(() => {
      willJump.current = false;
      if (pinned.current) jump();
    });
  }, [jump]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is said at the end stands below the text
  useEffect(() => onGrow(), [live, onGrow]);
  useEffect(() => {
    const element = area.current;
    if (!element) return undefined;
    const onScroll = () => {
      if (Math.abs(element.scrollTop - ownTop.current) < 2) return;
      ownTop.current = element.scrollTop;
      pinned.current = element.scrollHeight - element.clientHeight - element.scrollTop <= NEAR_END_PX;
      setAway(!pinned.current);
      element.style.overflowAnchor = pinned.current ? "none" : "auto";
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
