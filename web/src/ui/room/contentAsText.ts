//! A prompt as plain text, to be copied when it cannot be saved.

import type { PromptContent } from "../../protocol/resources.ts";

export function contentAsText(content: PromptContent): string {
  const parts: string[] = [];
  if (content.title) parts.push(`# ${content.title}`);
  for (const variant of content.variants) {
    if (variant.system !== "") parts.push(`## System\n\n${variant.system}`);
    for (const message of variant.messages) {
      parts.push(`## ${message.role === "user" ? "User" : "Assistant"}\n\n${message.text}`);
    }
  }
  for (const inputs of content.inputs ?? []) {
    const lines = Object.entries(inputs.values).map(([name, value]) => `${name}: ${value}`);
    if (lines.length > 0) parts.push(`## Values: ${inputs.name}\n\n${lines.join("\n")}`);
  }
  return `${parts.join("\n\n")}\n`;
}
