//! The frame of a dialog: it holds the focus and gives it back. Loaded with the dialogs.

import { X } from "lucide-react";
import type { ReactNode } from "react";
import { Dialog, Heading, Modal, ModalOverlay } from "react-aria-components";

export interface ModalDialogProps {
  readonly title: string;
  readonly wide?: boolean;
  /** Beside the title. */
  readonly head?: ReactNode;
  readonly foot?: ReactNode;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

export function ModalDialog({ title, wide = false, head, foot, onClose, children }: ModalDialogProps) {
  return (
    <ModalOverlay
      className="scrim"
      data-layer="dialog"
      isOpen
      isDismissable
      onOpenChange={(open) => !open && onClose()}
    >
      <Modal className={wide ? "dialog wide" : "dialog"}>
        <Dialog>
          <header>
            <Heading slot="title" level={2}>
              {title}
            </Heading>
            {head ?? <span className="grow" />}
            <button type="button" className="icon-btn" aria-label="Close" onClick={onClose}>
              <X className="i" aria-hidden="true" />
            </button>
          </header>
          {children}
          {foot && <footer>{foot}</footer>}
        </Dialog>
      </Modal>
    </ModalOverlay>
  );
}
