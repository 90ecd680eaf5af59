//! Text of one's own that the server would not take: it is out of the prompt, but not lost.

import { Copy, TriangleAlert, X } from "lucide-react";
import { copyText } from "../copy.ts";
import { useReadable } from "../readable.ts";
import { useRoom } from "./RoomContext.ts";

export function AsideCard() {
  const room = useRoom();
  const aside = useReadable(room.aside);
  if (!aside) return null;
  const text = aside.fields.map((field) => `${field.label}\n${field.text}`).join("\n\n");
  return (
    <aside className="aside-card" aria-label="Text kept aside">
      <div className="notice warn">
        <TriangleAlert className="i" aria-hidden="true" />
        <div className="grow">
          <b>Your unsynced text was kept aside</b>
          {aside.problem.title}. {aside.problem.detail} The prompt now shows what the server has; copy your text from
          here to put it back.
        </div>
        <button type="button" className="icon-btn sm" aria-label="Dismiss" onClick={() => room.dismissAside()}>
          <X className="i i14" aria-hidden="true" />
        </button>
      </div>
      <div className="fields">
        {aside.fields.map((field) => (
          <div key={field.label}>
            <span className="label">{field.label}</span>
            <pre className="mono cut">{field.text}</pre>
          </div>
        ))}
      </div>
      <button type="button" className="btn" onClick={() => void copyText(text, "Your text was copied")}>
        <Copy className="i i14" aria-hidden="true" /> Copy my text
      </button>
    </aside>
  );
}
