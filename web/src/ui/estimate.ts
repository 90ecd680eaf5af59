//! What a run would take, before it is run: rough, and always written with ≈.

import type { ModelInfo } from "../protocol/resources.ts";

const TOKENS_PER_MTOK = 1_000_000;
const CHARACTERS_PER_TOKEN = 4;
/** Chat formats add a few tokens around every message. */
const TOKENS_PER_MESSAGE = 4;
/** Beyond this the text is not looked at, only measured. */
const INSPECTED_CHARACTERS_MAX = 20_000;

/** Latin text is about four characters to a token, other scripts about one and a half. */
export function estimateTokens(text: string): number {
  if (text.length > INSPECTED_CHARACTERS_MAX) return Math.ceil(text.length / CHARACTERS_PER_TOKEN);
  let wide = 0;
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) > 0x2fff) wide++;
  return Math.ceil((text.length - wide) / CHARACTERS_PER_TOKEN + wide / 1.5);
}

export interface Estimate {
  readonly inputTokens: number;
  /** Nanodollars for what is sent; null without a price. */
  readonly inputCost: number | null;
  /** Nanodollars if the answer is as long as it may be; null without a price or a limit. */
  readonly costMax: number | null;
}

export function estimateRun(
  texts: readonly string[],
  model: ModelInfo | null,
  maxTokens: number | undefined,
): Estimate {
  let inputTokens = 0;
  for (const text of texts) if (text !== "") inputTokens += estimateTokens(text) + TOKENS_PER_MESSAGE;
  const price = model?.price;
  if (!price) return { inputTokens, inputCost: null, costMax: null };
  const inputCost = Math.round((inputTokens * price.input_nanos_per_mtok) / TOKENS_PER_MTOK);
  const outputTokens = maxTokens ?? model.output_tokens_max;
  if (outputTokens === undefined) return { inputTokens, inputCost, costMax: null };
  return {
    inputTokens,
    inputCost,
    costMax: inputCost + Math.round((outputTokens * price.output_nanos_per_mtok) / TOKENS_PER_MTOK),
  };
}
