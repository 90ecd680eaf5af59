//! The library's top bar: workspace, oneself, help.

import { CircleHelp, LogOut, Pencil, Users } from "lucide-react";
import { Link } from "wouter";
import { renameMe, signOut } from "../../link/http.ts";
import { forgetRooms } from "../../room/open.ts";
import { account, loadAccount, signedOut } from "../account.ts";
import { openDialog } from "../overlays/dialogs.ts";
import type { MenuEntry } from "../overlays/entries.ts";
import { MenuButton } from "../overlays/MenuButton.tsx";
import { Avatar } from "../parts/Avatar.tsx";
import { Logo } from "../parts/Logo.tsx";
import { useReadable } from "../readable.ts";
import { toast, toastRefusal } from "../toasts.ts";

export function LibraryBar() {
  const who = useReadable(account);
  const me = who.kind === "signed_in" ? who.me : null;
  return (
    <header className="topbar">
      <Link className="logo" href="/" aria-label="Promptroom, library">
        <Logo />
      </Link>
      <span className="strong cut" style={{ marginLeft: -2 }}>
        {me?.workspace.name}
      </span>
      <span className="grow" />
      <button
        type="button"
        className="icon-btn"
        aria-label="Keyboard help"
        title="Keyboard help  ?"
        onClick={() => openDialog.set({ kind: "keys" })}
      >
        <CircleHelp className="i" aria-hidden="true" />
      </button>
      {me && (
        <MenuButton label={`You: ${me.me.name}`} className="icon-btn" entries={() => accountEntries(me.me.name)}>
          <Avatar name={me.me.name} colour={5} />
        </MenuButton>
      )}
    </header>
  );
}

function accountEntries(name: string): readonly MenuEntry[] {
  return [
    { kind: "action", id: "name", label: "Change your name", icon: Pencil, onAction: () => askName(name) },
    {
      kind: "action",
      id: "members",
      label: "Members",
      icon: Users,
      onAction: () => openDialog.set({ kind: "members" }),
    },
    { kind: "rule", id: "rule" },
    { kind: "action", id: "out", label: "Sign out", icon: LogOut, onAction: () => void leave() },
  ];
}

function askName(value: string): void {
  openDialog.set({
    kind: "name",
    title: "Your name",
    label: "Others see it beside your caret and your runs",
    value,
    action: "Change name",
    onName: (name) => void rename(name),
  });
}

async function rename(name: string): Promise<void> {
  try {
    await renameMe(name);
    await loadAccount();
    toast("Your name was changed");
  } catch (error) {
    toastRefusal(error, "Your name could not be changed");
  }
}

async function leave(): Promise<void> {
  try {
    await signOut();
    await forgetRooms();
    signedOut();
  } catch (error) {
    toastRefusal(error, "You could not be signed out");
  }
}
