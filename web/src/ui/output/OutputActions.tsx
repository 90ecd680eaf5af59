//! What can be done with the run that is shown.

import { Copy, FastForward, RefreshCw, Square, X } from "lucide-react";
import { isTerminal, type RunSummary } from "../../protocol/shapes.ts";
import type { Output, PromptDocument, Room } from "../../room/api.ts";
import { copyText } from "../copy.ts";
import { models } from "../models.ts";
import { isQueued } from "../parts/Outcome.tsx";
import { focusField } from "../prompt/editors.ts";
import { useReadable } from "../readable.ts";
import { usePromptDocument, useRights, useRoom } from "../room/RoomContext.ts";
import { continueRun, regenerate, stopRun } from "../room/runCommands.ts";
import { hint } from "../shortcuts.ts";
import { toast } from "../toasts.ts";
import { whyNotContinue } from "./runOptions.ts";

export interface OutputActionsProps {
  readonly run: RunSummary;
  readonly output: Output | null;
  readonly stopping: boolean;
  readonly onSeeRaw: () => void;
}

export function OutputActions({ run, output, stopping, onSeeRaw }: OutputActionsProps) {
  const room = useRoom();
  const rights = useRights();
  useReadable(models);
  const live = !isTerminal(run.state);
  const whyNot = whyNotContinue(run);
  return (
    <div className="actions">
      {rights.run && live && <StopAction run={run} room={room} stopping={stopping} />}
      {rights.run && !isQueued(run) && (
        <>
          <button
            type="button"
            className={live ? "btn ghost" : "btn"}
            disabled={live}
            onClick={() => regenerate(room, run)}
          >
            <RefreshCw className="i i14" aria-hidden="true" /> Regenerate
            {!live && <span className="kbd">{hint("mod", "alt", "R")}</span>}
          </button>
          <button
            type="button"
            className="btn ghost"
            disabled={whyNot !== null}
            title={whyNot ?? `Go on from where it ended  ${hint("mod", "alt", "↵")}`}
            onClick={() => continueRun(room, run)}
          >
            <FastForward className="i i14" aria-hidden="true" /> Continue
          </button>
        </>
      )}
      <span className="grow" />
      <TextActions run={run} output={output} onSeeRaw={onSeeRaw} live={live} mayEdit={rights.edit} />
    </div>
  );
}

interface StopActionProps {
  readonly run: RunSummary;
  readonly room: Room;
  readonly stopping: boolean;
}

function StopAction({ run, room, stopping }: StopActionProps) {
  const queued = isQueued(run);
  const Icon = queued ? X : Square;
  return (
    <button type="button" className="btn stop" disabled={stopping} onClick={() => stopRun(room, run)}>
      <Icon className={queued ? "i i14" : "i i12 fill"} aria-hidden="true" /> {queued ? "Leave the queue" : "Stop"}
      <span className="kbd">Esc</span>
    </button>
  );
}

interface TextActionsProps {
  readonly run: RunSummary;
  readonly output: Output | null;
  readonly live: boolean;
  readonly mayEdit: boolean;
  readonly onSeeRaw: () => void;
}

function TextActions({ run, output, live, mayEdit, onSeeRaw }: TextActionsProps) {
  const prompt = usePromptDocument();
  const nothing = output === null || run.bytes === 0;
  if (run.state === "completed" && run.bytes === 0) {
    return (
      <button type="button" className="btn ghost" onClick={onSeeRaw}>
        See raw
      </button>
    );
  }
  return (
    <>
      <button
        type="button"
        className="btn ghost"
        disabled={nothing}
        aria-label="Copy the text"
        title="Copy the text"
        onClick={() => output && void copyText(textOf(output), "The text was copied")}
      >
        <Copy className="i i14" aria-hidden="true" />
      </button>
      {mayEdit && (
        <button
          type="button"
          className="btn ghost"
          disabled={nothing || live}
          onClick={() => output && addAnswer(prompt, output)}
        >
          Add to messages
        </button>
      )}
    </>
  );
}

function addAnswer(prompt: PromptDocument, output: Output): void {
  const text = textOf(output);
  if (text === "") {
    toast("There is no text to add");
    return;
  }
  // A blank message is not sent, so the turn that is ready to be written in does no harm.
  const answer = prompt.addMessage("assistant", undefined, text);
  const turn = prompt.addMessage("user", answer);
  requestAnimationFrame(() => focusField(`message:${turn}`));
  const undo = () => {
    for (const id of [turn, answer]) prompt.removeMessage(id);
  };
  toast("Added as the assistant’s message", { undo });
}

/** What was answered: the text, without reasoning and tool calls. */
function textOf(output: Output): string {
  return output.view
    .getSnapshot()
    .blocks.filter((block) => block.kind === "text")
    .map((block) => output.text(block.block))
    .join("\n\n")
    .trim();
}
