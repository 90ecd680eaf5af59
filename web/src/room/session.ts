//! One person in one room: greeting, joining, catching up, saving, and starting again where nothing else helps.

import { applyAwarenessUpdate, encodeAwarenessUpdate } from "y-protocols/awareness";
import * as Y from "yjs";
import { localProblem } from "../link/http.ts";
import { RoomSocket, type WebSocketLike } from "../link/socket.ts";
import { CLOSE } from "../protocol/close.ts";
import type { ServerFrame } from "../protocol/frames.ts";
import type { Hello, Problem } from "../protocol/shapes.ts";
import type { Aside, Connection, PromptDocument, Saved, SessionView } from "./api.ts";
import { type CacheEntry, DocumentCache, findCached, forgetCached, NO_RIGHTS, noteCached } from "./cache.ts";
import { readChosenInputs, writeChosenInputs } from "./chosen.ts";
import { EMPTY_UPDATE, Life } from "./life.ts";
import { LivePresence } from "./presence.ts";
import { judge, problemOf, RESETS_WITHIN_MS, type SaidProblem, whyRefused } from "./refusal.ts";
import { LiveRuns } from "./runs.ts";
import { Store } from "./store.ts";
import { savedOf } from "./unsaved.ts";

const MARK_EVERY_MS = 200;
/** Room in a message for what is around an update. */
const FRAME_OVERHEAD_BYTES = 32;
const REMOTE = { origin: "remote" };

export interface SessionOptions {
  readonly prompt: string;
  /** Who is signed in, where that is known already: their copy is then shown before the server answers. */
  readonly member: string | null;
  url(prompt: string): string;
  openSocket(url: string): WebSocketLike;
  random(): number;
}

/** How far this socket is. Document frames go out only once it is `joined`. */
type Stage =
  | { kind: "down" }
  | { kind: "greeting" }
  | { kind: "joining" }
  /** `frames`: document frames sent on this socket. */
  | { kind: "joined"; frames: number; caughtUp: boolean };

export class Session {
  readonly view = new Store<SessionView>({
    connection: { kind: "connecting" },
    me: null,
    rights: NO_RIGHTS,
    prompt: null,
    slug: null,
    requestId: null,
    limits: null,
  });
  readonly saved = new Store<Saved>({ kind: "saved" });
  readonly aside = new Store<Aside | null>(null);
  readonly document: Store<PromptDocument>;
  readonly presence: LivePresence;
  readonly runs: LiveRuns;

  private readonly options: SessionOptions;
  private readonly socket: RoomSocket;
  private life: Life;
  private stage: Stage = { kind: "down" };
  private downSinceMs = Date.now();
  private lastProblem: SaidProblem | null = null;
  private resets: number[] = [];
  private markTimer: ReturnType<typeof setTimeout> | null = null;
  private readonly cached: Promise<void>;
  /** The copy of a life before this one has the same name and must be gone first. */
  private cleared: Promise<void> = Promise.resolve();
  private isClosed = false;

  constructor(options: SessionOptions) {
    this.options = options;
    this.life = this.newLife(1);
    this.document = new Store<PromptDocument>(this.life.document);
    this.presence = new LivePresence(this.life.awareness);
    this.runs = new LiveRuns({
      send: (frame) => this.socket.send(frame),
      draft: () => ({
        variant: this.life.document.draft.getSnapshot()?.variant ?? null,
        inputs: this.life.document.inputs.getSnapshot().chosen,
      }),
      onShown: (run) => this.presence.setWatching(run),
    });
    this.socket = this.newSocket();
    this.cached = this.openCached();
    globalThis.addEventListener?.("pagehide", this.writeMark);
    this.socket.start();
  }

  tryNow(): void {
    if (this.view.getSnapshot().connection.kind === "closed") {
      this.setConnection({ kind: "connecting" });
      this.socket.reopen();
    } else {
      this.socket.tryNow();
    }
  }

  close(): void {
    if (this.isClosed) return;
    this.writeMark();
    this.isClosed = true;
    globalThis.removeEventListener?.("pagehide", this.writeMark);
    this.life.awareness.setLocalState(null);
    this.socket.stop();
    this.runs.close();
    this.presence.close();
    this.life.cache?.close().catch(() => {});
    this.life.destroy();
  }

  private newSocket(): RoomSocket {
    const { options } = this;
    return new RoomSocket({
      url: () => options.url(options.prompt),
      open: (url) => options.openSocket(url),
      random: () => options.random(),
      handler: {
        onOpen: () => {
          this.stage = { kind: "greeting" };
          this.lastProblem = null;
          this.presence.forgetPersons();
        },
        onFrame: (frame) => this.frame(frame),
        onDown: ({ sinceMs, retryAtMs, attempt }) => {
          this.lineLost(sinceMs, { kind: "reconnecting", sinceMs, retryAtMs, attempt });
        },
        onOffline: (sinceMs) => this.lineLost(sinceMs, { kind: "offline", sinceMs }),
        onRefused: (code, reason) => this.refused(code, reason),
        onQuiet: () => this.renewPresence(),
      },
    });
  }

