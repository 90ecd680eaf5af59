//! How one prompt differs from another, in the few lines that fit below a row.

import type { PromptContent, VariantContent } from "../../protocol/resources.ts";
import { type ChangedLine, changedLines } from "./lineDiff.ts";
import { parameterText } from "./runParameters.ts";

export type Difference =
  | { readonly kind: "value"; readonly label: string; readonly before: string; readonly after: string }
  | {
      readonly kind: "text";
      readonly label: string;
      readonly lines: readonly ChangedLine[];
      /** How many changed lines are not shown. */
      readonly further: number;
    };

const LINES_MAX = 6;
const PARAMETER_LABELS: Readonly<Record<string, string>> = {
  temperature: "Temperature",
  top_p: "Top p",
  max_tokens: "Max tokens",
  stop: "Stop",
  seed: "Seed",
};

/** From `before` to `after`: what restoring `after` would do. A run holds one variant, and only that is compared. */
export function differencesBetween(before: PromptContent, after: PromptContent): readonly Difference[] {
  const [ran] = after.variants;
  const draft = before.variants.find((variant) => variant.id === ran?.id) ?? before.variants[0];
  if (!ran || !draft) return [];
  return [
    ...changedValue("Model", draft.model, ran.model),
    ...Object.entries(PARAMETER_LABELS).flatMap(([name, label]) =>
      changedValue(label, parameterText(draft.parameters[name]), parameterText(ran.parameters[name])),
    ),
    ...changedText("System", draft.system, ran.system),
    ...changedText("Messages", messagesOf(draft), messagesOf(ran)),
  ];
}

function changedValue(label: string, before: string, after: string): readonly Difference[] {
  return before === after ? [] : [{ kind: "value", label, before, after }];
}

function changedText(label: string, before: string, after: string): readonly Difference[] {
  if (before === after) return [];
  const lines = changedLines(before, after);
  return [{ kind: "text", label, lines: lines.slice(0, LINES_MAX), further: Math.max(0, lines.length - LINES_MAX) }];
}

function messagesOf(variant: VariantContent): string {
  return variant.messages.map((message) => `${message.role}: ${message.text}`).join("\n");
}
