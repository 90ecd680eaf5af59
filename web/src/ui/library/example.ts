//! The prompt that a new workspace starts with: it runs on the built-in model, without a key.

import type { NewPrompt } from "../../protocol/resources.ts";

export const EXAMPLE_SYSTEM = `Turn commits into release notes for {{audience}}.
Group by what people can now do.
Leave out anything they cannot see.`;

export const EXAMPLE_COMMITS = `feat(room): late joiners see the whole run
fix(run): Stop closes the upstream call
chore: bump sqlx to 0.9
perf(editor): 100k characters at 60 fps`;

export const EXAMPLE_TITLE = "Release notes from commits";

export const EXAMPLE: NewPrompt = {
  title: EXAMPLE_TITLE,
  visibility: "workspace",
  content: {
    variants: [
      {
        id: "main",
        name: "A",
        model: "demo/markdown",
        parameters: {},
        system: EXAMPLE_SYSTEM,
        messages: [{ role: "user", text: "Here are the commits of this week:\n\n{{commits}}" }],
      },
    ],
    variables: [
      { name: "audience", type: "text", default: "people who use the product" },
      { name: "commits", type: "text" },
    ],
    inputs: [{ id: "default", name: "Default", values: { commits: EXAMPLE_COMMITS } }],
  },
};
