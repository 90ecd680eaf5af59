//! The chosen model, its price, and the way to another one.

import { ChevronsUpDown } from "lucide-react";
import { lazy, Suspense } from "react";
import { findModel, modelLabel, models } from "../models.ts";
import { PanelButton } from "../overlays/PanelButton.tsx";
import { useReadable } from "../readable.ts";
import { usePromptDocument } from "../room/RoomContext.ts";
import { priceOf } from "./price.ts";

const ModelList = lazy(async () => ({ default: (await import("./ModelList.tsx")).ModelList }));

export function ModelPicker({ chosen }: { readonly chosen: string }) {
  const prompt = usePromptDocument();
  const known = useReadable(models);
  const model = findModel(known, chosen);
  const label = modelLabel(known, chosen);
  return (
    <PanelButton
      label={`Model: ${label} ${model ? priceOf(model) : ""}`.trim()}
      className="select model"
      panelClassName="models"
      placement="bottom start"
      {...(model?.notice ? { title: model.notice } : {})}
      panel={(close) => (
        <Suspense fallback={null}>
          <ModelList
            models={known ?? []}
            chosen={chosen}
            onChoose={(id) => {
              prompt.setModel(id);
              close();
            }}
          />
        </Suspense>
      )}
    >
      <span className="cut">{label}</span> {model && <span className="price num">{priceOf(model)}</span>}
      <ChevronsUpDown className="i i14" aria-hidden="true" />
    </PanelButton>
  );
}
