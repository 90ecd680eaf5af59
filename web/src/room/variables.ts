//! Variables and the input sets that fill them: who declares what, and which value a run would use.

import * as Y from "yjs";
import type { VariableContent } from "../protocol/resources.ts";
import type { InputSet, InputSets, TextField, Undo, Variable, VariableType } from "./api.ts";
import type { Fields } from "./fields.ts";
import { orderBefore } from "./ordering.ts";
import {
  CREATE,
  EDIT,
  everything,
  newMap,
  newText,
  present,
  type Roots,
  readMap,
  readString,
  readText,
  readType,
} from "./schema.ts";
import { VARIABLE_NAME } from "./survey.ts";
import { replaceText } from "./text.ts";

const DEFAULT_SET = "default";
const DEFAULT_SET_NAME = "Default";

export class Variables {
  private readonly doc: Y.Doc;
  private readonly roots: Roots;
  private readonly fields: Fields;
  private chosenId: string | null;
  private shown: readonly Variable[] = [];

  constructor(doc: Y.Doc, roots: Roots, fields: Fields, chosenId: string | null) {
    this.doc = doc;
    this.roots = roots;
    this.fields = fields;
    this.chosenId = chosenId;
  }

  choose(id: string): void {
    this.chosenId = id;
  }

  /** The set that this person tests with: the chosen one, or the first if that is gone. */
  chosen(): string | null {
    const sets = present(this.roots.inputs);
    return sets.find((set) => set.id === this.chosenId)?.id ?? sets[0]?.id ?? null;
  }

  readSets(before: InputSets): InputSets {
    const sets = present(this.roots.inputs).map(({ id, map }): InputSet => {
      const name = readString(map, "name");
      return before.sets.find((set) => set.id === id && set.name === name) ?? { id, name };
    });
    const chosen = this.chosen();
    const same =
      chosen === before.chosen && sets.length === before.sets.length && sets.every((s, i) => s === before.sets[i]);
    return same ? before : { sets, chosen };
  }

  /** `used` in order of appearance, then what is only declared; unchanged entries stay the same objects. */
  read(used: readonly string[]): readonly Variable[] {
    const set = this.chosen();
    const declared = present(this.roots.variables).map((entry) => entry.id);
    const names = [...used, ...declared.filter((name) => !used.includes(name))];
    const next = names.map((name) => this.readOne(name, set, used.includes(name)));
    const same = next.length === this.shown.length && next.every((variable, index) => variable === this.shown[index]);
    if (!same) this.shown = next;
    return this.shown;
  }

  /** A value in one set; an absent set is made on first use. */
  valueField(set: string | null, name: string): TextField {
    const id = set ?? DEFAULT_SET;
    return this.fields.field(`value:${id}:${name}`, {
      current: () => {
        const map = this.roots.inputs.get(id);
        const values = map instanceof Y.Map ? readMap(map, "values") : null;
        return values === null ? null : readText(values, name);
      },
      ensure: () => this.ensureValue(id, name),
    });
  }

  defaultField(name: string): TextField {
    return this.fields.field(`default:${name}`, {
      current: () => {
        const map = this.roots.variables.get(name);
        return map instanceof Y.Map ? readText(map, "default") : null;
      },
      ensure: () => this.ensureDeclared(name).text,
    });
  }

  setType(name: string, type: VariableType): void {
    const { map } = this.ensureDeclared(name);
    this.doc.transact(() => map.set("type", type), EDIT);
  }

  remove(name: string): Undo {
    return this.flag(this.roots.variables, name);
  }

  addSet(name: string): string {
    const id = crypto.randomUUID();
    this.createSet(id, name);
    return id;
  }

  renameSet(id: string, name: string): void {
    const map = this.roots.inputs.get(id);
    if (map instanceof Y.Map) this.doc.transact(() => map.set("name", name.toWellFormed()), EDIT);
  }

  removeSet(id: string): Undo {
    return this.flag(this.roots.inputs, id);
  }

