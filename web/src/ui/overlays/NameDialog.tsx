//! Asks for a name.

import { useId, useState } from "react";
import type { OpenDialog } from "./dialogs.ts";
import { ModalDialog } from "./ModalDialog.tsx";

export interface NameDialogProps {
  readonly ask: Extract<OpenDialog, { kind: "name" }>;
  readonly onClose: () => void;
}

export function NameDialog({ ask, onClose }: NameDialogProps) {
  const [name, setName] = useState(ask.value);
  const form = useId();
  const ready = name.trim() !== "";
  return (
    <ModalDialog
      title={ask.title}
      onClose={onClose}
      foot={
        <>
          <span className="grow" />
          <button type="button" className="btn ghost" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" form={form} className="btn primary" disabled={!ready}>
            {ask.action}
          </button>
        </>
      }
    >
      <form
        id={form}
        className="body"
        onSubmit={(event) => {
          event.preventDefault();
          if (!ready) return;
          onClose();
          ask.onName(name.trim());
        }}
      >
        <label className="field">
          <span className="label">{ask.label}</span>
          <input
            className="input lg"
            value={name}
            maxLength={120}
            // biome-ignore lint/a11y/noAutofocus: a dialog with one field starts in it
            autoFocus
            onFocus={(event) => event.target.select()}
            onChange={(event) => setName(event.target.value)}
          />
        </label>
      </form>
    </ModalDialog>
  );
}
