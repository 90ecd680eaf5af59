//! The one-time link of the owner. Opening it does nothing; the button uses it up, so that a preview of the link cannot.

import { type FormEvent, useEffect, useState } from "react";
import { navigate } from "wouter/use-browser-location";
import { RefusedError, signIn } from "../../link/http.ts";
import type { Problem } from "../../protocol/shapes.ts";
import { signedIn } from "../account.ts";
import { firstPage } from "../library/create.ts";
import { ProblemNotice } from "../parts/ProblemNotice.tsx";
import { SignInFrame } from "./SignInFrame.tsx";

export function OwnerLink({ secret }: { readonly secret: string }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    document.title = "Sign in · Promptroom";
  }, []);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      signedIn(await signIn({ link: secret }));
      navigate(await firstPage(), { replace: true });
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      setProblem(error.problem);
      setBusy(false);
    }
  };
  return (
    <SignInFrame>
      <form onSubmit={(event) => void submit(event)}>
        <h1>Sign in</h1>
        <p className="lead">as the owner of this server</p>
        {problem && <ProblemNotice problem={problem} tone="bad" />}
        <button type="submit" className="btn primary lg" disabled={busy}>
          Sign in as the owner <span className="kbd">↵</span>
        </button>
        <p className="help">The link works once. A new one is printed by promptroom link.</p>
      </form>
    </SignInFrame>
  );
}
