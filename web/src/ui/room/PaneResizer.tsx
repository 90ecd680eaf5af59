//! The line between the panes: drag it, or move it with the arrow keys. The width is kept in this browser.

import { type PointerEvent, type RefObject, useEffect, useState } from "react";

const KEY = "promptroom.output_width";
const WIDTH_PX = 604;
const WIDTH_PX_MIN = 420;
const SHARE_MAX = 0.6;
const STEP_PX = 24;

export function PaneResizer({ room }: { readonly room: RefObject<HTMLElement | null> }) {
  const [width, setWidth] = useState(readWidth);
  useEffect(() => {
    room.current?.style.setProperty("--out", `${width}px`);
    try {
      localStorage.setItem(KEY, String(width));
    } catch {
      // The width lasts as long as the page.
    }
  }, [room, width]);
  const bound = (wanted: number) => {
    const widthMax = Math.max(WIDTH_PX_MIN, (room.current?.clientWidth ?? innerWidth) * SHARE_MAX);
    return Math.round(Math.min(widthMax, Math.max(WIDTH_PX_MIN, wanted)));
  };
  const drag = (event: PointerEvent<HTMLElement>) => {
    if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
    setWidth(bound((room.current?.getBoundingClientRect().right ?? innerWidth) - event.clientX));
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a separator that moves is not a line in a text
    <div
      className="resizer"
      role="separator"
      tabIndex={0}
      aria-label="Width of the output"
      aria-orientation="vertical"
      aria-valuenow={width}
      aria-valuemin={WIDTH_PX_MIN}
      onPointerDown={(event) => {
        event.preventDefault();
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={drag}
      onDoubleClick={() => setWidth(bound(WIDTH_PX))}
      onKeyDown={(event) => {
        if (event.key === "ArrowLeft") setWidth(bound(width + STEP_PX));
        else if (event.key === "ArrowRight") setWidth(bound(width - STEP_PX));
        else return;
        event.preventDefault();
      }}
    />
  );
}

function readWidth(): number {
  try {
    const kept = Number(localStorage.getItem(KEY));
    if (kept >= WIDTH_PX_MIN) return kept;
  } catch {
    // Storage may be forbidden.
  }
  return WIDTH_PX;
}
