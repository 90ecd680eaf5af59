//! The menu itself: React Aria's, so that keys, focus and touch are right. Loaded on demand.

import { Check } from "lucide-react";
import type { RefObject } from "react";
import { Header, Menu, MenuItem, MenuSection, Popover, Separator } from "react-aria-components";
import type { MenuAction, MenuEntry } from "./entries.ts";

export interface ActionMenuProps {
  readonly label: string;
  readonly trigger: RefObject<HTMLElement | null>;
  readonly entries: readonly MenuEntry[];
  readonly onClose: () => void;
}

export function ActionMenu({ label, trigger, entries, onClose }: ActionMenuProps) {
  return (
    <Popover
      className="pop"
      aria-label={label}
      data-layer="menu"
      triggerRef={trigger}
      isOpen
      offset={4}
      placement="bottom end"
      onOpenChange={(open) => !open && onClose()}
    >
      <Menu className="menu" aria-label={label} autoFocus="first" onClose={onClose}>
        {entries.map((entry) => (
          <Entry key={entry.id} entry={entry} />
        ))}
      </Menu>
    </Popover>
  );
}

function Entry({ entry }: { readonly entry: MenuEntry }) {
  switch (entry.kind) {
    case "rule":
      return <Separator className="rule" />;
    case "group":
      return (
        <MenuSection id={entry.id}>
          <Header className="head">{entry.label}</Header>
          {entry.actions.map((action) => (
            <Action key={action.id} entry={action} />
          ))}
        </MenuSection>
      );
    case "action":
      return <Action entry={entry} />;
    default:
      entry satisfies never;
      return null;
  }
}

function Action({ entry }: { readonly entry: MenuAction }) {
  const Icon = entry.icon;
  return (
    <MenuItem
      id={entry.id}
      textValue={entry.label}
      className={entry.danger ? "item danger" : "item"}
      isDisabled={entry.disabled ?? false}
      onAction={entry.onAction}
    >
      {entry.chosen !== undefined && (
        <span className="tick">{entry.chosen && <Check className="i i14" aria-hidden />}</span>
      )}
      {Icon && <Icon className="i i14" aria-hidden="true" />}
      <span className="cut">{entry.label}</span>
      {entry.chosen && <span className="vh">, chosen</span>}
      {entry.hint && <span className="kbd">{entry.hint}</span>}
    </MenuItem>
  );
}
