//! A button that opens a small panel beside it: parameters, the model picker. The panel's code comes on demand.

import { lazy, type ReactNode, Suspense, useRef, useState } from "react";

const FloatingPanel = lazy(async () => ({ default: (await import("./FloatingPanel.tsx")).FloatingPanel }));

export interface PanelButtonProps {
  readonly label: string;
  readonly className: string;
  readonly title?: string;
  readonly panelClassName?: string;
  readonly placement?: "bottom start" | "bottom end";
  readonly panel: (close: () => void) => ReactNode;
  readonly children: ReactNode;
}

export function PanelButton(props: PanelButtonProps) {
  const button = useRef<HTMLButtonElement>(null);
  const [open, setOpen] = useState(false);
  const close = () => setOpen(false);
  return (
    <>
      <button
        ref={button}
        type="button"
        className={props.className}
        aria-label={props.label}
        aria-haspopup="dialog"
        aria-expanded={open}
        title={props.title}
        onClick={() => setOpen(true)}
      >
        {props.children}
      </button>
      {open && (
        <Suspense fallback={null}>
          <FloatingPanel
            label={props.label}
            trigger={button}
            className={props.panelClassName ?? ""}
            placement={props.placement ?? "bottom end"}
            onClose={close}
          >
            {props.panel(close)}
          </FloatingPanel>
        </Suspense>
      )}
    </>
  );
}
