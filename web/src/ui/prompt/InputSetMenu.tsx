//! Named sets of values: each person picks theirs, so that two testers do not fight over one field.

import { ChevronDown, Pencil, Plus, Trash2 } from "lucide-react";
import type { InputSet, InputSets, PromptDocument } from "../../room/api.ts";
import { openDialog } from "../overlays/dialogs.ts";
import type { MenuEntry } from "../overlays/entries.ts";
import { MenuButton } from "../overlays/MenuButton.tsx";
import { usePromptDocument } from "../room/RoomContext.ts";
import { toast } from "../toasts.ts";

export function InputSetMenu({ inputs, readOnly }: { readonly inputs: InputSets; readonly readOnly: boolean }) {
  const prompt = usePromptDocument();
  const chosen = inputs.sets.find((set) => set.id === inputs.chosen);
  return (
    <>
      <span className="t3" style={{ fontWeight: 400 }}>
        Values from
      </span>
      <MenuButton
        label={`Values from ${chosen?.name ?? "no set"}`}
        className="btn ghost sm from"
        entries={() => entriesOf(prompt, inputs, chosen ?? null, readOnly)}
      >
        <span className="cut">{chosen?.name ?? "no set"}</span>
        <ChevronDown className="i i12" aria-hidden="true" />
      </MenuButton>
    </>
  );
}

function entriesOf(
  prompt: PromptDocument,
  inputs: InputSets,
  chosen: InputSet | null,
  readOnly: boolean,
): readonly MenuEntry[] {
  const sets: MenuEntry[] = inputs.sets.map((set) => ({
    kind: "action",
    id: set.id,
    label: set.name || "Unnamed",
    chosen: set.id === inputs.chosen,
    onAction: () => prompt.chooseInputs(set.id),
  }));
  if (readOnly) return sets;
  return [...sets, { kind: "rule", id: "rule" }, ...changesTo(prompt, chosen, inputs.sets.length > 1)];
}

function changesTo(prompt: PromptDocument, chosen: InputSet | null, several: boolean): readonly MenuEntry[] {
  const add: MenuEntry = {
    kind: "action",
    id: "add",
    label: "New set of values",
    icon: Plus,
    onAction: () => askName("New set of values", "", "Add", (name) => prompt.chooseInputs(prompt.addInputs(name))),
  };
  if (!chosen) return [add];
  return [
    add,
    {
      kind: "action",
      id: "rename",
      label: "Rename",
      icon: Pencil,
      onAction: () => askName("Rename the set", chosen.name, "Rename", (name) => prompt.renameInputs(chosen.id, name)),
    },
    {
      kind: "action",
      id: "delete",
      label: "Delete",
      icon: Trash2,
      danger: true,
      disabled: !several,
      onAction: () => toast(`${chosen.name} was deleted`, { undo: prompt.removeInputs(chosen.id) }),
    },
  ];
}

function askName(title: string, value: string, action: string, onName: (name: string) => void): void {
  openDialog.set({ kind: "name", title, label: "Name", value, action, onName });
}
