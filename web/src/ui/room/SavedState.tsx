//! Whether the room is live and one's edits are on disk; what to do when they are not.

import { CloudOff, Loader, RefreshCw } from "lucide-react";
import type { Saved } from "../../room/api.ts";
import { copyText } from "../copy.ts";
import { useNow } from "../now.ts";
import { PanelButton } from "../overlays/PanelButton.tsx";
import { useReadable } from "../readable.ts";
import { clock } from "../units.ts";
import { contentAsText } from "./contentAsText.ts";
import { useRoom } from "./RoomContext.ts";

export function SavedState() {
  const room = useRoom();
  const { connection } = useReadable(room.session);
  const saved = useReadable(room.saved);
  switch (connection.kind) {
    case "connecting":
      return <Working word="Connecting" />;
    case "catching_up":
      return <Working word="Catching up" />;
    case "live":
      return <Live saved={saved} />;
    case "reconnecting":
    case "offline":
      return <Away sinceMs={connection.sinceMs} edits={saved.kind === "saved" ? 0 : saved.edits} />;
    case "closed":
      return null;
    default:
      connection satisfies never;
      return null;
  }
}

function Live({ saved }: { readonly saved: Saved }) {
  if (saved.kind === "saved") {
    return (
      <span className="state ok" title="Connected, every edit is on disk">
        <span className="dot" />
        Live · saved
      </span>
    );
  }
  return (
    <span className="state" title="Connected, the newest edits are on their way to disk">
      <span className="dot" />
      Saving… {saved.edits}
    </span>
  );
}

function Working({ word }: { readonly word: string }) {
  return (
    <span className="state">
      <Loader className="i i14 spin" aria-hidden="true" />
      {word}
    </span>
  );
}

function Away({ sinceMs, edits }: { readonly sinceMs: number; readonly edits: number }) {
  const { connection } = useReadable(useRoom().session);
  const word = connection.kind === "reconnecting" && edits === 0 ? "Reconnecting" : "Offline";
  return (
    <PanelButton
      label={`${word}, ${edits} unsynced: what that means`}
      className="btn ghost sm"
      panel={(close) => <AwayPanel sinceMs={sinceMs} edits={edits} close={close} />}
    >
      <span className="state warn">
        <CloudOff className="i i14" aria-hidden="true" />
        {edits === 0 ? word : `Offline, ${edits} unsynced`}
      </span>
    </PanelButton>
  );
}

interface AwayPanelProps {
  readonly sinceMs: number;
  readonly edits: number;
  readonly close: () => void;
}

function AwayPanel({ sinceMs, edits, close }: AwayPanelProps) {
  const room = useRoom();
  const { connection } = useReadable(room.session);
  const now = useNow(1_000);
  const retry =
    connection.kind === "reconnecting"
      ? ` Trying again in ${Math.max(0, Math.ceil((connection.retryAtMs - now) / 1000))} s.`
      : "";
  const kept = edits === 0 ? "Nothing is unsynced." : `${edits} of your changes are kept in this browser.`;
  return (
    <div className="body" style={{ width: 320 }}>
      <p className="t2">
        No connection since {clock(sinceMs)}. {kept} Edits merge when you are back. Run needs a connection; runs already
        started go on at the server.{retry}
      </p>
      <div className="row">
        <button
          type="button"
          className="btn"
          onClick={() => {
            room.tryNow();
            close();
          }}
        >
          <RefreshCw className="i i14" aria-hidden="true" /> Try now
        </button>
        <button
          type="button"
          className="btn ghost"
          onClick={() =>
            void copyText(contentAsText(room.document.getSnapshot().readContent()), "The prompt was copied")
          }
        >
          Copy the prompt
        </button>
      </div>
    </div>
  );
}
