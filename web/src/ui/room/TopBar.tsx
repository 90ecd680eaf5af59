//! The room's top bar: whose prompt, whether it is saved, who is here, what it would cost, Run.

import { ChevronLeft, Ellipsis, Eye, Keyboard, Moon, Share2, UsersRound } from "lucide-react";
import { Link } from "wouter";
import { openDialog } from "../overlays/dialogs.ts";
import type { MenuEntry } from "../overlays/entries.ts";
import { MenuButton } from "../overlays/MenuButton.tsx";
import { AvatarRow } from "../parts/Avatar.tsx";
import { Logo } from "../parts/Logo.tsx";
import { useReadable } from "../readable.ts";
import { switchTheme } from "../theme.ts";
import { plural } from "../units.ts";
import { Estimate } from "./Estimate.tsx";
import { useRoom } from "./RoomContext.ts";
import { RunControls } from "./RunControls.tsx";
import { SavedState } from "./SavedState.tsx";
import { TitleField } from "./TitleField.tsx";

export function TopBar({ phone, onRun }: { readonly phone: boolean; readonly onRun: () => void }) {
  const room = useRoom();
  const { rights, me, prompt, slug } = useReadable(room.session);
  const id = prompt ?? slug;
  const share = () => id !== null && openDialog.set({ kind: "share", prompt: id });
  const viewOnly = me !== null && !rights.edit && (
    <span className="chip">
      <Eye className="i i12" aria-hidden="true" /> View only
    </span>
  );
  if (phone) {
    return (
      <header className="topbar">
        <Link className="icon-btn tap" href="/" aria-label="Back to the library">
          <ChevronLeft className="i i20" aria-hidden="true" />
        </Link>
        <div className="names">
          <TitleField readOnly={!rights.edit} />
          <SavedState />
        </div>
        {viewOnly}
        <PeopleHere />
        <MenuButton label="More" className="icon-btn tap" entries={() => phoneEntries(share)}>
          <Ellipsis className="i i20" aria-hidden="true" />
        </MenuButton>
      </header>
    );
  }
  return (
    <header className="topbar">
      <Link className="logo" href="/" aria-label="Promptroom, library">
        <Logo />
      </Link>
      <nav className="crumbs" aria-label="Breadcrumb">
        <Link href="/">Library</Link>
        <span className="slash" aria-hidden="true">
          /
        </span>
        <TitleField readOnly={!rights.edit} />
      </nav>
      {viewOnly}
      <span className="grow" />
      <SavedState />
      <PeopleHere />
      <button type="button" className="btn ghost share" onClick={share}>
        <Share2 className="i i14" aria-hidden="true" /> Share
      </button>
      {rights.run && (
        <>
          <Estimate />
          <RunControls phone={false} onRun={onRun} />
        </>
      )}
    </header>
  );
}

function PeopleHere() {
  const room = useRoom();
  const { connection, me } = useReadable(room.session);
  const online = connection.kind === "live";
  const all = useReadable(room.presence.people);
  // Without a connection nobody knows whether they are still here.
  const people = online ? all : all.map((person) => (person.me ? person : { ...person, away: true }));
  // From the browser's copy alone, not even one's own name is known.
  if (people.length === 0 || !me) return null;
  const names = people.map((person) => person.name).join(", ");
  return (
    <span style={{ margin: "0 8px", display: "inline-flex" }}>
      <AvatarRow
        people={people}
        label={`${plural(people.length, "person").replace("persons", "people")} here: ${names}`}
      />
    </span>
  );
}

function phoneEntries(share: () => void): readonly MenuEntry[] {
  return [
    { kind: "action", id: "share", label: "Share", icon: Share2, onAction: share },
    {
      kind: "action",
      id: "members",
      label: "Members",
      icon: UsersRound,
      onAction: () => openDialog.set({ kind: "members" }),
    },
    { kind: "action", id: "keys", label: "Keyboard", icon: Keyboard, onAction: () => openDialog.set({ kind: "keys" }) },
    { kind: "action", id: "theme", label: "Light or dark", icon: Moon, onAction: switchTheme },
  ];
}
