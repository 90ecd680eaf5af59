//! What a room offers to the screens: every store, every operation, and nothing of how they work.

import type { Awareness } from "y-protocols/awareness";
import type * as Y from "yjs";
import type { PromptContent, RunDetail } from "../protocol/resources.ts";
import type { BlockKind, Limits, Overrides, Person, Problem, Rights, RunSummary } from "../protocol/shapes.ts";

/** A value that changes, shaped for `useSyncExternalStore`: the snapshot is the same object until it changes. */
export interface Readable<T> {
  getSnapshot(): T;
  subscribe(listener: () => void): () => void;
}

/** One open room. `close()` leaves it; nothing works after that. */
export interface Room {
  readonly session: Readable<SessionView>;
  /** Changes with every burst of typing: subscribe only where it is shown. */
  readonly saved: Readable<Saved>;
  /** Replaced by a new one when the document had to start again: key the editor's subtree by `life`. */
  readonly document: Readable<PromptDocument>;
  readonly presence: Presence;
  readonly runs: Runs;
  /** Text of one's own that the server would not take, kept so that it can be copied. */
  readonly aside: Readable<Aside | null>;
  dismissAside(): void;
  /** Reconnects at once instead of waiting for the next try. */
  tryNow(): void;
  /** Waits until everything typed so far is durable; false if that did not happen in time. */
  whenSaved(timeoutMs: number): Promise<boolean>;
  close(): void;
}

export type Connection =
  | { readonly kind: "connecting" }
  /** Connected, and what was missed is arriving. */
  | { readonly kind: "catching_up" }
  | { readonly kind: "live" }
  /** `retryAtMs` is wall time; `sinceMs` is when the line dropped. */
  | { readonly kind: "reconnecting"; readonly sinceMs: number; readonly retryAtMs: number; readonly attempt: number }
  /** The browser says there is no network. */
  | { readonly kind: "offline"; readonly sinceMs: number }
  /** For good: switch on `problem.code`. */
  | { readonly kind: "closed"; readonly problem: Problem; readonly closeCode: number };

/** Whether one's own edits are durable. `edits` counts bursts of typing, not characters. */
export type Saved =
  | { readonly kind: "saved" }
  | { readonly kind: "saving"; readonly edits: number }
  | { readonly kind: "offline"; readonly edits: number; readonly sinceMs: number };

export interface SessionView {
  readonly connection: Connection;
  /** Null until the first hello. */
  readonly me: Person | null;
  readonly rights: Rights;
  readonly prompt: string | null;
  readonly slug: string | null;
  readonly requestId: string | null;
  readonly limits: Limits | null;
}

/** Why text was put aside, and the text, field by field. */
export interface Aside {
  readonly problem: Problem;
  readonly fields: readonly { readonly label: string; readonly text: string }[];
}

/** Takes back the operation that returned it; does nothing the second time. */
export type Undo = () => void;

/** A small text that may not exist in the document yet; it is created when somebody first types. */
export interface TextField {
  /** The same for everybody in the room: `title`, `value:<set>:<name>`, `default:<name>`. */
  readonly key: string;
  current(): Y.Text | null;
  /** Creates it where it is missing. */
  ensure(): Y.Text;
  read(): string;
  /** On creation and on every change, by anybody. */
  subscribe(listener: () => void): () => void;
}

export type Role = "user" | "assistant";

export interface Message {
  readonly id: string;
  readonly role: Role;
  /** The key of its text for presence: `message:<id>`. */
  readonly key: string;
  readonly text: Y.Text;
}

export type ParameterName = "temperature" | "top_p" | "max_tokens" | "stop" | "seed";

export interface Parameters {
  readonly temperature?: number;
  readonly top_p?: number;
  readonly max_tokens?: number;
  /** Several sequences are separated by line ends. */
  readonly stop?: string;
  readonly seed?: number;
}