  private newLife(number: number): Life {
    return new Life({
      number,
      chosenInputs: readChosenInputs(this.options.prompt),
      onInputsChosen: (id) => writeChosenInputs(this.options.prompt, id),
      onEdit: (life, update, texts) => this.edited(life, update, texts),
      onPresence: (life) => this.sendPresence(life),
    });
  }

  /** What this browser kept is shown before the server says anything. */
  private async openCached(): Promise<void> {
    const { prompt, member } = this.options;
    const entry = member === null ? null : findCached(prompt, member);
    if (entry === null) return;
    this.life.lineage = entry.lineage;
    this.life.member = entry.member;
    this.view.update((view) => ({ ...view, rights: entry.rights }));
    await this.attachCache(this.life, entry);
  }

  private async attachCache(life: Life, entry: CacheEntry): Promise<void> {
    await this.cleared;
    const opened = await DocumentCache.open(entry, life.doc);
    if (opened === null || this.isClosed || this.life !== life) {
      await opened?.cache.close();
      return;
    }
    const { cache, mark } = opened;
    life.cache = cache;
    life.have = mark.have;
    life.unsaved.carry(mark.unsaved);
    life.mustTellAll = true;
    this.readSaved();
  }

  private frame(frame: ServerFrame): void {
    switch (frame.type) {
      case "hello":
        void this.hello(frame.body, this.stage);
        return;
      case "sync_step1":
        this.answer(frame.bytes);
        return;
      case "sync_step2":
      case "sync_update":
        Y.applyUpdate(this.life.doc, frame.bytes, REMOTE);
        return;
      case "awareness":
        applyAwarenessUpdate(this.life.awareness, frame.bytes, REMOTE);
        return;
      case "saved":
        this.durable(frame.frames, frame.head);
        return;
      case "person":
        this.presence.person(frame.body);
        return;
      case "run":
        this.runs.run(frame.body);
        return;
      case "records":
      case "rewind":
      case "end":
        this.runs.outputFrame(frame);
        return;
      case "reply":
        this.runs.reply(frame.body);
        return;
      case "problem":
        this.lastProblem = { problem: frame.body, atMs: Date.now() };
        return;
      case "denied":
      case "drain":
        return;
      default:
        frame satisfies never;
    }
  }

  private async hello(hello: Hello, greeting: Stage): Promise<void> {
    await this.cached;
    if (this.stage !== greeting || this.isClosed) return;
    const { life } = this;
    if (life.member !== null && life.member !== hello.me.id) this.reset(null);
    else if (life.lineage !== null && life.lineage !== hello.lineage) this.reset(problemOf(CLOSE.lineageChanged, ""));
    else if (!hello.rights.edit && life.unsaved.count > 0)
      this.reset(problemOf(CLOSE.forbidden, "You can no longer edit this prompt."));
    this.life.member = hello.me.id;
    const entry = { lineage: hello.lineage, member: hello.me.id, rights: hello.rights };
    if (this.life.lineage === null) {
      this.life.lineage = hello.lineage;
      await this.attachCache(this.life, entry);
      if (this.stage !== greeting || this.isClosed) return;
    }
    noteCached([...new Set([this.options.prompt, hello.prompt])], entry);
    const { me, rights, prompt, slug, limits, request_id: requestId } = hello;
    this.view.set({ connection: { kind: "catching_up" }, me, rights, prompt, slug, requestId, limits });
    this.runs.hello(hello.prompt, hello.me.id, hello.runs);
    this.join(hello.lineage);
    this.presence.identify(hello.me);
  }

  private join(lineage: string): void {
    const { doc, have } = this.life;
    this.stage = { kind: "joining" };
    this.socket.send({ type: "join", lineage, have, state_vector: Y.encodeStateVector(doc) });
    this.readSaved();
  }

  /** The server asks what it lacks: from here on edits travel as they are made. */
  private answer(stateVector: Uint8Array): void {
    const { stage, life } = this;
    if (stage.kind !== "joining" && stage.kind !== "joined") return;
    const bytes = this.view.getSnapshot().rights.edit ? life.lackingIn(stateVector) : EMPTY_UPDATE;
    if (!this.fits(bytes)) return;
    const frames = stage.kind === "joined" ? stage.frames + 1 : 1;
    this.socket.send({ type: "sync_step2", bytes });
    life.unsaved.sentIn(frames);
    this.stage = { kind: "joined", frames, caughtUp: stage.kind === "joined" && stage.caughtUp };
    if (stage.kind === "joining") {
      this.renewPresence();
      this.runs.lineBack(this.view.getSnapshot().limits?.watched_runs ?? 1);
    }
    this.readSaved();
  }

  private edited(life: Life, update: Uint8Array, texts: Iterable<Y.Text>): void {
    if (life !== this.life || this.isClosed) return;
    const { stage } = this;
    let frame: number | null = null;
    if (stage.kind === "joined" && this.socket.isOpen && this.fits(update)) {
      stage.frames += 1;
      frame = stage.frames;
      this.socket.send({ type: "sync_update", bytes: update });
    }
    life.unsaved.note(Date.now(), frame, texts);
    this.readSaved();
    this.markSoon();
  }

