//! One text of the prompt in its editor.

import { useEffect, useRef } from "react";
import type * as Y from "yjs";
import type { PromptEditor } from "../../editor/api.ts";
import { mountPromptEditor } from "../../editor/prompt.ts";
import { useRights, useRoom } from "../room/RoomContext.ts";
import { registerEditor } from "./editors.ts";

export interface PromptTextProps {
  readonly text: Y.Text;
  /** `system` or `message:<id>`. */
  readonly field: string;
  readonly label: string;
  readonly placeholder: string;
}

export function PromptText({ text, field, label, placeholder }: PromptTextProps) {
  const room = useRoom();
  const { edit } = useRights();
  const parent = useRef<HTMLDivElement>(null);
  const mounted = useRef<PromptEditor | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: label and rights change in place, below
  useEffect(() => {
    if (!parent.current) return undefined;
    const editor = mountPromptEditor(parent.current, { room, text, field, label, placeholder, readOnly: !edit });
    mounted.current = editor;
    const forget = registerEditor(field, editor);
    return () => {
      forget();
      mounted.current = null;
      editor.destroy();
    };
  }, [room, text, field, placeholder]);
  useEffect(() => mounted.current?.setReadOnly(!edit), [edit]);
  return <div className="text" ref={parent} />;
}
