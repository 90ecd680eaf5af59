//! The frame of the sign-in pages: the form on the left, a room as it looks on the right.

import type { ReactNode } from "react";
import { Avatar, colourOf } from "../parts/Avatar.tsx";
import { Logo } from "../parts/Logo.tsx";

export function SignInFrame({ children }: { readonly children: ReactNode }) {
  return (
    <div className="signin">
      <main className="si">
        <div className="top">
          <Logo /> Promptroom
        </div>
        {children}
        <div className="ft">
          <span>{location.host}</span>
        </div>
      </main>
      <Preview />
    </div>
  );
}

function Preview() {
  return (
    <aside className="pv" aria-hidden="true">
      <h2>One prompt, one room. Everyone sees the same tokens arrive.</h2>
      <div className="card">
        <div className="pane-head">
          <span className="strong">Ticket triage</span>
        </div>
        <div className="bd">
          <div>
            <h3>System</h3>
            <PreviewText />
          </div>
          <div>
            <div className="row" style={{ marginBottom: 8 }}>
              <span className="state live">
                <span className="dot" />
                Streaming
              </span>
              <span className="avs">
                <Avatar name="Ana" colour={1} size="sm" />
                <Avatar name="Ravi" colour={2} size="sm" />
                <Avatar name="Mei" colour={3} size="sm" />
              </span>
            </div>
            <p className="read" style={{ padding: 0, overflow: "visible", contain: "none" }}>
              You changed nothing, and nothing is wrong on your side. Since 06:35 UTC our webhook deliveries for DHL
              parcels have been delayed. The 212 events are queued, not
              <span className="caret" />
            </p>
          </div>
        </div>
      </div>
    </aside>
  );
}

function PreviewText() {
  return (
    <div className="text">
      {"For each ticket decide:\n\n1. category: billing, delivery, integration\n2. urgency: P1 to P4\n"}
      3. next step: what the on-call does first
      <Caret name="Ana" colour={1} />
      {"\n\n"}
      <span className="rs" style={colourOf(2)}>
        Never promise refunds.
      </span>
      <Caret name="Ravi" colour={2} />
      {" Say who decides.\nDraft the reply in "}
      <span className="var">{"{{language}}"}</span>.
    </div>
  );
}

function Caret({ name, colour }: { readonly name: string; readonly colour: number }) {
  return (
    <span className="rc" style={colourOf(colour)}>
      <b>{name}</b>
    </span>
  );
}
