//! Model and parameters. What the chosen model does not accept is absent, so that it cannot be set.

import { SlidersHorizontal } from "lucide-react";
import type { Draft } from "../../room/api.ts";
import { findModel, modelLabel, models } from "../models.ts";
import { PanelButton } from "../overlays/PanelButton.tsx";
import { useReadable } from "../readable.ts";
import { useRights } from "../room/RoomContext.ts";
import { count } from "../units.ts";
import { accepts } from "./accepts.ts";
import { ModelPicker } from "./ModelPicker.tsx";
import { MoreParameters } from "./MoreParameters.tsx";
import { NumberSetting } from "./NumberSetting.tsx";
import { StopSequences } from "./StopSequences.tsx";
import { TemperatureSlider } from "./TemperatureSlider.tsx";

export function ParameterBar({ draft }: { readonly draft: Draft | null }) {
  const { edit } = useRights();
  const known = useReadable(models);
  if (!draft) return <div className="pane-head params" />;
  const model = findModel(known, draft.model);
  if (!edit) return <ReadOnlyParameters draft={draft} label={modelLabel(known, draft.model)} />;
  const { parameters } = draft;
  const further = (parameters.top_p === undefined ? 0 : 1) + (parameters.seed === undefined ? 0 : 1);
  return (
    <div className="pane-head params">
      <ModelPicker chosen={draft.model} />
      {accepts(model, "temperature") && (
        <TemperatureSlider value={parameters.temperature} valueMax={model?.provider === "anthropic" ? 1 : 2} />
      )}
      {accepts(model, "max_tokens") && (
        <span className="set">
          Max tokens
          <NumberSetting name="max_tokens" label="Max tokens" value={parameters.max_tokens} whole min={1} />
        </span>
      )}
      {accepts(model, "stop") && <StopSequences value={parameters.stop} />}
      <span className="grow" />
      <PanelButton
        label="More parameters"
        className="btn ghost sm"
        panel={() => <MoreParameters draft={draft} model={model} />}
      >
        <SlidersHorizontal className="i i14" aria-hidden="true" /> More
        {further > 0 && <span className="count">{further}</span>}
      </PanelButton>
    </div>
  );
}

function ReadOnlyParameters({ draft, label }: { readonly draft: Draft; readonly label: string }) {
  const { temperature, max_tokens, top_p, seed, stop } = draft.parameters;
  return (
    <div className="pane-head params">
      <span className="strong">{label}</span>
      {temperature !== undefined && <span>Temp {temperature}</span>}
      {max_tokens !== undefined && <span>Max tokens {count(max_tokens)}</span>}
      {top_p !== undefined && <span>Top p {top_p}</span>}
      {seed !== undefined && <span>Seed {seed}</span>}
      {stop !== undefined && stop !== "" && (
        <span className="set">
          Stop <span className="chip mono">{stop.split("\n").join(" ")}</span>
        </span>
      )}
    </div>
  );
}
