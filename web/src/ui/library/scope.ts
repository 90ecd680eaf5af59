//! Which of the prompts one looks at.

import type { Prompt } from "../../protocol/resources.ts";

export type Scope = "all" | "mine" | "workspace";

export function isInScope(prompt: Prompt, scope: Scope, me: string): boolean {
  switch (scope) {
    case "all":
      return true;
    case "mine":
      return prompt.owner.id === me;
    case "workspace":
      return prompt.visibility === "workspace";
    default:
      scope satisfies never;
      return true;
  }
}
