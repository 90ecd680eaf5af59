//! The models that can be chosen, fetched once per page; asked again after a failure.

import { fetchModels } from "../link/http.ts";
import type { ModelInfo } from "../protocol/resources.ts";
import { cell } from "./readable.ts";

const RETRY_MS = 5_000;

/** Null until they are known. */
export const models = cell<readonly ModelInfo[] | null>(null);

let asked = false;

export function loadModels(): void {
  if (asked) return;
  asked = true;
  fetchModels()
    .then((list) => models.set(list))
    .catch(() => {
      asked = false;
      setTimeout(loadModels, RETRY_MS);
    });
}

export function findModel(list: readonly ModelInfo[] | null, id: string): ModelInfo | null {
  return list?.find((model) => model.id === id) ?? null;
}

/** What to call a model whose entry may be missing. */
export function modelLabel(list: readonly ModelInfo[] | null, id: string): string {
  return findModel(list, id)?.label ?? (id === "" ? "Choose a model" : id);
}
