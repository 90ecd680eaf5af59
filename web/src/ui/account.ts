//! Who is signed in, asked once; and the way to the sign-in page when nobody is.

import { fetchMe, RefusedError } from "../link/http.ts";
import type { Me } from "../protocol/resources.ts";
import type { Problem } from "../protocol/shapes.ts";
import { cell } from "./readable.ts";

export type Account =
  | { readonly kind: "unknown" }
  | { readonly kind: "signed_in"; readonly me: Me }
  | { readonly kind: "signed_out" }
  | { readonly kind: "unreachable"; readonly problem: Problem };

const RETRY_MS = 3_000;
const MEMBER_KEY = "promptroom.member";

export const account = cell<Account>({ kind: "unknown" });

export async function loadAccount(): Promise<void> {
  try {
    signedIn(await fetchMe());
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    if (error.problem.status === 401) return signedOut();
    account.set({ kind: "unreachable", problem: error.problem });
    setTimeout(() => void loadAccount(), RETRY_MS);
  }
}

export function signedIn(me: Me): void {
  account.set({ kind: "signed_in", me });
  try {
    localStorage.setItem(MEMBER_KEY, me.me.id);
  } catch {
    // Then a room opens without what was kept for them.
  }
}

/** Who was signed in last here: their rooms can open before the server has answered, or without it. */
export function lastMember(): string | null {
  const now = account.getSnapshot();
  if (now.kind === "signed_in") return now.me.me.id;
  try {
    return localStorage.getItem(MEMBER_KEY);
  } catch {
    return null;
  }
}

export function signedOut(): void {
  try {
    localStorage.removeItem(MEMBER_KEY);
  } catch {
    // Nothing was kept.
  }
  account.set({ kind: "signed_out" });
}
