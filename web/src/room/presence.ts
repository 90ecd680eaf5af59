//! Who is here and where: the server's word for names, the awareness protocol for everything that moves.

import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";
import type { Person } from "../protocol/shapes.ts";
import type { Focus, Presence, Present, RemoteCaret } from "./api.ts";
import { COLOURS, colourByName, colourHex, freeColour } from "./colours.ts";
import { Store } from "./store.ts";

/** Without a key or a pointer for this long, somebody is away. */
export const AWAY_AFTER_MS = 5 * 60_000;
/** Carets go out at most this often: the server reads 20 messages a second, renewals and the rest included. */
const CARET_EVERY_MS = 80;

interface AwarenessState {
  user?: { id?: unknown; name?: unknown; color?: unknown; slot?: unknown; since?: unknown };
  /** The form of y-codemirror.next, so that other editors show our caret and we show theirs. */
  cursor?: { anchor?: unknown; head?: unknown } | null;
  focus?: { field?: unknown } | null;
  watching?: unknown;
  away?: unknown;
}

interface SeenCaret {
  readonly anchor: unknown;
  readonly head: unknown;
  readonly movedAtMs: number;
}

export class LivePresence implements Presence {
  readonly people = new Store<readonly Present[]>([]);
  awareness: Awareness;

  private readonly sinceMs = Date.now();
  private me: Person | null = null;
  private readonly persons = new Map<number, Person>();
  private readonly slots = new Map<string, number>();
  private readonly arrivals = new Map<number, number>();
  private arrived = 0;
  private readonly carets = new Map<number, SeenCaret>();
  private readonly caretListeners = new Set<() => void>();
  /** Somebody's caret came before the text that it stands in. */
  private isCaretAhead = false;
  private ownCaret: { text: Y.Text; anchor: number; head: number } | null = null;
  private caretTimer: ReturnType<typeof setTimeout> | null = null;
  private awayTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(awareness: Awareness) {
    this.awareness = awareness;
    this.attach(awareness);
    globalThis.document?.addEventListener("visibilitychange", this.onVisibility);
    for (const event of ["keydown", "pointerdown"]) globalThis.document?.addEventListener(event, this.onActive, true);
    this.awayTimer = setTimeout(() => this.setAway(true), AWAY_AFTER_MS);
  }

  colourOf(memberId: string): number {
    return this.slots.get(memberId) ?? colourByName(memberId);
  }

  caretsIn(text: Y.Text): readonly RemoteCaret[] {
    const doc = text.doc;
    if (doc === null) return [];
    const carets: RemoteCaret[] = [];
    for (const [client, state] of this.states()) {
      const cursor = state.cursor;
      if (client === this.awareness.clientID || !cursor) continue;
      const anchor = indexIn(text, doc, cursor.anchor);
      const head = indexIn(text, doc, cursor.head);
      if (anchor === "ahead" || head === "ahead") this.isCaretAhead = true;
      if (typeof anchor !== "number" || typeof head !== "number") continue;
      const { id, name } = this.whoIs(client, state);
      const movedAtMs = this.carets.get(client)?.movedAtMs ?? 0;
      carets.push({ client, name, colour: this.colourOf(id), anchor, head, movedAtMs });
    }
    return carets;
  }

  onCarets(listener: () => void): () => void {
    this.caretListeners.add(listener);
    return () => this.caretListeners.delete(listener);
  }

  setCaret(text: Y.Text, anchor: number, head: number): void {
    this.ownCaret = { text, anchor, head };
    this.caretTimer ??= setTimeout(() => this.sendCaret(), CARET_EVERY_MS);
  }

  clearCaret(text: Y.Text): void {
    if (this.ownCaret?.text !== text) return;
    this.ownCaret = null;
    this.caretTimer ??= setTimeout(() => this.sendCaret(), CARET_EVERY_MS);
  }

  setFocus(focus: Focus | null): void {
    if (this.own()?.focus?.field === focus?.field) return;
    this.awareness.setLocalStateField("focus", focus);
  }

