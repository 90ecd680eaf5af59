//! The texts at which the model is cut off, one a line.

import { Plus } from "lucide-react";
import { useState } from "react";
import { PanelButton } from "../overlays/PanelButton.tsx";
import { usePromptDocument } from "../room/RoomContext.ts";

const SHOWN_MAX = 2;

export function StopSequences({ value }: { readonly value: string | undefined }) {
  const sequences = (value ?? "").split("\n").filter((line) => line !== "");
  return (
    <span className="set stops">
      Stop
      <PanelButton
        label={sequences.length === 0 ? "Stop sequences: none" : `Stop sequences: ${sequences.join(", ")}`}
        className="chip mono"
        placement="bottom start"
        panel={(close) => <StopPanel value={value ?? ""} close={close} />}
      >
        {sequences.length === 0 ? <Plus className="i i12" aria-hidden="true" /> : shown(sequences)}
      </PanelButton>
    </span>
  );
}

function shown(sequences: readonly string[]): string {
  const first = sequences.slice(0, SHOWN_MAX).map((text) => (text.length > 12 ? `${text.slice(0, 11)}…` : text));
  const further = sequences.length - SHOWN_MAX;
  return further > 0 ? `${first.join(" ")} +${further}` : first.join(" ");
}

function StopPanel({ value, close }: { readonly value: string; readonly close: () => void }) {
  const prompt = usePromptDocument();
  const [text, setText] = useState(value);
  const save = () => {
    const kept = text
      .split("\n")
      .filter((line) => line !== "")
      .join("\n");
    prompt.setParameter("stop", kept === "" ? undefined : kept);
    close();
  };
  return (
    <div className="body" style={{ width: 260 }}>
      <label className="field">
        <span className="label">Stop at, one a line</span>
        <textarea
          className="input mono"
          rows={4}
          value={text}
          // biome-ignore lint/a11y/noAutofocus: the panel's only field
          autoFocus
          onChange={(event) => setText(event.target.value)}
        />
      </label>
      <div className="row">
        <button type="button" className="btn primary" onClick={save}>
          Use these
        </button>
        <button type="button" className="btn ghost" onClick={close}>
          Cancel
        </button>
      </div>
    </div>
  );
}
