//! The variables that the texts name, with the values to test with.

import { ChevronDown, ChevronUp } from "lucide-react";
import { useState } from "react";
import { Segments } from "../parts/Segments.tsx";
import { useReadable } from "../readable.ts";
import { usePromptDocument, useRights } from "../room/RoomContext.ts";
import { InputSetMenu } from "./InputSetMenu.tsx";
import { ValuesJson } from "./ValuesJson.tsx";
import { VariableForm } from "./VariableForm.tsx";

type View = "form" | "json";

const VIEWS = [
  { value: "form", label: "Form" },
  { value: "json", label: "JSON" },
] as const;

export function VariablesTray() {
  const prompt = usePromptDocument();
  const { edit } = useRights();
  const variables = useReadable(prompt.variables);
  const inputs = useReadable(prompt.inputs);
  const [view, setView] = useState<View>("form");
  const [folded, setFolded] = useState(false);
  const Fold = folded ? ChevronUp : ChevronDown;
  const none = variables.length === 0;
  return (
    <section className="tray" aria-label="Variables">
      <header>
        <h2>Variables</h2> <span className="count">{variables.length}</span>
        {!none && edit && !folded && <Segments label="Show as" value={view} options={VIEWS} onChange={setView} />}
        <span className="grow" />
        {!none && <InputSetMenu inputs={inputs} readOnly={!edit} />}
        {!none && (
          <button
            type="button"
            className="icon-btn sm"
            aria-label={folded ? "Unfold variables" : "Fold variables"}
            aria-expanded={!folded}
            onClick={() => setFolded(!folded)}
          >
            <Fold className="i i14" aria-hidden="true" />
          </button>
        )}
      </header>
      {none && <p>Write {"{{name}}"} in a message to make a variable.</p>}
      {!none && !folded && (view === "form" || !edit) && (
        <VariableForm key={inputs.chosen} variables={variables} readOnly={!edit} />
      )}
      {!none && !folded && view === "json" && edit && <ValuesJson key={inputs.chosen} />}
    </section>
  );
}
