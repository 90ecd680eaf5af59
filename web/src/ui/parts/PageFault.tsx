//! What is shown when the page itself breaks: never a blank screen, and the way back.

import { Component, type ReactNode } from "react";

interface PageFaultProps {
  readonly children: ReactNode;
}

interface PageFaultState {
  readonly message: string | null;
}

export class PageFault extends Component<PageFaultProps, PageFaultState> {
  override state: PageFaultState = { message: null };

  static getDerivedStateFromError(error: unknown): PageFaultState {
    return { message: error instanceof Error ? error.message : String(error) };
  }

  override render(): ReactNode {
    if (this.state.message === null) return this.props.children;
    return (
      <main className="empty" style={{ minHeight: "100%" }}>
        <h2>The page broke</h2>
        <p>Edits that were shown as saved are on the server; newer ones are kept in this browser. Runs go on.</p>
        <p className="mono t3">{this.state.message}</p>
        <span className="row">
          <button type="button" className="btn primary" onClick={() => location.reload()}>
            Open it again
          </button>
        </span>
      </main>
    );
  }
}
