//! What a menu holds, apart from how it is drawn.

import type { LucideIcon } from "lucide-react";

export type MenuEntry = MenuAction | { readonly kind: "rule"; readonly id: string } | MenuGroup;

export interface MenuAction {
  readonly kind: "action";
  readonly id: string;
  readonly label: string;
  readonly icon?: LucideIcon;
  /** Keys that do the same. */
  readonly hint?: string;
  /** Ticked: the one that is chosen now. */
  readonly chosen?: boolean;
  readonly danger?: boolean;
  readonly disabled?: boolean;
  readonly onAction: () => void;
}

export interface MenuGroup {
  readonly kind: "group";
  readonly id: string;
  readonly label: string;
  readonly actions: readonly MenuAction[];
}
