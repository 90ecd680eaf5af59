//! The keyboard map: what the help lists, and how a pressed key is told.

export const isMac = /mac|iphone|ipad/i.test(navigator.userAgent);

export interface Shortcut {
  readonly name: string;
  /** As on macOS; `mod` and `alt` are written as the reader's keyboard has them. */
  readonly keys: readonly string[];
}

export interface ShortcutGroup {
  readonly title: string;
  readonly shortcuts: readonly Shortcut[];
}

export const SHORTCUTS: readonly ShortcutGroup[] = [
  {
    title: "Run",
    shortcuts: [
      { name: "Run", keys: ["mod", "↵"] },
      { name: "Stop, or leave the queue", keys: ["Esc"] },
      { name: "Regenerate", keys: ["mod", "alt", "R"] },
      { name: "Continue", keys: ["mod", "alt", "↵"] },
    ],
  },
  {
    title: "Write",
    shortcuts: [
      { name: "Add message", keys: ["mod", "alt", "N"] },
      { name: "Move message", keys: ["alt", "↑", "↓"] },
      { name: "Switch role", keys: ["mod", "alt", "U"] },
      { name: "Undo your own edits", keys: ["mod", "Z"] },
      { name: "Leave the editor", keys: ["Esc", "Tab"] },
    ],
  },
  {
    title: "Anywhere",
    shortcuts: [
      { name: "New prompt", keys: ["C"] },
      { name: "Search the library", keys: ["/"] },
      { name: "Library", keys: ["G", "L"] },
      { name: "Next pane", keys: ["F6"] },
      { name: "This help", keys: ["?"] },
    ],
  },
];

export function keyLabel(key: string, mac: boolean): string {
  if (key === "mod") return mac ? "⌘" : "Ctrl";
  if (key === "alt") return mac ? "⌥" : "Alt";
  return key;
}

/** "⌘↵" or "Ctrl+↵": for a hint on a button. */
export function hint(...keys: readonly string[]): string {
  return keys.map((key) => keyLabel(key, isMac)).join(isMac ? "" : "+");
}

export function modPressed(event: KeyboardEvent): boolean {
  return isMac ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey;
}

/** Whether the key goes into a text: single letters are never commands there. */
export function isTyping(event: KeyboardEvent): boolean {
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement)
    return true;
  return target instanceof HTMLInputElement && target.type !== "range" && target.type !== "button";
}

/** A letter alone, outside of texts, menus and dialogs. */
export function isBareLetter(event: KeyboardEvent): boolean {
  if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented || event.repeat) return false;
  return !isTyping(event) && !isLayerOpen();
}

/** Whether a menu, panel or dialog is open: it takes keys first. */
export function isLayerOpen(): boolean {
  return document.querySelector("[data-layer]") !== null;
}
