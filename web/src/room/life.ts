//! One life of the document in this page: from an empty `Y.Doc` to the reset that replaces it by another.

import { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";
import type { Aside } from "./api.ts";
import type { DocumentCache } from "./cache.ts";
import { LiveDocument } from "./document.ts";
import { Unsaved } from "./unsaved.ts";

/** The document's layout that `schema.ts` describes. */
const SCHEMA_VERSION = 1;

export interface LifeOptions {
  readonly number: number;
  readonly chosenInputs: string | null;
  onInputsChosen(id: string): void;
  /** An edit of this page, as the bytes that carry it. */
  onEdit(life: Life, update: Uint8Array, texts: Iterable<Y.Text>): void;
  /** One's own presence changed. */
  onPresence(life: Life): void;
}

export class Life {
  readonly number: number;
  readonly doc = new Y.Doc();
  readonly awareness: Awareness;
  readonly document: LiveDocument;
  readonly unsaved = new Unsaved();
  lineage: string | null = null;
  cache: DocumentCache | null = null;
  /** Whose edits it holds; null until somebody is known. */
  member: string | null = null;
  have: number | null = null;
  /** Content came from this browser, and the server has not yet been told all of it. */
  mustTellAll = false;

  constructor(options: LifeOptions) {
    this.number = options.number;
    this.awareness = new Awareness(this.doc);
    this.document = new LiveDocument({
      doc: this.doc,
      life: options.number,
      chosenInputs: options.chosenInputs,
      onInputsChosen: options.onInputsChosen,
    });
    this.doc.on("update", (update: Uint8Array, _origin: unknown, _doc: Y.Doc, transaction: Y.Transaction) => {
      if (!transaction.local) return;
      options.onEdit(this, update, textsOf(transaction));
    });
    this.awareness.on("update", (changes: { added: number[]; updated: number[]; removed: number[] }) => {
      const own = this.awareness.clientID;
      if ([changes.added, changes.updated, changes.removed].some((clients) => clients.includes(own))) {
        options.onPresence(this);
      }
    });
  }

  /** Structs or deletions that rest on something that never came. */
  get hasGaps(): boolean {
    return this.doc.store.pendingStructs !== null || this.doc.store.pendingDs !== null;
  }

  /** A layout that this page does not know: it may be read as far as it goes, and never written. */
  get isFromLaterVersion(): boolean {
    const schema = this.doc.getMap("meta").get("schema");
    return typeof schema === "number" && schema > SCHEMA_VERSION;
  }

  /** What this page holds and `stateVector` lacks; an empty update when that is nothing. */
  lackingIn(stateVector: Uint8Array): Uint8Array {
    if (this.mustTellAll || this.unsaved.count > 0 || this.isAheadOf(stateVector)) {
      return Y.encodeStateAsUpdate(this.doc, stateVector);
    }
    return EMPTY_UPDATE;
  }

  isAheadOf(stateVector: Uint8Array): boolean {
    const theirs = Y.decodeStateVector(stateVector);
    for (const [client, clock] of Y.decodeStateVector(Y.encodeStateVector(this.doc))) {
      if (clock > (theirs.get(client) ?? 0)) return true;
    }
    return false;
  }

  /** The texts that hold edits which are not durable. */
  unsavedTexts(): Aside["fields"] {
    if (this.unsaved.count === 0) return [];
    const touched = this.unsaved.touched;
    return this.document
      .namedTexts()
      .filter(({ text }) => touched === null || touched.has(text))
      .map(({ label, text }) => ({ label, text: text.toString() }))
      .filter(({ text }) => text !== "");
  }

  rememberMark(): void {
    this.cache?.write({ have: this.have, unsaved: this.unsaved.count });
  }

  destroy(): void {
    this.document.destroy();
    this.awareness.destroy();
    this.doc.destroy();
  }
}

export const EMPTY_UPDATE = new Uint8Array([0, 0]);

function* textsOf(transaction: Y.Transaction): Iterable<Y.Text> {
  for (const type of transaction.changed.keys()) {
    if ((type as unknown) instanceof Y.Text) yield type as unknown as Y.Text;
  }
}
