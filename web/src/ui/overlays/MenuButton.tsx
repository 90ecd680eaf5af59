//! A button that opens a menu. The menu's code is fetched when it is first wanted, or before, when the page is idle.

import { lazy, type ReactNode, Suspense, useRef, useState } from "react";
import type { MenuEntry } from "./entries.ts";

const ActionMenu = lazy(async () => ({ default: (await import("./ActionMenu.tsx")).ActionMenu }));

export interface MenuButtonProps {
  readonly label: string;
  readonly className: string;
  readonly title?: string;
  readonly disabled?: boolean;
  /** Asked each time the menu opens. */
  readonly entries: () => readonly MenuEntry[];
  readonly children: ReactNode;
}

export function MenuButton({ label, className, title, disabled = false, entries, children }: MenuButtonProps) {
  const button = useRef<HTMLButtonElement>(null);
  const [open, setOpen] = useState(false);
  return (
    <>
      <button
        ref={button}
        type="button"
        className={className}
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={open}
        title={title}
        disabled={disabled}
        onClick={() => setOpen(true)}
        onKeyDown={(event) => {
          if (event.key !== "ArrowDown") return;
          event.preventDefault();
          setOpen(true);
        }}
      >
        {children}
      </button>
      {open && (
        <Suspense fallback={null}>
          <ActionMenu label={label} trigger={button} entries={entries()} onClose={() => setOpen(false)} />
        </Suspense>
      )}
    </>
  );
}
