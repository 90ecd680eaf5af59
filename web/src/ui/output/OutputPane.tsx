//! The output: the run that is looked at, and the runs before it.

import { Play } from "lucide-react";
import { useState } from "react";
import { isTerminal, type Problem } from "../../protocol/shapes.ts";
import type { Shown } from "../../room/api.ts";
import { useReadable } from "../readable.ts";
import { useRights, useRoom } from "../room/RoomContext.ts";
import { hint } from "../shortcuts.ts";
import { RefusedRun } from "./RefusedRun.tsx";
import type { RunView } from "./RunHeader.tsx";
import { RunPane } from "./RunPane.tsx";
import { RunsStrip } from "./RunsStrip.tsx";

export function OutputPane({ onShowOutput }: { readonly onShowOutput: () => void }) {
  const shown = useReadable(useRoom().runs.shown);
  const [dismissed, setDismissed] = useState<Problem | null>(null);
  const [allRuns, setAllRuns] = useState(false);
  // Kept from run to run: whoever reads the raw text goes on reading it.
  const [view, setView] = useState<RunView>("rendered");
  const live = shown.starting !== null || (shown.run !== null && !isTerminal(shown.run.state));
  const refused = shown.refused !== dismissed && !shown.starting ? shown.refused : null;
  return (
    <section className="out" aria-label="Output" data-pane tabIndex={-1}>
      {refused ? (
        <RefusedRun problem={refused} previous={shown.run} onBack={() => setDismissed(refused)} />
      ) : (
        !allRuns && <ShownRun shown={shown} view={view} onView={setView} />
      )}
      <RunsStrip
        live={live}
        all={allRuns}
        onAll={setAllRuns}
        onChoose={() => {
          setDismissed(shown.refused);
          setAllRuns(false);
          onShowOutput();
        }}
      />
    </section>
  );
}

interface ShownRunProps {
  readonly shown: Shown;
  readonly view: RunView;
  readonly onView: (view: RunView) => void;
}

function ShownRun({ shown, view, onView }: ShownRunProps) {
  if (shown.starting) return <StartingRun sent={shown.starting.sent} />;
  if (shown.run) return <RunPane run={shown.run} shown={shown} view={view} onView={onView} />;
  return <NothingYet />;
}

function StartingRun({ sent }: { readonly sent: boolean }) {
  return (
    <>
      <div className="pane-head">
        <span className="title">New run</span>
        <span className="by">by you</span>
      </div>
      <div className="metrics">
        <span className="state live">
          <span className="dot" />
          {sent ? "Starting" : "Waiting for the connection"}
        </span>
      </div>
      <div className="reader">
        <div className="read" aria-busy="true">
          <span className="caret" />
        </div>
      </div>
      <div className="actions" />
    </>
  );
}

function NothingYet() {
  const { run } = useRights();
  const { me } = useReadable(useRoom().session);
  // Before the server has said so, nobody knows whether there are runs.
  if (!me) return <div className="pane-head" />;
  return (
    <>
      <div className="pane-head">
        <span className="title">Output</span>
      </div>
      <div className="empty">
        <Play className="i i20" aria-hidden="true" />
        <h2>Nothing has run yet</h2>
        <p>
          {run ? `Press Run or ${hint("mod", "↵")}. ` : "When somebody runs this prompt, you see it here. "}
          Everyone in the room watches the same text arrive.
        </p>
      </div>
    </>
  );
}
