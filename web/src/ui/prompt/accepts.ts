//! Which parameters a model takes.

import type { ModelInfo } from "../../protocol/resources.ts";
import type { ParameterName } from "../../room/api.ts";

/** A model that is not known may accept anything. */
export function accepts(model: ModelInfo | null, name: ParameterName): boolean {
  return model === null || model.parameters.includes(name);
}