export interface Draft {
  readonly variant: string;
  readonly name: string;
  /** `lane/model`, or empty. */
  readonly model: string;
  readonly parameters: Parameters;
  readonly system: Y.Text;
  /** In order; an entry is the same object until its role, order or text object changes. */
  readonly messages: readonly Message[];
}

export interface InputSet {
  readonly id: string;
  readonly name: string;
}

export interface InputSets {
  readonly sets: readonly InputSet[];
  /** The one that this person tests with; kept in this browser. */
  readonly chosen: string | null;
}

export type VariableType = "text" | "json" | "number" | "boolean";

export interface Variable {
  readonly name: string;
  readonly type: VariableType;
  /** Whether the texts name it now; one that is only declared is shown below the others. */
  readonly used: boolean;
  /** `value`: from the chosen set; `default`: from the declaration; `unset`: sent literally. */
  readonly source: "value" | "default" | "unset";
  /** The value that a run would use; empty when unset. */
  readonly effective: string;
  readonly value: TextField;
  readonly default: TextField;
}

/** The prompt as it is edited. Every operation is one undoable step and works offline. */
export interface PromptDocument {
  readonly life: number;
  readonly title: TextField;
  /** Null until the first content is there. */
  readonly draft: Readable<Draft | null>;
  readonly variables: Readable<readonly Variable[]>;
  readonly inputs: Readable<InputSets>;
  readonly titleText: Readable<string>;
  readonly undoState: Readable<{ readonly canUndo: boolean; readonly canRedo: boolean }>;
  readonly undoManager: Y.UndoManager;
  undo(): void;
  redo(): void;

  /** Puts it after `after`, or at the end; returns its id. */
  addMessage(role: Role, after?: string, text?: string): string;
  removeMessage(id: string): Undo;
  /** Puts it before `before`, or at the end when null. */
  moveMessage(id: string, before: string | null): void;
  /** One place up or down; false at the edge. */
  nudgeMessage(id: string, direction: "up" | "down"): boolean;
  setRole(id: string, role: Role): void;
  setModel(model: string): void;
  /** `undefined` clears it. */
  setParameter<N extends ParameterName>(name: N, value: Parameters[N] | undefined): void;

  addVariant(name: string): string;
  renameVariant(id: string, name: string): void;
  removeVariant(id: string): Undo;

  setVariableType(name: string, type: VariableType): void;
  /** Takes an unused declaration away. */
  removeVariable(name: string): Undo;
  /** Fills the chosen set from an object, as pasted; names that are not variables are declared. Returns how many. */
  fillValues(values: Readonly<Record<string, unknown>>): number;
  /** The chosen set's values as an object, for the JSON form. */
  readValues(): Record<string, string>;
  chooseInputs(id: string): void;
  addInputs(name: string): string;
  renameInputs(id: string, name: string): void;
  removeInputs(id: string): Undo;

  /** Makes the draft what a run or a version was, as one step. */
  restore(content: PromptContent): Undo;
  readContent(): PromptContent;
}

/** Where somebody is. */
export interface Focus {
  /** A text's key: `title`, `system`, `message:<id>`, `value:<set>:<name>`, `default:<name>`. */
  readonly field: string;
}

/** Somebody in the room; two tabs of one person are one entry. */
export interface Present {
  /** The member's id, or `guest:<client>` where the server has not said who it is. */
  readonly id: string;
  readonly name: string;
  /** 1 to 8: `--p-1` … `--p-8`. */
  readonly colour: number;
  readonly me: boolean;
  readonly away: boolean;
  readonly clients: readonly number[];
  readonly focus: Focus | null;
  /** The run that their pane shows. */
  readonly watching: string | null;
}

/** A remote caret in one text, in UTF-16 indices of that text now. */
export interface RemoteCaret {
  readonly client: number;
  readonly name: string;
  readonly colour: number;
  readonly anchor: number;
  readonly head: number;
  /** When it last moved, wall time here. */
  readonly movedAtMs: number;
}

