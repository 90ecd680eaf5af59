//! Shows the toasts.

import { X } from "lucide-react";
import { useReadable } from "../readable.ts";
import { dismiss, takeBack, toasts } from "../toasts.ts";

export function Toaster() {
  const all = useReadable(toasts);
  return (
    <section className="toasts" aria-label="Notifications" aria-live="polite">
      {all.map((entry) => (
        <div className="toast" key={entry.id}>
          <span>{entry.text}</span>
          {entry.undo ? (
            <button type="button" className="btn" onClick={() => takeBack(entry.id)}>
              Undo
            </button>
          ) : (
            <button type="button" className="icon-btn sm" aria-label="Dismiss" onClick={() => dismiss(entry.id)}>
              <X className="i i14" aria-hidden="true" />
            </button>
          )}
        </div>
      ))}
    </section>
  );
}
