//! The exact request that was sent to the model, secrets left out.

import { Copy } from "lucide-react";
import { useEffect, useState } from "react";
import { RefusedError } from "../../link/http.ts";
import type { Problem } from "../../protocol/shapes.ts";
import { copyText } from "../copy.ts";
import { ProblemNotice } from "../parts/ProblemNotice.tsx";
import { useRoom } from "../room/RoomContext.ts";

type Loaded = { readonly request: string } | { readonly problem: Problem } | null;

export function RequestView({ run, ended }: { readonly run: string; readonly ended: boolean }) {
  const room = useRoom();
  const [loaded, setLoaded] = useState<Loaded>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what was sent may only be known once the run began or ended
  useEffect(() => {
    let current = true;
    room.runs
      .detail(run)
      .then((detail) => current && setLoaded({ request: JSON.stringify(detail.request, null, 2) }))
      .catch((error: unknown) => {
        if (!(error instanceof RefusedError)) throw error;
        if (current) setLoaded({ problem: error.problem });
      });
    return () => {
      current = false;
    };
  }, [room, run, ended]);
  return (
    <div className="reader">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling text must be reachable by keyboard */}
      <section className="read" aria-label="Request" tabIndex={0}>
        {loaded === null && <span className="skel" style={{ width: "60%" }} />}
        {loaded && "problem" in loaded && <ProblemNotice problem={loaded.problem} tone="bad" />}
        {loaded && "request" in loaded && (
          <>
            <div className="row small t3" style={{ marginBottom: 8 }}>
              <span className="grow">As it was sent to the model. Keys are left out.</span>
              <button
                type="button"
                className="btn ghost sm"
                onClick={() => void copyText(loaded.request, "The request was copied")}
              >
                <Copy className="i i14" aria-hidden="true" /> Copy
              </button>
            </div>
            <pre className="exact">{loaded.request}</pre>
          </>
        )}
      </section>
    </div>
  );
}
