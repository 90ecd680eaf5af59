//! Small texts that may not exist yet: the title, values and defaults of variables.

import type * as Y from "yjs";
import type { TextField } from "./api.ts";

interface FieldSource {
  current(): Y.Text | null;
  ensure(): Y.Text;
}

/** Hands out one `TextField` per key, and tells its listeners when something under their root changed. */
export class Fields {
  private readonly fields = new Map<string, TextField>();
  private readonly listeners = new Map<string, Set<() => void>>();

  field(key: string, source: FieldSource): TextField {
    const known = this.fields.get(key);
    if (known !== undefined) return known;
    const field: TextField = {
      key,
      current: source.current,
      ensure: source.ensure,
      read: () => source.current()?.toString() ?? "",
      subscribe: (listener) => this.subscribe(key, listener),
    };
    this.fields.set(key, field);
    return field;
  }

  /** One text changed. */
  changed(key: string): void {
    for (const listener of [...(this.listeners.get(key) ?? [])]) listener();
  }

  /** The maps around the texts changed: any of these may have come or gone. */
  changedUnder(prefix: string): void {
    for (const key of [...this.listeners.keys()]) if (key.startsWith(prefix)) this.changed(key);
  }

  private subscribe(key: string, listener: () => void): () => void {
    const listeners = this.listeners.get(key) ?? new Set();
    this.listeners.set(key, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.listeners.delete(key);
    };
  }
}
