//! Which dialog is open. One at a time; where it is drawn is DialogHost's matter.

import { cell } from "../readable.ts";

export type OpenDialog =
  | { readonly kind: "keys" }
  | { readonly kind: "members" }
  | { readonly kind: "share"; readonly prompt: string }
  /** Asks for one short text. */
  | {
      readonly kind: "name";
      readonly title: string;
      readonly label: string;
      readonly value: string;
      readonly action: string;
      readonly onName: (name: string) => void;
    };

export const openDialog = cell<OpenDialog | null>(null);

export function closeDialog(): void {
  openDialog.set(null);
}