  fill(values: Readonly<Record<string, unknown>>): number {
    const set = this.chosen();
    const entries = Object.entries(values).filter(([name]) => VARIABLE_NAME.test(name));
    const texts = entries.map(([name, value]) => ({ text: this.valueField(set, name).ensure(), value: toText(value) }));
    this.doc.transact(() => {
      for (const { text, value } of texts) replaceText(text, value);
    }, EDIT);
    return entries.length;
  }

  readValues(): Record<string, string> {
    return Object.fromEntries(this.shown.filter((v) => v.source === "value").map((v) => [v.name, v.effective]));
  }

  /** Declares what is missing and returns what sets the rest when called in an `EDIT`; values stay as they are. */
  prepareRestore(contents: readonly VariableContent[]): () => void {
    const declared = contents.map((content) => ({ content, ...this.ensureDeclared(content.name) }));
    return () => {
      for (const { content, map, text } of declared) {
        if (map.get("type") !== content.type) map.set("type", content.type);
        replaceText(text, content.default ?? "");
      }
    };
  }

  private readOne(name: string, set: string | null, used: boolean): Variable {
    const declared = this.roots.variables.get(name);
    const map = declared instanceof Y.Map && declared.get("deleted") !== true ? declared : null;
    const value = this.valueField(set, name);
    const fallback = this.defaultField(name);
    const own = value.read();
    const shared = map === null ? "" : fallback.read();
    const source = own !== "" ? "value" : shared !== "" ? "default" : "unset";
    const next: Variable = {
      name,
      type: readType(map),
      used,
      source,
      effective: source === "value" ? own : shared,
      value,
      default: fallback,
    };
    const before = this.shown.find((variable) => variable.name === name);
    return before !== undefined && isSame(before, next) ? before : next;
  }

  private ensureValue(set: string, name: string): Y.Text {
    if (!(this.roots.inputs.get(set) instanceof Y.Map)) this.createSet(set, DEFAULT_SET_NAME);
    this.ensureDeclared(name);
    const map = this.roots.inputs.get(set);
    const values = map instanceof Y.Map ? readMap(map, "values") : null;
    if (values === null) throw new Error("an input set has no values");
    const known = readText(values, name);
    if (known !== null) return known;
    const text = newText("");
    this.doc.transact(() => values.set(name, text), CREATE);
    return text;
  }

  private ensureDeclared(name: string): { map: Y.Map<unknown>; text: Y.Text } {
    let map = this.roots.variables.get(name);
    if (!(map instanceof Y.Map)) {
      const order = orderBefore(present(this.roots.variables), null);
      const created = newMap({ type: "text", default: newText(""), order, deleted: false });
      this.doc.transact(() => this.roots.variables.set(name, created), CREATE);
      map = created;
    }
    const declared = map as Y.Map<unknown>;
    if (declared.get("deleted") === true) this.doc.transact(() => declared.set("deleted", false), EDIT);
    let text = readText(declared, "default");
    if (text === null) {
      text = newText("");
      this.doc.transact(() => declared.set("default", text), CREATE);
    }
    return { map: declared, text };
  }

  private createSet(id: string, name: string): void {
    const order = orderBefore(everything(this.roots.inputs), null);
    const map = newMap({ name: name.toWellFormed(), order, deleted: true, values: new Y.Map() });
    this.doc.transact(() => this.roots.inputs.set(id, map), CREATE);
    this.doc.transact(() => map.set("deleted", false), EDIT);
  }

  private flag(root: Y.Map<unknown>, id: string): Undo {
    const map = root.get(id);
    if (!(map instanceof Y.Map)) return () => {};
    this.doc.transact(() => map.set("deleted", true), EDIT);
    let done = false;
    return () => {
      if (done) return;
      done = true;
      this.doc.transact(() => map.set("deleted", false), EDIT);
    };
  }
}

function isSame(a: Variable, b: Variable): boolean {
  return (
    a.type === b.type &&
    a.used === b.used &&
    a.source === b.source &&
    a.effective === b.effective &&
    a.value === b.value
  );
}

function toText(value: unknown): string {
  return typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);
}
