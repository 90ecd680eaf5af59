//! For whoever is not signed in: how one gets in. There are no passwords; links do it.

import { Link2, Terminal } from "lucide-react";
import { useEffect } from "react";
import { Redirect } from "wouter";
import { account, loadAccount } from "../account.ts";
import { useReadable } from "../readable.ts";
import { SignInFrame } from "./SignInFrame.tsx";

export function SignIn() {
  const who = useReadable(account);
  useEffect(() => {
    document.title = "Sign in · Promptroom";
  }, []);
  if (who.kind === "signed_in") return <Redirect to="/" replace />;
  return (
    <SignInFrame>
      <div className="form">
        <h1>Sign in</h1>
        <p className="lead">with a link. There is no password to remember.</p>
        <ul className="steps">
          <li>
            <Link2 className="i" aria-hidden="true" />
            <b>You were invited</b>
            <span>
              Open the invitation link that you were sent. Ask the owner or an admin for one if you have none.
            </span>
          </li>
          <li>
            <Terminal className="i" aria-hidden="true" />
            <b>This is your server</b>
            <span>
              Open the link that the server printed when it started. For a new one, run{" "}
              <code className="mono">promptroom link</code> where it runs.
            </span>
          </li>
        </ul>
        <button type="button" className="btn lg" style={{ marginTop: 8 }} onClick={() => void loadAccount()}>
          I have signed in elsewhere: check again
        </button>
      </div>
    </SignInFrame>
  );
}
