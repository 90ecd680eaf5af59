//! Pages that hold one message: nothing here, no answer from the server.

import { CloudOff, FileQuestion } from "lucide-react";
import { Link } from "wouter";
import type { Problem } from "../../protocol/shapes.ts";
import { loadAccount } from "../account.ts";

export function NotFound() {
  return (
    <main className="empty" style={{ minHeight: "100%" }}>
      <FileQuestion className="i i20" aria-hidden="true" />
      <h2>Nothing is here</h2>
      <p>The address may be mistyped, or the prompt is private to somebody else.</p>
      <span className="row">
        <Link href="/" className="btn">
          Library
        </Link>
      </span>
    </main>
  );
}

export function Unreachable({ problem }: { readonly problem: Problem }) {
  return (
    <main className="empty" style={{ minHeight: "100%" }}>
      <CloudOff className="i i20" aria-hidden="true" />
      <h2>{problem.title}</h2>
      <p>{problem.detail} The page tries again by itself.</p>
      <span className="row">
        <button type="button" className="btn" onClick={() => void loadAccount()}>
          Try now
        </button>
      </span>
    </main>
  );
}
