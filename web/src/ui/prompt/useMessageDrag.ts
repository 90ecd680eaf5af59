//! Moving a message by its handle: a line shows where it would land.

import { type PointerEvent as ReactPointerEvent, useCallback, useState } from "react";
import type { PromptDocument } from "../../room/api.ts";

export interface MessageDrag {
  readonly moving: string;
  readonly over: string;
  readonly side: "before" | "after";
}

/** How near the edge of the list the pointer makes it scroll. */
const SCROLL_EDGE_PX = 36;
const SCROLL_STEP_PX = 12;

export function useMessageDrag(prompt: PromptDocument) {
  const [state, setState] = useState<MessageDrag | null>(null);
  const start = useCallback(
    (id: string, event: ReactPointerEvent<HTMLElement>) => {
      if (event.button !== 0) return;
      event.preventDefault();
      const grip = event.currentTarget;
      const list = grip.closest<HTMLElement>(".doc");
      if (!list) return;
      grip.setPointerCapture(event.pointerId);
      follow(grip, list, id, setState, (drop) => prompt.moveMessage(id, beforeOf(prompt, id, drop)));
    },
    [prompt],
  );
  return { state, start };
}

function follow(
  grip: HTMLElement,
  list: HTMLElement,
  id: string,
  show: (drag: MessageDrag | null) => void,
  drop: (drag: MessageDrag) => void,
): void {
  let place: MessageDrag | null = null;
  const over = new AbortController();
  const { signal } = over;
  const finish = (commit: boolean) => {
    over.abort();
    show(null);
    if (commit && place && place.over !== id) drop(place);
  };
  grip.addEventListener(
    "pointermove",
    (event) => {
      scrollAtEdge(list, event.clientY);
      place = placeAt(list, id, event.clientY);
      show(place);
    },
    { signal },
  );
  grip.addEventListener("pointerup", () => finish(true), { signal });
  grip.addEventListener("pointercancel", () => finish(false), { signal });
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      finish(false);
    },
    { signal, capture: true },
  );
}

function placeAt(list: HTMLElement, moving: string, y: number): MessageDrag | null {
  let nearest: MessageDrag | null = null;
  let distance = Number.POSITIVE_INFINITY;
  for (const block of list.querySelectorAll<HTMLElement>("[data-message]")) {
    const { top, bottom } = block.getBoundingClientRect();
    const over = block.dataset.message ?? "";
    for (const [side, edge] of [
      ["before", top],
      ["after", bottom],
    ] as const) {
      if (Math.abs(y - edge) >= distance) continue;
      distance = Math.abs(y - edge);
      nearest = { moving, over, side };
    }
  }
  return nearest;
}

/** The message before which the moved one lands; null at the end. */
function beforeOf(prompt: PromptDocument, moving: string, drag: MessageDrag): string | null {
  const others = (prompt.draft.getSnapshot()?.messages ?? []).filter((message) => message.id !== moving);
  const at = others.findIndex((message) => message.id === drag.over);
  return others[drag.side === "before" ? at : at + 1]?.id ?? null;
}

function scrollAtEdge(list: HTMLElement, y: number): void {
  const { top, bottom } = list.getBoundingClientRect();
  if (y < top + SCROLL_EDGE_PX) list.scrollTop -= SCROLL_STEP_PX;
  else if (y > bottom - SCROLL_EDGE_PX) list.scrollTop += SCROLL_STEP_PX;
}