  /** An edit that no message can carry would close the socket for good: it takes the reset path at once. */
  private fits(update: Uint8Array): boolean {
    const max = this.view.getSnapshot().limits?.message_bytes ?? Number.POSITIVE_INFINITY;
    if (update.length + FRAME_OVERHEAD_BYTES <= max) return true;
    // Inside the transaction that made it, the document cannot be replaced.
    queueMicrotask(() => {
      if (this.isClosed) return;
      this.restart(problemOf(CLOSE.tooLarge, `One edit may be at most ${max} bytes.`));
    });
    return false;
  }

  private durable(frames: number, head: number): void {
    const { stage, life } = this;
    if (stage.kind !== "joined") return;
    life.unsaved.settle(frames);
    if (frames >= 1) life.mustTellAll = false;
    if (!stage.caughtUp) {
      if (life.hasGaps) {
        this.fillGaps();
        return;
      }
      stage.caughtUp = true;
      if (life.isFromLaterVersion) this.view.update((view) => ({ ...view, rights: { ...view.rights, edit: false } }));
      this.setConnection({ kind: "live" });
    }
    life.have = Math.max(life.have ?? 0, head);
    this.readSaved();
    this.markSoon();
  }

  /** What this browser kept does not join up with what came: once more from its state vector, then from nothing. */
  private fillGaps(): void {
    if (this.life.have === null) {
      const detail = "What was kept here did not join up with what the server sent.";
      this.restart(localProblem("document.copy_broken", "This browser's copy was incomplete", detail));
      return;
    }
    this.life.have = null;
    this.lineLost(Date.now(), { kind: "connecting" });
    this.socket.reopen();
  }

  private restart(problem: Problem): void {
    this.lineLost(Date.now(), { kind: "connecting" });
    this.reset(problem);
    this.socket.reopen();
  }

  private lineLost(sinceMs: number, connection: Connection): void {
    if (this.stage.kind !== "down") {
      this.downSinceMs = sinceMs;
      this.life.unsaved.lineLost();
      this.runs.lineLost();
    }
    this.stage = { kind: "down" };
    this.setConnection(connection);
    this.readSaved();
  }

  private refused(code: number, reason: string): void {
    const now = Date.now();
    this.resets = this.resets.filter((at) => now - at < RESETS_WITHIN_MS);
    const greeted = this.stage.kind === "joining" || this.stage.kind === "joined";
    const problem = whyRefused(this.lastProblem, now, code, reason);
    const verdict = judge(code, { greeted, unsaved: this.life.unsaved.count, resetsLately: this.resets.length });
    if (verdict === "reset") {
      this.resets.push(now);
      this.restart(problem);
      return;
    }
    this.lineLost(now, { kind: "closed", problem, closeCode: code });
    if (verdict === "lost") this.reset(problem);
  }

  /** The one way back after an edit was refused or the history is another: text aside, empty document, new client id. */
  private reset(problem: Problem | null): void {
    const old = this.life;
    const fields = problem === null ? [] : old.unsavedTexts();
    if (problem !== null && fields.length > 0) this.aside.set({ problem, fields });
    this.life = this.newLife(old.number + 1);
    this.presence.replace(this.life.awareness);
    this.document.set(this.life.document);
    if (problem === null) {
      // Somebody else's copy: theirs to find again.
      old.cache?.close().catch(() => {});
    } else {
      if (old.lineage !== null) forgetCached(old.lineage);
      this.cleared = old.cache?.clear().catch(() => {}) ?? this.cleared;
    }
    old.cache = null;
    old.destroy();
    this.readSaved();
  }

  private renewPresence(): void {
    this.life.awareness.setLocalState(this.life.awareness.getLocalState());
  }

  private sendPresence(life: Life): void {
    if (this.stage.kind !== "joined" || life !== this.life) return;
    const bytes = encodeAwarenessUpdate(life.awareness, [life.awareness.clientID]);
    if (bytes.length > (this.view.getSnapshot().limits?.awareness_bytes ?? Number.POSITIVE_INFINITY)) return;
    this.socket.send({ type: "awareness", bytes });
  }

  private setConnection(connection: Connection): void {
    this.view.update((view) => ({ ...view, connection }));
  }

  private readSaved(): void {
    const isLine = this.stage.kind === "joining" || this.stage.kind === "joined";
    const next = savedOf(this.life.unsaved.count, isLine ? null : this.downSinceMs);
    this.saved.update((before) => (JSON.stringify(before) === JSON.stringify(next) ? before : next));
  }

  private markSoon(): void {
    this.markTimer ??= setTimeout(this.writeMark, MARK_EVERY_MS);
  }

  private readonly writeMark = (): void => {
    if (this.markTimer !== null) clearTimeout(this.markTimer);
    this.markTimer = null;
    if (!this.isClosed) this.life.rememberMark();
  };
}
