//! Beside Run: roughly what the run would take, and which variables have no value.

import { useMemo } from "react";
import { isTerminal } from "../../protocol/shapes.ts";
import { estimateRun } from "../estimate.ts";
import { findModel, models } from "../models.ts";
import { useReadable } from "../readable.ts";
import { money, roughly } from "../units.ts";
import { promptTexts } from "./promptTexts.ts";
import { usePromptDocument, useRoom } from "./RoomContext.ts";

export function Estimate() {
  const prompt = usePromptDocument();
  const { run } = useReadable(useRoom().runs.shown);
  const texts = useReadable(useMemo(() => promptTexts(prompt), [prompt]));
  const draft = useReadable(prompt.draft);
  const variables = useReadable(prompt.variables);
  const known = useReadable(models);
  if (!draft) return <span className="estimate" />;
  const unset = variables.filter((variable) => variable.used && variable.source === "unset");
  const estimate = estimateRun(texts, findModel(known, draft.model), draft.parameters.max_tokens);
  const live = run && !isTerminal(run.state) && run.cost !== undefined && run.cost > 0 ? run.cost : null;
  return (
    <span className="estimate">
      {live !== null ? (
        <b>{money(live)} so far</b>
      ) : (
        <b>
          {roughly(estimate.inputTokens)} tok
          {estimate.inputCost !== null && estimate.inputCost > 0 && ` · ${money(estimate.inputCost)}`}
        </b>
      )}
      {unset.length > 0 ? (
        <span
          className="unset cut"
          title={`Sent as written: ${unset.map((variable) => `{{${variable.name}}}`).join(", ")}`}
        >
          unset: {unset.map((variable) => variable.name).join(", ")}
        </span>
      ) : (
        estimate.costMax !== null && <span>{costLine(estimate.costMax)}</span>
      )}
    </span>
  );
}

function costLine(costMax: number): string {
  return costMax === 0 ? "free" : `at most ${money(costMax)}`;
}
