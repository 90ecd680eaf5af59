//! The library before there is anything in it: an example that runs at once.

import { Play, Plus } from "lucide-react";
import { createAndOpen } from "./create.ts";
import { EXAMPLE, EXAMPLE_COMMITS, EXAMPLE_SYSTEM, EXAMPLE_TITLE } from "./example.ts";

export function FirstRun() {
  return (
    <div className="first">
      <div>
        <h1>Run your first prompt</h1>
        <p className="lead">
          This one is ready. It uses the built-in demo model, so it needs no key and costs nothing.
        </p>
        <div className="ex">
          <div className="pane-head">
            <span className="strong cut">{EXAMPLE_TITLE}</span>
            <span className="chip">Demo model · free</span>
            <span className="grow" />
            <button type="button" className="btn primary" onClick={() => void createAndOpen(EXAMPLE)}>
              <Play className="i i12 fill" aria-hidden="true" /> Open the demo prompt
            </button>
          </div>
          <div className="bd">
            <div>
              <h2>System</h2>
              <div className="text">{withVariables(EXAMPLE_SYSTEM)}</div>
              <h2>commits</h2>
              <div className="text quiet">{EXAMPLE_COMMITS}</div>
            </div>
            <div>
              <h2>What happens there</h2>
              <p>
                <b>Together.</b> Everyone in the room edits the same text and watches the same tokens arrive.
              </p>
              <p>
                <b>Stop means stop.</b> Anyone may stop a run; what has arrived is kept.
              </p>
              <p>
                <b>Nothing is lost.</b> Refresh in mid-stream, or close the lid: the run goes on at the server.
              </p>
            </div>
          </div>
        </div>
        <div className="next">
          <button type="button" onClick={() => void createAndOpen()}>
            <Plus className="i" aria-hidden="true" />
            <b>Start from nothing</b>
            <span>An empty prompt. Press C in the library.</span>
          </button>
        </div>
      </div>
    </div>
  );
}

function withVariables(text: string) {
  return text.split(/(\{\{[^}]+\}\})/).map((part) =>
    part.startsWith("{{") ? (
      <span className="var" key={part}>
        {part}
      </span>
    ) : (
      part
    ),
  );
}
