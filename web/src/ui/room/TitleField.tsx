//! The prompt's title, co-edited in place.

import { useEffect, useRef } from "react";
import { bindTextField } from "../../editor/field.ts";
import { useReadable } from "../readable.ts";
import { usePromptDocument, useRoom } from "./RoomContext.ts";

export function TitleField({ readOnly }: { readonly readOnly: boolean }) {
  const room = useRoom();
  const prompt = usePromptDocument();
  const input = useRef<HTMLInputElement>(null);
  const title = useReadable(prompt.titleText);
  useEffect(() => {
    if (input.current) return bindTextField(input.current, prompt.title, room);
    return undefined;
  }, [prompt, room]);
  return (
    <span className="title-field">
      <span aria-hidden="true">{title || "Untitled prompt"}</span>
      <input
        ref={input}
        aria-label="Prompt name"
        placeholder="Untitled prompt"
        title={title}
        spellCheck={false}
        readOnly={readOnly}
        onKeyDown={(event) => {
          if (event.key !== "Enter" || event.metaKey || event.ctrlKey) return;
          event.currentTarget.blur();
        }}
      />
    </span>
  );
}
