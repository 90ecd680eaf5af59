//! Joining by an invitation: a display name, and one is a member.

import { type FormEvent, useEffect, useState } from "react";
import { navigate } from "wouter/use-browser-location";
import { RefusedError, signIn } from "../../link/http.ts";
import type { Problem } from "../../protocol/shapes.ts";
import { signedIn } from "../account.ts";
import { ProblemNotice } from "../parts/ProblemNotice.tsx";
import { SignInFrame } from "./SignInFrame.tsx";

export function Invitation({ secret }: { readonly secret: string }) {
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    document.title = "Join · Promptroom";
  }, []);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    try {
      signedIn(await signIn({ invite: secret, name: name.trim() }));
      navigate("/", { replace: true });
    } catch (error) {
      if (!(error instanceof RefusedError)) throw error;
      setProblem(error.problem);
      setBusy(false);
    }
  };
  return (
    <SignInFrame>
      <form onSubmit={(event) => void submit(event)}>
        <h1>Join the workspace</h1>
        <p className="lead">You were invited to edit and run prompts together.</p>
        {problem && <ProblemNotice problem={problem} tone="bad" />}
        <label>
          <span className="label">Your name</span>
          <input
            className="input lg"
            autoComplete="name"
            required
            maxLength={60}
            // biome-ignore lint/a11y/noAutofocus: the only field of the page
            autoFocus
            value={name}
            onChange={(event) => setName(event.target.value)}
          />
        </label>
        <p className="help">Others see it beside your caret and your runs.</p>
        <button type="submit" className="btn primary lg" disabled={busy || name.trim() === ""}>
          Join <span className="kbd">↵</span>
        </button>
      </form>
    </SignInFrame>
  );
}