  /** The run that the pane shows. */
  setWatching(run: string | null): void {
    if ((this.own()?.watching ?? null) !== run) this.awareness.setLocalStateField("watching", run);
  }

  /** A new document has a new awareness: one's own state moves over, the others' come again. */
  replace(awareness: Awareness): void {
    const { cursor: _gone, ...state } = this.own() ?? {};
    this.detach(this.awareness);
    this.ownCaret = null;
    this.awareness = awareness;
    this.arrivals.clear();
    this.carets.clear();
    this.attach(awareness);
    awareness.setLocalState(state);
    this.refresh();
  }

  identify(me: Person): void {
    this.me = me;
    const colour = this.slots.get(me.id) ?? this.pickColour(me.id);
    this.setUser(me, colour);
  }

  /** Who a client id belongs to, as the server knows it. */
  person(person: Person): void {
    if (person.client === undefined) return;
    this.persons.set(person.client, person);
    this.settleColour();
    this.refresh();
  }

  /** A new socket tells everybody anew. */
  forgetPersons(): void {
    this.persons.clear();
  }

  close(): void {
    this.detach(this.awareness);
    if (this.caretTimer !== null) clearTimeout(this.caretTimer);
    if (this.awayTimer !== null) clearTimeout(this.awayTimer);
    globalThis.document?.removeEventListener("visibilitychange", this.onVisibility);
    for (const event of ["keydown", "pointerdown"])
      globalThis.document?.removeEventListener(event, this.onActive, true);
  }

  private attach(awareness: Awareness): void {
    awareness.on("change", this.onChange);
    awareness.doc.on("update", this.onEdit);
  }

  private detach(awareness: Awareness): void {
    awareness.off("change", this.onChange);
    awareness.doc.off("update", this.onEdit);
  }

  private readonly onEdit = (): void => {
    if (!this.isCaretAhead) return;
    this.isCaretAhead = false;
    this.tellCarets();
  };

  private readonly onChange = (): void => {
    this.noteCarets();
    this.settleColour();
    this.refresh();
  };

  private noteCarets(): void {
    let moved = false;
    const states = this.states();
    for (const [client, state] of states) {
      if (client === this.awareness.clientID) continue;
      const before = this.carets.get(client);
      const anchor = JSON.stringify(state.cursor?.anchor ?? null);
      const head = JSON.stringify(state.cursor?.head ?? null);
      if (before?.anchor === anchor && before.head === head) continue;
      this.carets.set(client, { anchor, head, movedAtMs: Date.now() });
      moved = true;
    }
    for (const client of this.carets.keys()) if (!states.has(client)) moved = this.carets.delete(client) || moved;
    if (moved) this.tellCarets();
  }

  private tellCarets(): void {
    for (const listener of [...this.caretListeners]) listener();
  }

  // One picks before one knows who is here: whoever came later picks again.
  private settleColour(): void {
    const me = this.me;
    if (me === null) return;
    const mine = this.slots.get(me.id);
    const clash = [...this.states()].some(([client, state]) => {
      const id = this.whoIs(client, state).id;
      if (id === me.id || client === this.awareness.clientID || this.slotOf(client, state) !== mine) return false;
      const since = Number(state.user?.since ?? 0);
      return since < this.sinceMs || (since === this.sinceMs && client < this.awareness.clientID);
    });
    if (!clash) return;
    const next = this.pickColour(me.id);
    if (next !== mine) this.setUser(me, next);
  }

  private setUser(me: Person, colour: number): void {
    this.slots.set(me.id, colour);
    const user = {
      id: me.id,
      name: me.name,
      color: colourHex(colour),
      colorLight: `${colourHex(colour)}33`,
      slot: colour,
      since: this.sinceMs,
    };
    this.awareness.setLocalStateField("user", user);
  }

  private pickColour(id: string): number {
    const taken = new Set<number>();
    for (const [client, state] of this.states()) {
      if (this.whoIs(client, state).id !== id) taken.add(this.slotOf(client, state));
    }
    return freeColour(taken, id);
  }

