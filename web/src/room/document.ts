//! The prompt as it is edited: immutable snapshots for reading, one undoable step per operation.

import * as Y from "yjs";
import type { PromptContent } from "../protocol/resources.ts";
import type {
  Draft,
  InputSets,
  ParameterName,
  Parameters,
  PromptDocument,
  Role,
  TextField,
  Undo,
  Variable,
  VariableType,
} from "./api.ts";
import { readDraft, readTexts, readVariant, writeParameters } from "./draft.ts";
import { Fields } from "./fields.ts";
import { Messages } from "./messages.ts";
import { orderBefore } from "./ordering.ts";
import {
  CREATE,
  EDIT,
  isReady,
  newMap,
  newText,
  type Ordered,
  present,
  type Roots,
  readMap,
  readParameters,
  readString,
  readText,
  readType,
  rootsOf,
} from "./schema.ts";
import { Store } from "./store.ts";
import { Survey } from "./survey.ts";
import { replaceText } from "./text.ts";
import { Variables } from "./variables.ts";

/** Edits closer together than this are undone together. */
const UNDO_STEP_MS = 500;

export interface DocumentOptions {
  readonly doc: Y.Doc;
  readonly life: number;
  readonly chosenInputs: string | null;
  onInputsChosen(id: string): void;
}

export class LiveDocument implements PromptDocument {
  readonly life: number;
  readonly title: TextField;
  readonly draft = new Store<Draft | null>(null);
  readonly variables = new Store<readonly Variable[]>([]);
  readonly inputs = new Store<InputSets>({ sets: [], chosen: null });
  readonly titleText = new Store("");
  readonly undoState = new Store({ canUndo: false, canRedo: false });
  readonly undoManager: Y.UndoManager;
  readonly survey: Survey;

  private readonly doc: Y.Doc;
  private readonly roots: Roots;
  private readonly fields = new Fields();
  private readonly variableModel: Variables;
  private readonly onInputsChosen: (id: string) => void;

  constructor(options: DocumentOptions) {
    this.doc = options.doc;
    this.life = options.life;
    this.onInputsChosen = options.onInputsChosen;
    this.roots = rootsOf(this.doc);
    const { title, variants, variables, inputs } = this.roots;
    this.title = this.fields.field("title", { current: () => title, ensure: () => title });
    this.variableModel = new Variables(this.doc, this.roots, this.fields, options.chosenInputs);
    this.survey = new Survey(() => this.readVariables());
    this.undoManager = new Y.UndoManager([title, variants, variables, inputs], {
      trackedOrigins: new Set([EDIT]),
      captureTimeout: UNDO_STEP_MS,
    });
    this.observe();
    this.readAll();
  }

  undo(): void {
    this.undoManager.undo();
  }

  redo(): void {
    this.undoManager.redo();
  }

  addMessage(role: Role, after?: string, text = ""): string {
    return this.step(() => this.messages()?.add(role, after ?? null, text) ?? "");
  }

  removeMessage(id: string): Undo {
    return this.step(() => this.messages()?.remove(id) ?? (() => {}));
  }

  moveMessage(id: string, before: string | null): void {
    this.step(() => this.messages()?.move(id, before));
  }

  nudgeMessage(id: string, direction: "up" | "down"): boolean {
    return this.step(() => this.messages()?.nudge(id, direction) ?? false);
  }

  setRole(id: string, role: Role): void {
    this.step(() => this.messages()?.setRole(id, role));
  }

  setModel(model: string): void {
    const variant = this.variant();
    if (variant !== null) this.step(() => this.doc.transact(() => variant.map.set("model", model), EDIT));
  }

  setParameter<N extends ParameterName>(name: N, value: Parameters[N] | undefined): void {
    const params = this.params();
    if (params === null || params.get(name) === value) return;
    // A slider's way is one step: no `step()` here, the undo manager joins what is close together.
    this.doc.transact(() => {
      if (value === undefined) params.delete(name);
      else params.set(name, typeof value === "string" ? value.toWellFormed() : value);
    }, EDIT);
  }

