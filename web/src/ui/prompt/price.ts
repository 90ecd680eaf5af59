//! A model's price in short.

import type { ModelInfo } from "../../protocol/resources.ts";
import { perMillion } from "../units.ts";

/** "$3 / $15" for a million tokens in and out. */
export function priceOf(model: ModelInfo): string {
  if (!model.price) return "";
  const { input_nanos_per_mtok: input, output_nanos_per_mtok: output } = model.price;
  return input === 0 && output === 0 ? "free" : `${perMillion(input)} / ${perMillion(output)}`;
}