export interface Presence {
  /** Oneself first, then in order of arrival. */
  readonly people: Readable<readonly Present[]>;
  /** A member's colour also when they are not here: the same for everybody in the room. */
  colourOf(memberId: string): number;
  caretsIn(text: Y.Text): readonly RemoteCaret[];
  onCarets(listener: () => void): () => void;
  setCaret(text: Y.Text, anchor: number, head: number): void;
  clearCaret(text: Y.Text): void;
  setFocus(focus: Focus | null): void;
  /** For other Yjs tooling; replaced together with the document. */
  readonly awareness: Awareness;
}

export interface RunList {
  /** Newest first. */
  readonly runs: readonly RunSummary[];
  /** Whether older ones can be fetched. */
  readonly more: boolean;
  readonly loading: boolean;
}

/** A run that was asked for and has no row yet. */
export interface StartingRun {
  readonly command: string;
  readonly kind: "run" | "regenerate" | "continue";
  readonly sinceMs: number;
  /** False while the line is down: it is sent again with the same id when it is back. */
  readonly sent: boolean;
}

export interface Shown {
  /** What the pane shows: a run, or one's own that is just starting, or nothing yet. */
  readonly run: RunSummary | null;
  readonly starting: StartingRun | null;
  /** The last start that was refused, until the next one. */
  readonly refused: Problem | null;
  readonly mode: "following" | "holding";
  /** Newest run that is not shown because the reader holds another: "Ana started run 49 · Watch". */
  readonly chip: RunSummary | null;
  /** Runs that one has stopped and that have not said so yet: freeze their text. */
  readonly stopping: ReadonlySet<string>;
}

export interface Runs {
  readonly list: Readable<RunList>;
  readonly shown: Readable<Shown>;
  /** Follows the newest run from now on. */
  follow(): void;
  choose(run: string): void;
  /** Stays on the shown run: the reader scrolled or selected. */
  hold(): void;
  /** Rejects with `RefusedError`; the same refusal is in `shown.refused`. */
  start(options?: { readonly overrides?: Overrides }): Promise<RunSummary>;
  cancel(run: string): Promise<RunSummary>;
  regenerate(run: string): Promise<RunSummary>;
  continueRun(run: string): Promise<RunSummary>;
  loadMore(): Promise<void>;
  /** Everything about one run: exact request, source, values, blocks. */
  detail(run: string): Promise<RunDetail>;
  /** Watches it until `release`; the same object for all who hold it. */
  output(run: string): Output;
}

export interface OutputBlock {
  readonly block: number;
  readonly kind: BlockKind;
}

/** A permanent mark in a block's text. */
export interface SeamMark {
  readonly epoch: number;
  readonly block: number;
  /** UTF-16 index in the block's text. */
  readonly index: number;
  /** What was withdrawn there. */
  readonly withdrawn: string;
  /** How long nothing arrived; null until the server has said. */
  readonly gapMs: number | null;
}

export interface OutputView {
  readonly phase: "waiting" | "streaming" | "resuming" | "ended";
  /** In order of first arrival. */
  readonly blocks: readonly OutputBlock[];
  /** Bytes had so far, as the server counts. */
  readonly bytes: number;
  readonly seams: readonly SeamMark[];
  /** Set when a dropped line was taken up again; show it for 4 s. */
  readonly resumed: {
    readonly atBytes: number;
    readonly block: number;
    readonly index: number;
    readonly awayMs: number;
    readonly resumedAtMs: number;
  } | null;
}

/** One run's text. `view` changes seldom (blocks, phase, seams) and at most 4 times a second for `bytes`. */
export interface Output {
  readonly run: string;
  readonly view: Readable<OutputView>;
  text(block: number): string;
  /** Called at once with all the text so far, then once per animation frame with what is new. */
  read(block: number, reader: BlockReader): () => void;
  release(): void;
}

export interface BlockReader {
  append(text: string): void;
  /** Everything from `length` on was withdrawn: keep the first `length` UTF-16 units. */
  truncate(length: number): void;
  /** Nothing more will come. */
  end(): void;
}
