//! Opens a room: puts the browser's parts and the room's parts together.

import type { WebSocketLike } from "../link/socket.ts";
import type { Room } from "./api.ts";
import { forgetAllCached } from "./cache.ts";
import { Session } from "./session.ts";

export interface OpenOptions {
  url(prompt: string): string;
  openSocket(url: string): WebSocketLike;
  random(): number;
}

const BROWSER: OpenOptions = {
  url: (prompt) => {
    const { protocol, host } = globalThis.location;
    return `${protocol === "https:" ? "wss" : "ws"}://${host}/ws/${encodeURIComponent(prompt)}?v=1`;
  },
  openSocket: (url) => new WebSocket(url),
  random: Math.random,
};

/**
 * Enters the room of a prompt, by id or slug. Where it is known who is signed in (`member`, from `/me`), what this
 * browser kept for them shows before the server answers.
 */
export function openRoom(prompt: string, member: string | null = null, options: OpenOptions = BROWSER): Room {
  const session = new Session({ prompt, member, ...options });
  return {
    session: session.view,
    saved: session.saved,
    document: session.document,
    presence: session.presence,
    runs: session.runs,
    aside: session.aside,
    dismissAside: () => session.aside.set(null),
    tryNow: () => session.tryNow(),
    whenSaved: (timeoutMs) => whenSaved(session, timeoutMs),
    close: () => session.close(),
  };
}

/** Call it on sign-out: no prompt's text stays in this browser. */
export function forgetRooms(): Promise<void> {
  return forgetAllCached();
}

function whenSaved(session: Session, timeoutMs: number): Promise<boolean> {
  if (session.saved.getSnapshot().kind === "saved") return Promise.resolve(true);
  return new Promise((resolve) => {
    const finish = (saved: boolean): void => {
      clearTimeout(timer);
      unsubscribe();
      resolve(saved);
    };
    const timer = setTimeout(() => finish(false), timeoutMs);
    const unsubscribe = session.saved.subscribe(() => {
      if (session.saved.getSnapshot().kind === "saved") finish(true);
    });
  });
}
