//! A variant's messages: adding, taking away, moving, and making them what they once were.

import * as Y from "yjs";
import type { MessageContent } from "../protocol/resources.ts";
import type { Role, Undo } from "./api.ts";
import { newOrders, orderBefore } from "./ordering.ts";
import { CREATE, EDIT, messageText, newMap, newText, present } from "./schema.ts";
import { replaceText } from "./text.ts";

export class Messages {
  private readonly doc: Y.Doc;
  private readonly map: Y.Map<unknown>;

  constructor(doc: Y.Doc, map: Y.Map<unknown>) {
    this.doc = doc;
    this.map = map;
  }

  add(role: Role, after: string | null, content: string): string {
    const id = crypto.randomUUID();
    const shown = present(this.map);
    const at = after === null ? -1 : shown.findIndex((entry) => entry.id === after);
    const before = at === -1 ? null : (shown[at + 1]?.id ?? null);
    let message = newMap({});
    this.doc.transact(() => {
      message = this.create(id, role, orderBefore(shown, before), content);
    }, CREATE);
    this.doc.transact(() => message.set("deleted", false), EDIT);
    return id;
  }

  /** A teammate's typing in it goes on into the hidden message and comes back with it. */
  remove(id: string): Undo {
    const message = this.map.get(id);
    if (!(message instanceof Y.Map)) return () => {};
    this.doc.transact(() => message.set("deleted", true), EDIT);
    let done = false;
    return () => {
      if (done) return;
      done = true;
      this.doc.transact(() => message.set("deleted", false), EDIT);
    };
  }

  move(id: string, before: string | null): void {
    const message = this.map.get(id);
    if (!(message instanceof Y.Map) || id === before) return;
    const all = present(this.map);
    const others = all.filter((entry) => entry.id !== id);
    const at = all.findIndex((entry) => entry.id === id);
    if ((all[at + 1]?.id ?? null) === before) return;
    this.doc.transact(() => message.set("order", orderBefore(others, before)), EDIT);
  }

  nudge(id: string, direction: "up" | "down"): boolean {
    const all = present(this.map);
    const at = all.findIndex((entry) => entry.id === id);
    if (at === -1) return false;
    if (direction === "up") {
      const above = all[at - 1];
      if (above === undefined) return false;
      this.move(id, above.id);
      return true;
    }
    if (at === all.length - 1) return false;
    this.move(id, all[at + 2]?.id ?? null);
    return true;
  }

  setRole(id: string, role: Role): void {
    const message = this.map.get(id);
    if (message instanceof Y.Map) this.doc.transact(() => message.set("role", role), EDIT);
  }

  /** Makes missing messages, still hidden, and returns what shows the whole list when called in an `EDIT`. */
  prepareRestore(contents: readonly MessageContent[]): () => void {
    const orders = newOrders(contents.length);
    const shown: { map: Y.Map<unknown>; content: MessageContent; order: string }[] = [];
    this.doc.transact(() => {
      contents.forEach((content, index) => {
        const order = orders[index] ?? "a0";
        const known = content.id === undefined ? undefined : this.map.get(content.id);
        const usable = known instanceof Y.Map && messageText(known) !== null;
        const map = usable ? known : this.create(crypto.randomUUID(), content.role, order, content.text);
        shown.push({ map, content, order });
      });
    }, CREATE);
    return () => {
      const kept = new Set(shown.map((entry) => entry.map));
      for (const entry of present(this.map)) if (!kept.has(entry.map)) entry.map.set("deleted", true);
      for (const { map, content, order } of shown) {
        map.set("order", order);
        if (map.get("role") !== content.role) map.set("role", content.role);
        const text = messageText(map);
        if (text !== null) replaceText(text, content.text);
        if (map.get("deleted") !== false) map.set("deleted", false);
      }
    };
  }

  private create(id: string, role: Role, order: string, content: string): Y.Map<unknown> {
    const part = newMap({ kind: "text", order: "a0", text: newText(content) });
    const parts = newMap({ [crypto.randomUUID()]: part });
    const message = newMap({ role, order, deleted: true, parts });
    this.map.set(id, message);
    return message;
  }
}
