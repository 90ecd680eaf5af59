//! One WebSocket for one room: kept open, watched for silence, and opened again until it is refused for good.

import { FrameError } from "../protocol/bytes.ts";
import { CLOSE, isPermanentClose } from "../protocol/close.ts";
import { type ClientFrame, decodeServerFrame, encodeClientFrame, type ServerFrame } from "../protocol/frames.ts";
import { retryDelayMs } from "./backoff.ts";

const STABLE_AFTER_MS = 60_000;
const QUIET_AFTER_MS = 30_000;
const DEAD_AFTER_MS = 45_000;
const LIVENESS_EVERY_MS = 5_000;
const OPEN_WITHIN_MS = 10_000;

/** The part of a browser's WebSocket that is used, so that tests can put a room at the other end. */
export type WebSocketLike = Pick<
  WebSocket,
  "binaryType" | "onopen" | "onmessage" | "onclose" | "onerror" | "send" | "close"
>;

export interface RoomSocketOptions {
  url(): string;
  open(url: string): WebSocketLike;
  random(): number;
  handler: SocketHandler;
}

export interface SocketHandler {
  onOpen(): void;
  onFrame(frame: ServerFrame): void;
  /** The line is down and will be tried again at `retryAtMs`. */
  onDown(retry: { sinceMs: number; retryAtMs: number; attempt: number; code: number }): void;
  /** Down because the browser has no network; it comes back by itself. */
  onOffline(sinceMs: number): void;
  /** Closed with a 44xx: it stays closed until `reopen`. */
  onRefused(code: number, reason: string): void;
  /** Nothing was heard for a while: say something that is answered. */
  onQuiet(): void;
}

type Phase =
  | { kind: "opening"; socket: WebSocketLike; startedAtMs: number }
  | { kind: "open"; socket: WebSocketLike; openedAtMs: number; heardAtMs: number; askedAtMs: number | null }
  | { kind: "waiting"; timer: ReturnType<typeof setTimeout> }
  | { kind: "offline" }
  | { kind: "stopped" };

export class RoomSocket {
  private readonly options: RoomSocketOptions;
  private phase: Phase = { kind: "stopped" };
  private attempt = 0;
  private downSinceMs = 0;
  private liveness: ReturnType<typeof setInterval> | null = null;
  private drainTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(options: RoomSocketOptions) {
    this.options = options;
  }

  start(): void {
    if (this.liveness !== null) return;
    this.downSinceMs = Date.now();
    this.liveness = setInterval(() => this.checkLiveness(), LIVENESS_EVERY_MS);
    globalThis.addEventListener?.("online", this.onOnline);
    globalThis.addEventListener?.("offline", this.onOffline);
    this.connect();
  }

  stop(): void {
    if (this.liveness !== null) clearInterval(this.liveness);
    this.liveness = null;
    globalThis.removeEventListener?.("online", this.onOnline);
    globalThis.removeEventListener?.("offline", this.onOffline);
    this.leave(1000, "left");
    this.phase = { kind: "stopped" };
  }

  /** Tries at once, whatever it was waiting for. */
  tryNow(): void {
    if (this.liveness === null) return;
    if (this.phase.kind === "waiting" || this.phase.kind === "offline") {
      this.attempt = 0;
      this.connect();
    }
  }

  /** Starts a new connection in place of the present one, or after a refusal. */
  reopen(): void {
    if (this.liveness === null) return;
    this.leave(1000, "again");
    this.downSinceMs = Date.now();
    this.connect();
  }

  get isOpen(): boolean {
    return this.phase.kind === "open";
  }

  /** False when there is no open line: the caller keeps what it wanted to say. */
  send(frame: ClientFrame): boolean {
    return this.sendBytes(encodeClientFrame(frame));
  }

  sendBytes(message: Uint8Array): boolean {
    if (this.phase.kind !== "open") return false;
    this.phase.socket.send(message as Uint8Array<ArrayBuffer>);
    return true;
  }

  private connect(): void {
    if (this.phase.kind === "waiting") clearTimeout(this.phase.timer);
    let socket: WebSocketLike;
    try {
      socket = this.options.open(this.options.url());
    } catch {
      this.wait(1006);
      return;
    }
    socket.binaryType = "arraybuffer";
    this.phase = { kind: "opening", socket, startedAtMs: Date.now() };
    socket.onopen = () => this.opened(socket);
    socket.onmessage = (event) => this.received(socket, event.data);
    socket.onclose = (event) => this.closed(socket, event.code, event.reason);
    socket.onerror = () => {};
  }

