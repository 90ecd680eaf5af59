//! The library's rail: what is listed, members, appearance.

import { Library as LibraryIcon, Moon, Sun, User, Users, UsersRound } from "lucide-react";
import type { Prompt } from "../../protocol/resources.ts";
import { account } from "../account.ts";
import { openDialog } from "../overlays/dialogs.ts";
import { useReadable } from "../readable.ts";
import { switchTheme, theme } from "../theme.ts";
import { isInScope, type Scope } from "./scope.ts";

const SCOPES = [
  { scope: "all", label: "Library", Icon: LibraryIcon },
  { scope: "mine", label: "Your prompts", Icon: User },
  { scope: "workspace", label: "Workspace", Icon: Users },
] as const;

export interface LibraryNavProps {
  readonly prompts: readonly Prompt[] | null;
  readonly scope: Scope;
  readonly onScope: (scope: Scope) => void;
}

export function LibraryNav({ prompts, scope, onScope }: LibraryNavProps) {
  const who = useReadable(account);
  const me = who.kind === "signed_in" ? who.me.me.id : "";
  const dark = useReadable(theme) === "dark";
  return (
    <nav className="nav" aria-label="Workspace">
      {SCOPES.map((entry) => (
        <button
          key={entry.scope}
          type="button"
          aria-pressed={scope === entry.scope}
          onClick={() => onScope(entry.scope)}
        >
          <entry.Icon className="i i14" aria-hidden="true" /> {entry.label}
          <span className="count">{prompts?.filter((prompt) => isInScope(prompt, entry.scope, me)).length}</span>
        </button>
      ))}
      <span className="grow" />
      <button type="button" onClick={() => openDialog.set({ kind: "members" })}>
        <UsersRound className="i i14" aria-hidden="true" /> Members
      </button>
      <button type="button" onClick={switchTheme}>
        {dark ? <Sun className="i i14" aria-hidden="true" /> : <Moon className="i i14" aria-hidden="true" />}
        {dark ? "Light appearance" : "Dark appearance"}
      </button>
    </nav>
  );
}
