//! Light or dark: the system's choice until one is made here.

import { cell } from "./readable.ts";

export type Theme = "light" | "dark";

const KEY = "promptroom.theme";

export const theme = cell<Theme>(document.documentElement.dataset.theme === "dark" ? "dark" : "light");

export function switchTheme(): void {
  const next: Theme = theme.getSnapshot() === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  apply(next);
}

/** Follows the system as long as nobody chose. */
export function followSystemTheme(): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    let chosen: string | null = null;
    try {
      chosen = localStorage.getItem(KEY);
    } catch {
      // Nothing was chosen that outlived the page.
    }
    if (chosen === null) apply(event.matches ? "dark" : "light");
  });
}

function apply(next: Theme): void {
  document.documentElement.dataset.theme = next;
  theme.set(next);
}
