//! The open room, for everything that is drawn inside it.

import { createContext, use } from "react";
import type { PromptDocument, Room } from "../../room/api.ts";
import { useReadable } from "../readable.ts";

export const RoomContext = createContext<Room | null>(null);

export function useRoom(): Room {
  const room = use(RoomContext);
  if (!room) throw new Error("drawn outside of a room");
  return room;
}

export function usePromptDocument(): PromptDocument {
  return useReadable(useRoom().document);
}

export function useRights() {
  return useReadable(useRoom().session).rights;
}
