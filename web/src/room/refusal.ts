//! What the page does when its socket is closed for good: start the document again, or say why and stop.

import { localProblem } from "../link/http.ts";
import { CLOSE } from "../protocol/close.ts";
import type { Problem } from "../protocol/shapes.ts";

/** After this many resets within a minute the page stops trying. */
const RESETS_MAX = 3;
export const RESETS_WITHIN_MS = 60_000;
const PROBLEM_FRESH_MS = 2_000;

export type Verdict =
  /** Own text aside, an empty document, a new client id, and on. */
  | "reset"
  /** Closed; the copy in this browser goes away too. */
  | "lost"
  /** Closed; the copy stays for when the same person is back. */
  | "closed";

export interface Circumstances {
  /** Whether the server had greeted this socket: then access is not what it refused. */
  readonly greeted: boolean;
  readonly unsaved: number;
  readonly resetsLately: number;
}

export function judge(code: number, { greeted, unsaved, resetsLately }: Circumstances): Verdict {
  const mayReset = resetsLately < RESETS_MAX;
  switch (code) {
    case CLOSE.lineageChanged:
      return mayReset ? "reset" : "closed";
    case CLOSE.forbidden:
      return greeted && unsaved > 0 && mayReset ? "reset" : "lost";
    case CLOSE.notFound:
    case CLOSE.deleted:
      return "lost";
    case CLOSE.malformed:
    case CLOSE.tooLarge:
    case CLOSE.unsupported:
      return greeted && unsaved > 0 && mayReset ? "reset" : "closed";
    default:
      return "closed";
  }
}

/** A `problem` frame, and when it came. */
export interface SaidProblem {
  readonly problem: Problem;
  readonly atMs: number;
}

/** The server says why just before it closes; a problem from long before was about something else. */
export function whyRefused(said: SaidProblem | null, nowMs: number, code: number, reason: string): Problem {
  return said !== null && nowMs - said.atMs < PROBLEM_FRESH_MS ? said.problem : problemOf(code, reason);
}

/** For a close without a `problem` frame before it. */
export function problemOf(code: number, reason: string): Problem {
  const detail = reason === "" ? `The server closed the connection with code ${code}.` : reason;
  switch (code) {
    case CLOSE.signInNeeded:
      return localProblem("auth.sign_in_needed", "You are signed out", detail, { next: "Sign in again." });
    case CLOSE.forbidden:
      return localProblem("auth.forbidden", "You may not do that here", detail, {
        next: "Ask somebody who manages the workspace.",
      });
    case CLOSE.notFound:
      return localProblem("prompt.not_found", "There is no such prompt", detail, { next: "Go back to the library." });
    case CLOSE.deleted:
      return localProblem("prompt.deleted", "This prompt was deleted", detail, {
        next: "Restore it or go back to the library.",
      });
    case CLOSE.lineageChanged:
      return localProblem("document.lineage_changed", "This prompt has a new history", detail, {
        next: "Copy your text if you need it.",
      });
    case CLOSE.tooLarge:
      return localProblem("document.too_large", "That edit is too large", detail, {
        next: "Copy your text and put it in smaller pieces.",
      });
    case CLOSE.versionUnknown:
      return localProblem("page.too_old", "This page is from another version", detail, { next: "Reload the page." });
    default:
      return localProblem("document.refused", "The server did not take an edit", detail, {
        next: "Copy your text if you need it.",
      });
  }
}
