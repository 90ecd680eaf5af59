//! Draws the dialog that is open; each one's code is fetched when it is first opened.

import { lazy, Suspense } from "react";
import { useReadable } from "../readable.ts";
import { closeDialog, type OpenDialog, openDialog } from "./dialogs.ts";

const KeysDialog = lazy(async () => ({ default: (await import("./KeysDialog.tsx")).KeysDialog }));
const MembersDialog = lazy(async () => ({ default: (await import("./MembersDialog.tsx")).MembersDialog }));
const ShareDialog = lazy(async () => ({ default: (await import("./ShareDialog.tsx")).ShareDialog }));
const NameDialog = lazy(async () => ({ default: (await import("./NameDialog.tsx")).NameDialog }));

export function DialogHost() {
  const dialog = useReadable(openDialog);
  if (dialog === null) return null;
  return <Suspense fallback={null}>{dialogOf(dialog)}</Suspense>;
}

function dialogOf(dialog: OpenDialog) {
  switch (dialog.kind) {
    case "keys":
      return <KeysDialog onClose={closeDialog} />;
    case "members":
      return <MembersDialog onClose={closeDialog} />;
    case "share":
      return <ShareDialog prompt={dialog.prompt} onClose={closeDialog} />;
    case "name":
      return <NameDialog ask={dialog} onClose={closeDialog} />;
    default:
      dialog satisfies never;
      return null;
  }
}
