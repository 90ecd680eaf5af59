//! The frame of a small panel: React Aria's popover and dialog. Loaded on demand.

import type { ReactNode, RefObject } from "react";
import { Dialog, Popover } from "react-aria-components";

export interface FloatingPanelProps {
  readonly label: string;
  readonly trigger: RefObject<HTMLElement | null>;
  readonly className: string;
  readonly placement: "bottom start" | "bottom end";
  readonly onClose: () => void;
  readonly children: ReactNode;
}

export function FloatingPanel({ label, trigger, className, placement, onClose, children }: FloatingPanelProps) {
  return (
    <Popover
      className="pop"
      data-layer="panel"
      triggerRef={trigger}
      isOpen
      offset={4}
      placement={placement}
      onOpenChange={(open) => !open && onClose()}
    >
      <Dialog className={`panel ${className}`} aria-label={label}>
        {children}
      </Dialog>
    </Popover>
  );
}
