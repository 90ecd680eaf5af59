//! Keys that work on every page: help, library, new prompt, search.

import { useEffect } from "react";
import { navigate } from "wouter/use-browser-location";
import { createAndOpen } from "./library/create.ts";
import { openDialog } from "./overlays/dialogs.ts";
import { isBareLetter } from "./shortcuts.ts";

/** How long after G the second letter may come. */
const CHORD_MS = 1_000;

export function useSiteKeys(): void {
  useEffect(() => {
    let goAtMs = 0;
    const onKey = (event: KeyboardEvent) => {
      if (!isBareLetter(event)) return;
      const key = event.key.toLowerCase();
      const chord = Date.now() - goAtMs < CHORD_MS;
      goAtMs = 0;
      if (key === "g") goAtMs = Date.now();
      else if (chord && key === "l") navigate("/");
      else if (!act(key)) return;
      event.preventDefault();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

function act(key: string): boolean {
  const inLibrary = location.pathname === "/";
  const search = document.querySelector<HTMLInputElement>("[data-search]");
  if (key === "?") openDialog.set({ kind: "keys" });
  else if (key === "c" && inLibrary) void createAndOpen();
  else if (key === "/" && search) search.focus();
  else return false;
  return true;
}