  addVariant(name: string): string {
    const id = crypto.randomUUID();
    const from = this.variant()?.map;
    const order = orderBefore(present(this.roots.variants), null);
    const variant = newMap({
      name: name.toWellFormed(),
      order,
      deleted: true,
      model: from === undefined ? "" : readString(from, "model"),
      params: newMap(from === undefined ? {} : { ...readParameters(from) }),
      system: newText(""),
      messages: new Y.Map(),
      tools: new Y.Map(),
      schema: newText(""),
    });
    this.step(() => {
      this.doc.transact(() => this.roots.variants.set(id, variant), CREATE);
      this.doc.transact(() => variant.set("deleted", false), EDIT);
    });
    return id;
  }

  renameVariant(id: string, name: string): void {
    const variant = readMap(this.roots.variants, id);
    if (variant !== null) this.step(() => this.doc.transact(() => variant.set("name", name.toWellFormed()), EDIT));
  }

  removeVariant(id: string): Undo {
    const variant = readMap(this.roots.variants, id);
    if (variant === null) return () => {};
    this.step(() => this.doc.transact(() => variant.set("deleted", true), EDIT));
    return () => this.step(() => this.doc.transact(() => variant.set("deleted", false), EDIT));
  }

  setVariableType(name: string, type: VariableType): void {
    this.step(() => this.variableModel.setType(name, type));
  }

  removeVariable(name: string): Undo {
    return this.step(() => this.variableModel.remove(name));
  }

  fillValues(values: Readonly<Record<string, unknown>>): number {
    return this.step(() => this.variableModel.fill(values));
  }

  readValues(): Record<string, string> {
    this.readVariables();
    return this.variableModel.readValues();
  }

  chooseInputs(id: string): void {
    this.variableModel.choose(id);
    this.onInputsChosen(id);
    this.readInputs();
  }

  addInputs(name: string): string {
    const id = this.step(() => this.variableModel.addSet(name));
    this.chooseInputs(id);
    return id;
  }

  renameInputs(id: string, name: string): void {
    this.step(() => this.variableModel.renameSet(id, name));
  }

  removeInputs(id: string): Undo {
    return this.step(() => this.variableModel.removeSet(id));
  }

  restore(content: PromptContent): Undo {
    const before = this.readContent();
    this.step(() => this.apply(content));
    let done = false;
    return () => {
      if (done) return;
      done = true;
      this.step(() => this.apply(before));
    };
  }

  readContent(): PromptContent {
    return {
      title: this.roots.title.toString(),
      variants: present(this.roots.variants)
        .filter((entry) => isReady(entry.map))
        .map(readVariant),
      variables: present(this.roots.variables).map(({ id, map }) => ({
        name: id,
        type: readType(map),
        default: readText(map, "default")?.toString() ?? "",
      })),
      inputs: present(this.roots.inputs).map(({ id, map }) => ({
        id,
        name: readString(map, "name"),
        values: readTexts(readMap(map, "values")),
      })),
    };
  }

  destroy(): void {
    this.survey.stop();
    this.undoManager.destroy();
  }

  /** Every text with something to call it by, for keeping a copy of what was typed. */
  namedTexts(): { label: string; text: Y.Text }[] {
    const draft = this.draft.getSnapshot();
    const texts = [{ label: "Title", text: this.roots.title }];
    if (draft !== null) texts.push({ label: "System", text: draft.system });
    draft?.messages.forEach((message, index) => {
      const who = message.role === "user" ? "User" : "Assistant";
      texts.push({ label: `${who}, message ${index + 1}`, text: message.text });
    });
    for (const variable of this.variables.getSnapshot()) {
      const value = variable.value.current();
      const fallback = variable.default.current();
      if (value !== null) texts.push({ label: `Value of ${variable.name}`, text: value });
      if (fallback !== null) texts.push({ label: `Default of ${variable.name}`, text: fallback });
    }
    return texts;
  }

