//! The system text: always first, never moved or removed.

import { memo } from "react";
import type * as Y from "yjs";
import { PromptText } from "./PromptText.tsx";
import { TokenCount } from "./TokenCount.tsx";

export const SystemBlock = memo(function SystemBlock({ text }: { readonly text: Y.Text }) {
  return (
    <article className="block" aria-label="System">
      <div className="who">
        <span className="role">System</span>
        <TokenCount text={text} />
      </div>
      <PromptText text={text} field="system" label="System text" placeholder="What the model is, and its rules" />
      <div className="side" />
    </article>
  );
});
