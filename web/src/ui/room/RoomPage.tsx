//! One room, from opening it to leaving it.

import { useCallback, useEffect, useState } from "react";
import type { Room } from "../../room/api.ts";
import { lastMember, signedOut } from "../account.ts";
import { loadModels } from "../models.ts";
import { useReadable } from "../readable.ts";
import { ClosedRoom } from "./ClosedRoom.tsx";
import { RoomContext } from "./RoomContext.ts";
import { RoomFrame } from "./RoomFrame.tsx";

export interface RoomPageProps {
  readonly id: string;
  readonly openRoom: (prompt: string, member: string | null) => Room;
}

export function RoomPage({ id, openRoom }: RoomPageProps) {
  const [room, setRoom] = useState<Room | null>(null);
  const [times, setTimes] = useState(0);
  useEffect(loadModels, []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `times` asks for the same room once more
  useEffect(() => {
    const opened = openRoom(id, lastMember());
    setRoom(opened);
    return () => opened.close();
  }, [id, openRoom, times]);
  const reopen = useCallback(() => setTimes((before) => before + 1), []);
  if (!room) return null;
  return (
    <RoomContext value={room}>
      <OpenOrClosed room={room} reopen={reopen} />
    </RoomContext>
  );
}

function OpenOrClosed({ room, reopen }: { readonly room: Room; readonly reopen: () => void }) {
  const { connection } = useReadable(room.session);
  const signInNeeded = connection.kind === "closed" && connection.problem.status === 401;
  useEffect(() => {
    if (signInNeeded) signedOut();
  }, [signInNeeded]);
  if (connection.kind === "closed") return <ClosedRoom room={room} problem={connection.problem} reopen={reopen} />;
  return <RoomFrame />;
}
