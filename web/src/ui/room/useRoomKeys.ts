//! Keys of the room: run, stop, regenerate, continue, undo, add a message, next pane.

import { type RefObject, useEffect } from "react";
import { isTerminal } from "../../protocol/shapes.ts";
import type { Room } from "../../room/api.ts";
import { canContinue, canRegenerate } from "../output/runOptions.ts";
import { addMessageAndFocus } from "../prompt/addMessage.ts";
import { isLayerOpen, modPressed } from "../shortcuts.ts";
import { useRoom } from "./RoomContext.ts";
import { continueRun, regenerate, startRun, stoppable, stopRun } from "./runCommands.ts";

export function useRoomKeys(main: RefObject<HTMLElement | null>): void {
  const room = useRoom();
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || isLayerOpen()) return;
      if (act(room, main.current, event)) event.preventDefault();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [room, main]);
}

function act(room: Room, main: HTMLElement | null, event: KeyboardEvent): boolean {
  if (event.key === "F6") return nextPane(main, event.shiftKey);
  if (event.key === "Escape") return stopByEscape(room, main);
  if (!modPressed(event)) return false;
  if (event.altKey) return actWithAlt(room, event);
  const { rights } = room.session.getSnapshot();
  const prompt = room.document.getSnapshot();
  const key = event.key.toLowerCase();
  if (key === "enter" && !event.shiftKey && rights.run) startRun(room);
  else if (key === "z" && rights.edit) event.shiftKey ? prompt.redo() : prompt.undo();
  else if (key === "y" && rights.edit) prompt.redo();
  else return false;
  return true;
}

function actWithAlt(room: Room, event: KeyboardEvent): boolean {
  const { rights } = room.session.getSnapshot();
  const { run } = room.runs.shown.getSnapshot();
  // With Option held, macOS gives another character; the code names the key itself.
  if (event.code === "KeyR" && run && rights.run && canRegenerate(run)) regenerate(room, run);
  else if (event.code === "Enter" && run && rights.run && canContinue(run)) continueRun(room, run);
  else if (event.code === "KeyN" && rights.edit) addMessageAndFocus(room.document.getSnapshot());
  else return false;
  return true;
}

/** Only where it is plain which run is meant: the focus is in its pane, or it is the only one that goes on. */
function stopByEscape(room: Room, main: HTMLElement | null): boolean {
  const run = stoppable(room.runs.shown.getSnapshot());
  if (!run || !room.session.getSnapshot().rights.run) return false;
  const live = room.runs.list.getSnapshot().runs.filter((other) => !isTerminal(other.state));
  const inPane = main?.querySelector(".out")?.contains(document.activeElement) ?? false;
  if (!inPane && live.length > 1) return false;
  stopRun(room, run);
  return true;
}

function nextPane(main: HTMLElement | null, backwards: boolean): boolean {
  const panes = [...(main?.querySelectorAll<HTMLElement>("[data-pane]") ?? [])].filter((pane) => pane.offsetParent);
  if (panes.length === 0) return false;
  const at = panes.findIndex((pane) => pane.contains(document.activeElement));
  const next = panes[(at + (backwards ? panes.length - 1 : 1)) % panes.length] ?? panes[0];
  next?.focus();
  return true;
}
