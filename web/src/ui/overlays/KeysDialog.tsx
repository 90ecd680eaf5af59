//! The keyboard map, searchable, as either kind of keyboard has it.

import { Search } from "lucide-react";
import { useState } from "react";
import { Segments } from "../parts/Segments.tsx";
import { isMac, keyLabel, SHORTCUTS } from "../shortcuts.ts";
import { ModalDialog } from "./ModalDialog.tsx";

type Board = "mac" | "other";

const BOARDS = [
  { value: "mac", label: "macOS" },
  { value: "other", label: "Windows, Linux" },
] as const;

export function KeysDialog({ onClose }: { readonly onClose: () => void }) {
  const [find, setFind] = useState("");
  const [board, setBoard] = useState<Board>(isMac ? "mac" : "other");
  const head = (
    <>
      <label className="input" style={{ width: 220, marginLeft: 12 }}>
        <Search className="i i14 t3" aria-hidden="true" />
        <input
          className="bare"
          placeholder="Find a key"
          aria-label="Find a key"
          value={find}
          onChange={(event) => setFind(event.target.value)}
        />
      </label>
      <span className="grow" />
      <Segments label="Keyboard" value={board} options={BOARDS} onChange={setBoard} />
    </>
  );
  return (
    <ModalDialog
      title="Keyboard"
      wide
      head={head}
      onClose={onClose}
      foot={<span>Single letters act only outside of text fields.</span>}
    >
      <div className="keys">
        {SHORTCUTS.map((group) => (
          <section key={group.title}>
            <h3>{group.title}</h3>
            {group.shortcuts
              .filter((shortcut) => shortcut.name.toLowerCase().includes(find.trim().toLowerCase()))
              .map((shortcut) => (
                <div className="k" key={shortcut.name}>
                  <span>{shortcut.name}</span>
                  <span>
                    {shortcut.keys.map((key) => (
                      <kbd className="kbd key" key={key}>
                        {keyLabel(key, board === "mac")}
                      </kbd>
                    ))}
                  </span>
                </div>
              ))}
          </section>
        ))}
      </div>
    </ModalDialog>
  );
}
