//! Whether a media query holds.

import { useSyncExternalStore } from "react";

/** Below this the page has one pane and a foot with Run. */
export const PHONE = "(max-width: 640px)";

export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (listener) => {
      const list = matchMedia(query);
      list.addEventListener("change", listener);
      return () => list.removeEventListener("change", listener);
    },
    () => matchMedia(query).matches,
  );
}
