//! How React reads what `room/` keeps, and the same small store for what only the screens need.

import { useSyncExternalStore } from "react";
import type { Readable } from "../room/api.ts";

export function useReadable<T>(readable: Readable<T>): T {
  return useSyncExternalStore(readable.subscribe, readable.getSnapshot);
}

/** A value of the screens' own that changes now and then. */
export interface Cell<T> extends Readable<T> {
  set(next: T): void;
}

export function cell<T>(first: T): Cell<T> {
  let value = first;
  const listeners = new Set<() => void>();
  return {
    getSnapshot: () => value,
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    set(next) {
      if (Object.is(value, next)) return;
      value = next;
      for (const listener of [...listeners]) listener();
    },
  };
}
