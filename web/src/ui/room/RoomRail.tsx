//! The narrow rail beside a prompt.

import { FileText, Keyboard, Library, Moon, Sun, UsersRound } from "lucide-react";
import { Link } from "wouter";
import { openDialog } from "../overlays/dialogs.ts";
import { useReadable } from "../readable.ts";
import { switchTheme, theme } from "../theme.ts";

export function RoomRail() {
  const dark = useReadable(theme) === "dark";
  const Theme = dark ? Sun : Moon;
  return (
    <nav className="rail" aria-label="Workspace and prompt">
      <Link href="/" title="Library  G L" aria-label="Library">
        <Library className="i" aria-hidden="true" />
      </Link>
      <hr />
      <a href="#main" title="Prompt" aria-label="Prompt" aria-current="page">
        <FileText className="i" aria-hidden="true" />
      </a>
      <span className="grow" />
      <button type="button" title="Members" aria-label="Members" onClick={() => openDialog.set({ kind: "members" })}>
        <UsersRound className="i" aria-hidden="true" />
      </button>
      <button
        type="button"
        title="Keyboard help  ?"
        aria-label="Keyboard help"
        onClick={() => openDialog.set({ kind: "keys" })}
      >
        <Keyboard className="i" aria-hidden="true" />
      </button>
      <button type="button" title="Light or dark" aria-label="Light or dark" onClick={switchTheme}>
        <Theme className="i" aria-hidden="true" />
      </button>
    </nav>
  );
}