  private opened(socket: WebSocketLike): void {
    if (!this.isCurrent(socket)) return;
    const now = Date.now();
    this.phase = { kind: "open", socket, openedAtMs: now, heardAtMs: now, askedAtMs: null };
    this.options.handler.onOpen();
  }

  private received(socket: WebSocketLike, data: unknown): void {
    const phase = this.phase;
    if (phase.kind !== "open" || phase.socket !== socket || !(data instanceof ArrayBuffer)) return;
    phase.heardAtMs = Date.now();
    phase.askedAtMs = null;
    let frame: ServerFrame;
    try {
      frame = decodeServerFrame(new Uint8Array(data));
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      // A frame that this page cannot read means that the page is too old or the line is broken: start again.
      this.drop(CLOSE.outOfStep);
      return;
    }
    if (frame.type === "drain") this.drain(frame.within_ms);
    this.options.handler.onFrame(frame);
  }

  private closed(socket: WebSocketLike, code: number, reason: string): void {
    if (!this.isCurrent(socket)) return;
    this.forget(socket);
    if (isPermanentClose(code)) {
      this.phase = { kind: "stopped" };
      this.options.handler.onRefused(code, reason);
      return;
    }
    this.wait(code);
  }

  private wait(code: number): void {
    const now = Date.now();
    if (this.phase.kind === "open") {
      this.downSinceMs = now;
      if (now - this.phase.openedAtMs >= STABLE_AFTER_MS) this.attempt = 0;
    }
    if (globalThis.navigator?.onLine === false) {
      this.phase = { kind: "offline" };
      this.options.handler.onOffline(this.downSinceMs);
      return;
    }
    const delay = retryDelayMs(this.attempt, this.options.random);
    this.attempt += 1;
    this.phase = { kind: "waiting", timer: setTimeout(() => this.connect(), delay) };
    this.options.handler.onDown({
      sinceMs: this.downSinceMs,
      retryAtMs: now + delay,
      attempt: this.attempt,
      code,
    });
  }

  /** Leaves a node that is going away at a moment of our own within its time, and comes back at once. */
  private drain(withinMs: number): void {
    if (this.drainTimer !== null) return;
    const delay = Math.floor(this.options.random() * withinMs);
    this.drainTimer = setTimeout(() => {
      this.drainTimer = null;
      if (this.phase.kind === "open") this.drop(CLOSE.draining);
    }, delay);
  }

  private drop(code: number): void {
    const phase = this.phase;
    if (phase.kind !== "open" && phase.kind !== "opening") return;
    this.forget(phase.socket);
    phase.socket.close(1000, "again");
    this.wait(code);
  }

  private leave(code: number, reason: string): void {
    if (this.phase.kind === "waiting") clearTimeout(this.phase.timer);
    if (this.phase.kind === "open" || this.phase.kind === "opening") {
      const socket = this.phase.socket;
      this.forget(socket);
      socket.close(code, reason);
    }
  }

  private forget(socket: WebSocketLike): void {
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    if (this.drainTimer !== null) clearTimeout(this.drainTimer);
    this.drainTimer = null;
  }

  private isCurrent(socket: WebSocketLike): boolean {
    return (this.phase.kind === "open" || this.phase.kind === "opening") && this.phase.socket === socket;
  }

  // A hidden tab's timers may run once a minute, so silence alone proves nothing: first ask, then judge.
  private checkLiveness(): void {
    const phase = this.phase;
    const now = Date.now();
    if (phase.kind === "opening" && now - phase.startedAtMs >= OPEN_WITHIN_MS) this.drop(CLOSE.idle);
    if (phase.kind !== "open" || now - phase.heardAtMs < QUIET_AFTER_MS) return;
    if (phase.askedAtMs === null) {
      phase.askedAtMs = now;
      this.options.handler.onQuiet();
    } else if (now - phase.askedAtMs >= DEAD_AFTER_MS - QUIET_AFTER_MS) {
      this.drop(CLOSE.idle);
    }
  }

  private readonly onOnline = (): void => this.tryNow();

  private readonly onOffline = (): void => {
    if (this.phase.kind === "waiting") {
      clearTimeout(this.phase.timer);
      this.phase = { kind: "offline" };
      this.options.handler.onOffline(this.downSinceMs);
    } else if (this.phase.kind === "open" || this.phase.kind === "opening") {
      this.drop(1006);
    }
  };
}
