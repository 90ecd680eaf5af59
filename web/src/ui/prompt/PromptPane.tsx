//! The prompt: parameters above, system and messages, variables below.

import { Plus } from "lucide-react";
import { useReadable } from "../readable.ts";
import { usePromptDocument, useRights } from "../room/RoomContext.ts";
import { hint } from "../shortcuts.ts";
import { addMessageAndFocus } from "./addMessage.ts";
import { MessageBlock } from "./MessageBlock.tsx";
import { ParameterBar } from "./ParameterBar.tsx";
import { SystemBlock } from "./SystemBlock.tsx";
import { useMessageDrag } from "./useMessageDrag.ts";
import { VariablesTray } from "./VariablesTray.tsx";

export function PromptPane() {
  const prompt = usePromptDocument();
  const { edit } = useRights();
  const draft = useReadable(prompt.draft);
  const drag = useMessageDrag(prompt);
  return (
    <section className="prompt" aria-label="Prompt" data-pane tabIndex={-1}>
      <ParameterBar draft={draft} />
      <div className="doc">
        {draft === null ? (
          <Waiting />
        ) : (
          <>
            <SystemBlock key={draft.variant} text={draft.system} />
            {draft.messages.map((message, at) => (
              <MessageBlock
                key={message.id}
                message={message}
                first={at === 0}
                last={at === draft.messages.length - 1}
                dragged={drag.state?.moving === message.id}
                dropMark={drag.state?.over === message.id ? drag.state.side : null}
                onGrip={drag.start}
              />
            ))}
            {edit && (
              <div className="addmsg">
                <button
                  type="button"
                  className="btn ghost sm"
                  title={`Add a message  ${hint("mod", "alt", "N")}`}
                  onClick={() => addMessageAndFocus(prompt)}
                >
                  <Plus className="i i14" aria-hidden="true" /> Message
                </button>
              </div>
            )}
          </>
        )}
      </div>
      <VariablesTray />
    </section>
  );
}

function Waiting() {
  return (
    <div className="block" aria-hidden="true">
      <div className="who">
        <span className="skel" style={{ width: 48 }} />
      </div>
      <div style={{ display: "grid", gap: 12, paddingTop: 4 }}>
        {[82, 64, 71, 38].map((width) => (
          <span key={width} className="skel" style={{ width: `${width}%` }} />
        ))}
      </div>
    </div>
  );
}
