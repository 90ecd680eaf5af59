//! A room that was closed for good: deleted, forbidden, not found, or a page that is too old.

import { FileQuestion, Lock, RefreshCw, Trash2, Undo2 } from "lucide-react";
import { Link } from "wouter";
import { undeletePrompt } from "../../link/http.ts";
import type { Problem } from "../../protocol/shapes.ts";
import type { Room } from "../../room/api.ts";
import { copyText } from "../copy.ts";
import { Logo } from "../parts/Logo.tsx";
import { ProblemReference } from "../parts/ProblemNotice.tsx";
import { useReadable } from "../readable.ts";
import { toastRefusal } from "../toasts.ts";
import { AsideCard } from "./AsideCard.tsx";
import { contentAsText } from "./contentAsText.ts";

export interface ClosedRoomProps {
  readonly room: Room;
  readonly problem: Problem;
  readonly reopen: () => void;
}

export function ClosedRoom({ room, problem, reopen }: ClosedRoomProps) {
  const session = useReadable(room.session);
  const deleted = problem.code.includes("deleted") || problem.status === 410;
  const Icon = deleted ? Trash2 : problem.status === 403 ? Lock : FileQuestion;
  const restore = async () => {
    try {
      await undeletePrompt(session.prompt ?? "");
      reopen();
    } catch (error) {
      toastRefusal(error, "The prompt could not be restored");
    }
  };
  return (
    <div className="closed">
      <header className="topbar">
        <Link className="logo" href="/" aria-label="Promptroom, library">
          <Logo />
        </Link>
      </header>
      <main className="empty">
        <Icon className="i i20" aria-hidden="true" />
        <h2>{problem.title}</h2>
        <p>{[problem.detail, problem.kept, problem.next].filter(Boolean).join(" ")}</p>
        <span className="row">
          {deleted && session.prompt && session.rights.edit && (
            <button type="button" className="btn" onClick={() => void restore()}>
              <Undo2 className="i i14" aria-hidden="true" /> Restore
            </button>
          )}
          {!deleted && (
            <button type="button" className="btn" onClick={() => location.reload()}>
              <RefreshCw className="i i14" aria-hidden="true" /> Open again
            </button>
          )}
          <CopyPrompt room={room} />
          <Link href="/" className="btn ghost">
            Library
          </Link>
        </span>
        <ProblemReference problem={problem} />
        <AsideCard />
      </main>
    </div>
  );
}

function CopyPrompt({ room }: { readonly room: Room }) {
  const document = useReadable(room.document);
  if (!document.draft.getSnapshot()) return null;
  return (
    <button
      type="button"
      className="btn ghost"
      onClick={() => void copyText(contentAsText(document.readContent()), "The prompt was copied")}
    >
      Copy the prompt
    </button>
  );
}
