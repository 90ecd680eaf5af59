//! The parameters that are set seldom, and why some are not there.

import type { ModelInfo } from "../../protocol/resources.ts";
import type { Draft, ParameterName } from "../../room/api.ts";
import { usePromptDocument } from "../room/RoomContext.ts";
import { accepts } from "./accepts.ts";
import { NumberSetting } from "./NumberSetting.tsx";

const NAMES: readonly { readonly name: ParameterName; readonly label: string }[] = [
  { name: "temperature", label: "temperature" },
  { name: "top_p", label: "top p" },
  { name: "max_tokens", label: "max tokens" },
  { name: "stop", label: "stop sequences" },
  { name: "seed", label: "seed" },
];

export function MoreParameters({ draft, model }: { readonly draft: Draft; readonly model: ModelInfo | null }) {
  const prompt = usePromptDocument();
  const { temperature, top_p, seed } = draft.parameters;
  const absent = NAMES.filter(({ name }) => !accepts(model, name)).map(({ label }) => label);
  return (
    <div className="body" style={{ width: 260 }}>
      {accepts(model, "temperature") && (
        <div className="field">
          <span className="label">Temperature</span>
          <NumberSetting name="temperature" label="Temperature" value={temperature} min={0} max={2} />
        </div>
      )}
      {accepts(model, "top_p") && (
        <div className="field">
          <span className="label">Top p</span>
          <NumberSetting name="top_p" label="Top p" value={top_p} min={0} max={1} />
        </div>
      )}
      {accepts(model, "seed") && (
        <div className="field">
          <span className="label">Seed</span>
          <NumberSetting name="seed" label="Seed" value={seed} min={0} whole />
        </div>
      )}
      <p className="help">
        {absent.length > 0 && `${model?.label ?? "This model"} does not accept ${absent.join(", ")}. `}
        Empty means the model’s own.
      </p>
      {temperature !== undefined && (
        <button type="button" className="btn ghost" onClick={() => prompt.setParameter("temperature", undefined)}>
          Use the model’s own temperature
        </button>
      )}
    </div>
  );
}