  /** Other Yjs tools choose none of our colours: theirs falls on their id, everywhere alike, and pages keep clear of it. */
  private slotOf(client: number, state: AwarenessState): number {
    const slot = state.user?.slot;
    return typeof slot === "number" ? slot : colourByName(this.whoIs(client, state).id);
  }

  private whoIs(client: number, state: AwarenessState): { id: string; name: string } {
    const person = client === this.awareness.clientID ? this.me : this.persons.get(client);
    if (person) return { id: person.id, name: person.name };
    const said = state.user?.name;
    return {
      id: `guest:${client}`,
      name: typeof said === "string" && said !== "" ? `Guest (${[...said].slice(0, 40).join("")})` : "Guest",
    };
  }

  private refresh(): void {
    const entries = new Map<string, Present & { clients: number[] }>();
    const states = this.states();
    for (const client of this.arrivals.keys()) if (!states.has(client)) this.arrivals.delete(client);
    for (const client of states.keys()) {
      if (!this.arrivals.has(client)) this.arrivals.set(client, this.arrived++);
    }
    const inOrder = [...states].sort(([a], [b]) => (this.arrivals.get(a) ?? 0) - (this.arrivals.get(b) ?? 0));
    for (const [client, state] of inOrder) {
      const entry = this.present(client, state);
      const known = entries.get(entry.id);
      // The tab that is in use speaks for the person.
      if (known === undefined) entries.set(entry.id, { ...entry, clients: [client] });
      else
        entries.set(entry.id, {
          ...(known.away ? entry : known),
          me: known.me || entry.me,
          clients: [...known.clients, client],
        });
    }
    const people = [...entries.values()].sort((a, b) => Number(b.me) - Number(a.me));
    this.people.update((before) => (JSON.stringify(before) === JSON.stringify(people) ? before : people));
  }

  private present(client: number, state: AwarenessState): Present {
    const { id, name } = this.whoIs(client, state);
    const slot = state.user?.slot;
    if (typeof slot === "number" && slot >= 1 && slot <= COLOURS) this.slots.set(id, Math.trunc(slot));
    const field = state.focus?.field;
    return {
      id,
      name,
      colour: this.colourOf(id),
      me: client === this.awareness.clientID,
      away: state.away === true,
      clients: [client],
      focus: typeof field === "string" ? { field } : null,
      watching: typeof state.watching === "string" ? state.watching : null,
    };
  }

  private sendCaret(): void {
    this.caretTimer = null;
    const caret = this.ownCaret;
    if (caret === null || caret.text.doc !== this.awareness.doc) {
      if (this.own()?.cursor) this.awareness.setLocalStateField("cursor", null);
      return;
    }
    const anchor = Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(caret.text, caret.anchor));
    const head = Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(caret.text, caret.head));
    const before = this.own()?.cursor;
    if (JSON.stringify(before) !== JSON.stringify({ anchor, head })) {
      this.awareness.setLocalStateField("cursor", { anchor, head });
    }
  }

  private own(): AwarenessState | null {
    return this.awareness.getLocalState();
  }

  private states(): Map<number, AwarenessState> {
    return this.awareness.getStates() as Map<number, AwarenessState>;
  }

  private readonly onActive = (): void => {
    if (this.awayTimer !== null) clearTimeout(this.awayTimer);
    this.awayTimer = setTimeout(() => this.setAway(true), AWAY_AFTER_MS);
    this.setAway(false);
  };

  private readonly onVisibility = (): void => {
    if (globalThis.document?.visibilityState === "hidden") this.setAway(true);
    else this.onActive();
  };

  private setAway(away: boolean): void {
    if ((this.own()?.away === true) !== away) this.awareness.setLocalStateField("away", away);
  }
}

function indexIn(text: Y.Text, doc: Y.Doc, position: unknown): number | "ahead" | "elsewhere" {
  try {
    const place = Y.createAbsolutePositionFromRelativePosition(Y.createRelativePositionFromJSON(position), doc);
    if (place === null) return "ahead";
    return place.type === text ? place.index : "elsewhere";
  } catch {
    // A position that another tool wrote in a form of its own.
    return "elsewhere";
  }
}
