//! Watches a run's output as long as the component is drawn.

import { useEffect, useState } from "react";
import type { Output } from "../../room/api.ts";
import { useRoom } from "../room/RoomContext.ts";

/** Null in the moment between one run and the next. */
export function useOutput(run: string): Output | null {
  const room = useRoom();
  const [output, setOutput] = useState<Output | null>(null);
  useEffect(() => {
    const watched = room.runs.output(run);
    setOutput(watched);
    return () => watched.release();
  }, [room, run]);
  return output?.run === run ? output : null;
}
