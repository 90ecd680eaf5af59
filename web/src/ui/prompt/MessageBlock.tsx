//! One message: role, size and handle on the left, text, and its menu on the right.

import { ArrowDown, ArrowUp, ChevronsUpDown, CopyPlus, Ellipsis, GripVertical, Trash2, UserRound } from "lucide-react";
import { type KeyboardEvent, memo, type PointerEvent } from "react";
import type { Message, PromptDocument, Role } from "../../room/api.ts";
import type { MenuEntry } from "../overlays/entries.ts";
import { MenuButton } from "../overlays/MenuButton.tsx";
import { usePromptDocument, useRights } from "../room/RoomContext.ts";
import { hint, modPressed } from "../shortcuts.ts";
import { toast } from "../toasts.ts";
import { focusField } from "./editors.ts";
import { PromptText } from "./PromptText.tsx";
import { TokenCount } from "./TokenCount.tsx";

export interface MessageBlockProps {
  readonly message: Message;
  readonly first: boolean;
  readonly last: boolean;
  readonly dragged: boolean;
  readonly dropMark: "before" | "after" | null;
  readonly onGrip: (id: string, event: PointerEvent<HTMLElement>) => void;
}

const ROLE_NAMES: Record<Role, string> = { user: "User", assistant: "Assistant" };

export const MessageBlock = memo(function MessageBlock(props: MessageBlockProps) {
  const { message, dropMark } = props;
  const prompt = usePromptDocument();
  const { edit } = useRights();
  const name = ROLE_NAMES[message.role];
  const classes = ["block", props.dragged ? "moving" : "", dropMark ? `drop-${dropMark}` : ""]
    .filter(Boolean)
    .join(" ");
  return (
    <article
      className={classes}
      aria-label={`${name} message`}
      data-message={message.id}
      onKeyDownCapture={(event) => edit && onBlockKey(event, prompt, message)}
    >
      {edit && (
        <button
          type="button"
          className="grip"
          aria-label={`Move this message: drag, or ${hint("alt", "↑")} and ${hint("alt", "↓")}`}
          title={`Drag to move  ${hint("alt", "↑↓")}`}
          onPointerDown={(event) => props.onGrip(message.id, event)}
        >
          <GripVertical className="i i14" aria-hidden="true" />
        </button>
      )}
      <div className="who">
        {edit ? <RoleButton message={message} prompt={prompt} /> : <span className="role">{name}</span>}
        <TokenCount text={message.text} />
      </div>
      <PromptText text={message.text} field={message.key} label={`${name} message`} placeholder="Write a message" />
      <div className="side">
        {edit && (
          <MenuButton
            label={`Actions for this ${name.toLowerCase()} message`}
            className="icon-btn sm"
            entries={() => entriesOf(props, prompt)}
          >
            <Ellipsis className="i" aria-hidden="true" />
          </MenuButton>
        )}
      </div>
    </article>
  );
});

function RoleButton({ message, prompt }: { readonly message: Message; readonly prompt: PromptDocument }) {
  const name = ROLE_NAMES[message.role];
  return (
    <button
      type="button"
      className="role"
      aria-label={`Role: ${name}. Switch`}
      title={`Switch role  ${hint("mod", "alt", "U")}`}
      onClick={() => prompt.setRole(message.id, otherRole(message.role))}
    >
      {name} <ChevronsUpDown className="i i12" aria-hidden="true" />
    </button>
  );
}

function onBlockKey(event: KeyboardEvent, prompt: PromptDocument, message: Message): void {
  const { altKey, ctrlKey, metaKey, shiftKey, code } = event.nativeEvent;
  if (altKey && !ctrlKey && !metaKey && !shiftKey && (code === "ArrowUp" || code === "ArrowDown")) {
    nudge(prompt, message, code === "ArrowUp" ? "up" : "down");
  } else if (modPressed(event.nativeEvent) && altKey && code === "KeyU") {
    prompt.setRole(message.id, otherRole(message.role));
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

/** Moving a node in the page takes the focus from it, so it is put back where it was. */
function nudge(prompt: PromptDocument, message: Message, direction: "up" | "down"): void {
  const focused = document.activeElement;
  const inEditor = focused?.closest(".text") !== null;
  if (!prompt.nudgeMessage(message.id, direction)) return;
  requestAnimationFrame(() => {
    if (inEditor) focusField(message.key);
    else if (focused instanceof HTMLElement) focused.focus();
    document.querySelector(`[data-message="${message.id}"]`)?.scrollIntoView({ block: "nearest" });
  });
}

function entriesOf({ message, first, last }: MessageBlockProps, prompt: PromptDocument): readonly MenuEntry[] {
  const other = otherRole(message.role);
  return [
    {
      kind: "action",
      id: "role",
      label: `Make it the ${other === "user" ? "user’s" : "assistant’s"}`,
      icon: UserRound,
      hint: hint("mod", "alt", "U"),
      onAction: () => prompt.setRole(message.id, other),
    },
    {
      kind: "action",
      id: "duplicate",
      label: "Duplicate",
      icon: CopyPlus,
      onAction: () => prompt.addMessage(message.role, message.id, message.text.toString()),
    },
    {
      kind: "action",
      id: "up",
      label: "Move up",
      icon: ArrowUp,
      hint: hint("alt", "↑"),
      disabled: first,
      onAction: () => nudge(prompt, message, "up"),
    },
    {
      kind: "action",
      id: "down",
      label: "Move down",
      icon: ArrowDown,
      hint: hint("alt", "↓"),
      disabled: last,
      onAction: () => nudge(prompt, message, "down"),
    },
    { kind: "rule", id: "rule" },
    {
      kind: "action",
      id: "delete",
      label: "Delete",
      icon: Trash2,
      danger: true,
      onAction: () => toast("The message was deleted", { undo: prompt.removeMessage(message.id) }),
    },
  ];
}

function otherRole(role: Role): Role {
  return role === "user" ? "assistant" : "user";
}