  private apply(content: PromptContent): void {
    const variant = this.variant();
    const messages = this.messages();
    const source = content.variants.find((entry) => entry.id === variant?.id) ?? content.variants[0];
    if (variant === null || messages === null || source === undefined) return;
    const showMessages = messages.prepareRestore(source.messages);
    const showVariables = this.variableModel.prepareRestore(content.variables ?? []);
    this.doc.transact(() => {
      showMessages();
      showVariables();
      if (variant.map.get("model") !== source.model) variant.map.set("model", source.model);
      const system = readText(variant.map, "system");
      if (system !== null) replaceText(system, source.system);
      writeParameters(this.params(), source.parameters);
    }, EDIT);
  }

  /** One undo step of its own, however soon after another it comes. */
  private step<T>(operation: () => T): T {
    this.undoManager.stopCapturing();
    const result = operation();
    this.undoManager.stopCapturing();
    return result;
  }

  private variant(): Ordered | null {
    return present(this.roots.variants).find((entry) => isReady(entry.map)) ?? null;
  }

  private messages(): Messages | null {
    const variant = this.variant();
    const map = variant === null ? null : readMap(variant.map, "messages");
    return map === null ? null : new Messages(this.doc, map);
  }

  private params(): Y.Map<unknown> | null {
    const variant = this.variant();
    if (variant === null) return null;
    const known = readMap(variant.map, "params");
    if (known !== null) return known;
    const created = new Y.Map<unknown>();
    this.doc.transact(() => variant.map.set("params", created), CREATE);
    return created;
  }

  private observe(): void {
    const { title, variants, variables, inputs } = this.roots;
    title.observe(() => {
      this.titleText.set(title.toString());
      this.fields.changed("title");
    });
    variants.observeDeep((events) => {
      let structure = false;
      for (const event of events) {
        if (event.target instanceof Y.Text) this.survey.mark(event.target);
        else structure = true;
      }
      if (structure) this.readDraft();
    });
    variables.observeDeep((events) => this.fieldsChanged(events, ([name]) => `default:${name}`, "default:"));
    inputs.observeDeep((events) => this.fieldsChanged(events, ([set, , name]) => `value:${set}:${name}`, "value:"));
    for (const event of ["stack-item-added", "stack-item-popped", "stack-cleared"] as const) {
      this.undoManager.on(event, () => this.readUndo());
    }
  }

  private fieldsChanged(
    events: Y.YEvent<Y.AbstractType<unknown>>[],
    keyOf: (path: (string | number)[]) => string,
    prefix: string,
  ): void {
    let structure = false;
    for (const event of events) {
      if (event.target instanceof Y.Text) this.fields.changed(keyOf(event.path));
      else structure = true;
    }
    this.survey.schedule();
    if (!structure) return;
    this.fields.changedUnder(prefix);
    this.readInputs();
  }

  private readAll(): void {
    this.titleText.set(this.roots.title.toString());
    this.readInputs();
    this.readDraft();
  }

  private readInputs(): void {
    this.inputs.update((before) => this.variableModel.readSets(before));
    this.readVariables();
  }

  private readDraft(): void {
    const variant = this.variant();
    const before = this.draft.getSnapshot();
    this.draft.set(variant === null ? null : readDraft(variant, before));
    this.survey.schedule();
    if (before === null) this.readVariables();
  }

  private readVariables(): void {
    const draft = this.draft.getSnapshot();
    const texts = draft === null ? [] : [draft.system, ...draft.messages.map((message) => message.text)];
    this.variables.set(this.variableModel.read(this.survey.names(texts)));
  }

  private readUndo(): void {
    const canUndo = this.undoManager.canUndo();
    const canRedo = this.undoManager.canRedo();
    this.undoState.update((before) =>
      before.canUndo === canUndo && before.canRedo === canRedo ? before : { canUndo, canRedo },
    );
  }
}
