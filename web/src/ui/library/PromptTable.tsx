//! The prompts, one a row.

import { Ellipsis, FileText, Lock, Pencil, Trash2, Users } from "lucide-react";
import { memo } from "react";
import { Link } from "wouter";
import type { Prompt } from "../../protocol/resources.ts";
import { isTerminal } from "../../protocol/shapes.ts";
import { useNow } from "../now.ts";
import { openDialog } from "../overlays/dialogs.ts";
import type { MenuEntry } from "../overlays/entries.ts";
import { MenuButton } from "../overlays/MenuButton.tsx";
import { OutcomeIcon } from "../parts/Outcome.tsx";
import { firstName, when } from "../units.ts";
import { roomPath } from "./create.ts";
import { removePrompt, renamePrompt, setVisibility } from "./promptList.ts";

export interface PromptTableProps {
  readonly prompts: readonly Prompt[];
  readonly me: string;
  /** Said when there are none. */
  readonly nothing: string;
}

export function PromptTable({ prompts, me, nothing }: PromptTableProps) {
  if (prompts.length === 0) return <p className="empty">{nothing}</p>;
  return (
    <div className="lib">
      <table className="table">
        <thead>
          <tr>
            <th>Prompt</th>
            <th className="mid-only">In the room</th>
            <th className="wide-only">Who can open it</th>
            <th className="mid-only">Last run</th>
            <th>Edited</th>
            <th className="end">
              <span className="vh">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {prompts.map((prompt) => (
            <PromptRow key={prompt.id} prompt={prompt} mine={prompt.owner.id === me} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

const PromptRow = memo(function PromptRow({ prompt, mine }: { readonly prompt: Prompt; readonly mine: boolean }) {
  const now = useNow(60_000);
  const open = prompt.visibility === "workspace";
  return (
    <tr>
      <td>
        <Link className="pname" href={roomPath(prompt)}>
          <FileText className="i i14 t3" aria-hidden="true" />
          <span>
            <span className="cut" style={{ display: "block" }}>
              {prompt.title || "Untitled prompt"}
            </span>
            <small className="cut">{mine ? "yours" : `by ${firstName(prompt.owner.name)}`}</small>
          </span>
        </Link>
      </td>
      <td className="mid-only">
        {prompt.people === 0 ? <span className="t3">nobody</span> : <span>{prompt.people} here</span>}
      </td>
      <td className="wide-only">
        <span className="state" style={{ fontWeight: 400 }}>
          {open ? <Users className="i i14 t3" aria-hidden="true" /> : <Lock className="i i14 t3" aria-hidden="true" />}
          {open ? "Workspace" : "Private"}
        </span>
      </td>
      <td className="mid-only">
        <LastRun prompt={prompt} now={now} />
      </td>
      <td className="t2">{when(prompt.updated_at_ms, now)}</td>
      <td className="end">
        {(prompt.rights.edit || mine) && (
          <MenuButton
            label={`Actions for ${prompt.title || "Untitled prompt"}`}
            className="icon-btn"
            entries={() => entriesOf(prompt, mine)}
          >
            <Ellipsis className="i" aria-hidden="true" />
          </MenuButton>
        )}
      </td>
    </tr>
  );
});

function LastRun({ prompt, now }: { readonly prompt: Prompt; readonly now: number }) {
  const run = prompt.last_run;
  if (!run) return <span className="t3">never run</span>;
  const name = firstName(run.by.name);
  if (!isTerminal(run.state)) {
    return (
      <span className="state live">
        <span className="dot" />
        {name}, running
      </span>
    );
  }
  return (
    <span className="lastrun t2">
      <OutcomeIcon run={run} size={14} /> {when(run.ended_at_ms ?? run.created_at_ms, now)}, {name}
    </span>
  );
}

function entriesOf(prompt: Prompt, mine: boolean): readonly MenuEntry[] {
  const open = prompt.visibility === "workspace";
  const manages = prompt.rights.manage || mine;
  const rename: MenuEntry = {
    kind: "action",
    id: "rename",
    label: "Rename",
    icon: Pencil,
    onAction: () =>
      openDialog.set({
        kind: "name",
        title: "Rename the prompt",
        label: "Name",
        value: prompt.title,
        action: "Rename",
        onName: (title) => void renamePrompt(prompt, title),
      }),
  };
  if (!manages) return [rename];
  return [
    rename,
    {
      kind: "action",
      id: "visibility",
      label: open ? "Make private" : "Open to the workspace",
      icon: open ? Lock : Users,
      onAction: () => void setVisibility(prompt, open ? "private" : "workspace"),
    },
    { kind: "rule", id: "rule" },
    { kind: "action", id: "delete", label: "Delete", icon: Trash2, danger: true, onAction: () => removePrompt(prompt) },
  ];
}
