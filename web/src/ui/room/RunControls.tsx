//! Run and Stop in one box of one size, with what else can be run beside it.

import { ChevronDown, Play, Square } from "lucide-react";
import { isTerminal } from "../../protocol/shapes.ts";
import type { Shown } from "../../room/api.ts";
import { models } from "../models.ts";
import type { MenuEntry } from "../overlays/entries.ts";
import { MenuButton } from "../overlays/MenuButton.tsx";
import { useReadable } from "../readable.ts";
import { hint } from "../shortcuts.ts";
import { usePromptDocument, useRoom } from "./RoomContext.ts";
import { startRun, stoppable, stopRun } from "./runCommands.ts";

const OTHER_MODELS_MAX = 8;

export interface RunControlsProps {
  readonly phone: boolean;
  /** After a run was asked for. */
  readonly onRun: () => void;
}

export function RunControls({ phone, onRun }: RunControlsProps) {
  const shown = useReadable(useRoom().runs.shown);
  const live = shown.starting !== null || (shown.run !== null && !isTerminal(shown.run.state));
  const button = <RunOrStop live={live} shown={shown} onRun={onRun} />;
  if (phone) return button;
  return (
    <span className="split">
      {button}
      <RunMenu live={live} onRun={onRun} />
    </span>
  );
}

interface RunOrStopProps {
  readonly live: boolean;
  readonly shown: Shown;
  readonly onRun: () => void;
}

/** One button, so that whoever pressed Run by keyboard still has the focus on it when it is Stop. */
function RunOrStop({ live, shown, onRun }: RunOrStopProps) {
  const room = useRoom();
  const draft = useReadable(usePromptDocument().draft);
  const run = stoppable(shown);
  const press = () => {
    if (live) {
      if (run) stopRun(room, run);
      return;
    }
    startRun(room);
    onRun();
  };
  return (
    <button
      type="button"
      className={live ? "btn ink" : "btn primary"}
      aria-keyshortcuts={live ? "Escape" : "Meta+Enter Control+Enter"}
      aria-disabled={(live && run === null) || undefined}
      disabled={!live && draft === null}
      // A key that is held down would stop what it has just started.
      onKeyDown={(event) => event.repeat && event.preventDefault()}
      onClick={press}
    >
      {live ? (
        <>
          <Square className="i i12 fill" aria-hidden="true" /> {stopWord(shown, run !== null)}{" "}
          {run && <span className="kbd">Esc</span>}
        </>
      ) : (
        <>
          <Play className="i i12 fill" aria-hidden="true" /> Run <span className="kbd">{hint("mod", "↵")}</span>
        </>
      )}
    </button>
  );
}

function stopWord(shown: Shown, canStop: boolean): string {
  if (canStop) return "Stop";
  return shown.starting ? "Starting" : "Stopping";
}

function RunMenu({ live, onRun }: { readonly live: boolean; readonly onRun: () => void }) {
  const room = useRoom();
  const prompt = usePromptDocument();
  const draft = useReadable(prompt.draft);
  const entries = (): readonly MenuEntry[] => {
    const chosen = draft?.model;
    const others = (models.getSnapshot() ?? []).filter((model) => model.id !== chosen).slice(0, OTHER_MODELS_MAX);
    const start = (model?: string) => () => {
      startRun(room, model);
      onRun();
    };
    const again: MenuEntry = {
      kind: "action",
      id: "run",
      label: live ? "Run again beside it" : "Run",
      icon: Play,
      hint: hint("mod", "↵"),
      onAction: start(),
    };
    if (others.length === 0) return [again];
    return [
      again,
      {
        kind: "group",
        id: "others",
        label: "Run once on another model",
        actions: others.map((model) => ({
          kind: "action",
          id: model.id,
          label: model.label,
          onAction: start(model.id),
        })),
      },
    ];
  };
  return (
    <MenuButton
      label="Run options"
      className={live ? "btn ink" : "btn primary"}
      disabled={draft === null}
      entries={entries}
    >
      <ChevronDown className="i i14" aria-hidden="true" />
    </MenuButton>
  );
}
