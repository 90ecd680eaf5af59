//! The line of a room: tried again with jitter, watched for silence, left alone when refused for good.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { encodeServerFrame, type ServerFrame } from "../protocol/frames.ts";
import { RETRY_MAX_MS, retryDelayMs } from "./backoff.ts";
import { RoomSocket, type SocketHandler, type WebSocketLike } from "./socket.ts";

let lines: Line[] = [];
let socket: RoomSocket;
let handler: { [N in keyof SocketHandler]: ReturnType<typeof vi.fn> };

beforeEach(() => {
  vi.useFakeTimers();
  lines = [];
  handler = {
    onOpen: vi.fn(),
    onFrame: vi.fn(),
    onDown: vi.fn(),
    onOffline: vi.fn(),
    onRefused: vi.fn(),
    onQuiet: vi.fn(),
  };
  socket = new RoomSocket({
    url: () => "ws://room",
    open: () => {
      const line = new Line();
      lines.push(line);
      return line as unknown as WebSocketLike;
    },
    random: () => 0.5,
    handler: handler as unknown as SocketHandler,
  });
  socket.start();
});

afterEach(() => {
  socket.stop();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe("a room's line", () => {
  it("is tried again soon, then ever later, up to ten seconds", () => {
    const delays: number[] = [];
    for (let attempt = 0; attempt < 12; attempt += 1) {
      line().drop(1006);
      const retry = handler.onDown.mock.lastCall?.[0] as { retryAtMs: number } | undefined;
      delays.push((retry?.retryAtMs ?? 0) - Date.now());
      vi.advanceTimersByTime(delays.at(-1) ?? 0);
    }
    expect(delays.slice(0, 4)).toEqual([50, 100, 200, 400]);
    expect(delays.at(-1)).toBe(RETRY_MAX_MS / 2);
    expect(lines).toHaveLength(13);
    expect(retryDelayMs(1_000, () => 0.999)).toBeLessThan(RETRY_MAX_MS);
  });

  it("starts over with short waits after a stable minute, and not before", () => {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      line().drop(1006);
      vi.advanceTimersByTime(RETRY_MAX_MS);
    }
    line().open();
    line().drop(4501);
    expect(handler.onDown.mock.lastCall?.[0]).toMatchObject({ attempt: 6 });
    vi.advanceTimersByTime(RETRY_MAX_MS);
    line().open();
    for (let second = 0; second < 61; second += 1) {
      vi.advanceTimersByTime(1_000);
      line().say({ type: "saved", frames: 0, head: 1 });
    }
    line().drop(4501);
    expect(handler.onDown.mock.lastCall?.[0]).toMatchObject({ attempt: 1 });
  });

  it("is not tried again after a refusal, until somebody asks", () => {
    line().open();
    line().drop(4404);
    expect(handler.onRefused).toHaveBeenCalledWith(4404, "");
    vi.advanceTimersByTime(120_000);
    expect(lines).toHaveLength(1);
    socket.reopen();
    expect(lines).toHaveLength(2);
  });

  it("asks when nothing is heard and drops a line that does not answer", () => {
    line().open();
    vi.advanceTimersByTime(30_000);
    expect(handler.onQuiet).toHaveBeenCalledTimes(1);
    line().say({ type: "saved", frames: 0, head: 1 });
    vi.advanceTimersByTime(30_000);
    expect(handler.onQuiet).toHaveBeenCalledTimes(2);
    expect(handler.onDown).not.toHaveBeenCalled();
    vi.advanceTimersByTime(15_000);
    expect(handler.onDown).toHaveBeenCalledTimes(1);
  });

  it("gives up on one that does not open", () => {
    vi.advanceTimersByTime(15_000);
    expect(lines.length).toBeGreaterThan(1);
  });

  it("leaves a draining node at a moment of its own within the time", () => {
    line().open();
    line().say({ type: "drain", within_ms: 2_000 });
    vi.advanceTimersByTime(999);
    expect(handler.onDown).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(handler.onDown).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(100);
    expect(lines).toHaveLength(2);
  });

  it("waits for the network without trying, and tries at once when it is back", () => {
    vi.stubGlobal("navigator", { onLine: false });
    line().drop(1006);
    expect(handler.onOffline).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(60_000);
    expect(lines).toHaveLength(1);
    vi.stubGlobal("navigator", { onLine: true });
    socket.tryNow();
    expect(lines).toHaveLength(2);
  });

  it("is given up for a frame that cannot be read, and opened again", () => {
    line().open();
    line().onmessage?.({ data: new Uint8Array([99]).buffer });
    expect(handler.onDown).toHaveBeenCalledTimes(1);
    expect(handler.onFrame).not.toHaveBeenCalled();
  });

  it("says nothing more of a line that was left", () => {
    const first = line();
    first.open();
    const { onmessage, onclose } = first;
    socket.reopen();
    onmessage?.({ data: encodeServerFrame({ type: "saved", frames: 0, head: 1 }).buffer });
    onclose?.({ code: 4404, reason: "" });
    expect(handler.onFrame).not.toHaveBeenCalled();
    expect(handler.onRefused).not.toHaveBeenCalled();
  });
});

class Line {
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  open(): void {
    this.onopen?.();
  }

  say(frame: ServerFrame): void {
    const bytes = encodeServerFrame(frame);
    this.onmessage?.({ data: bytes.slice().buffer });
  }

  drop(code: number): void {
    this.onclose?.({ code, reason: "" });
  }

  send(): void {}

  close(): void {}
}

function line(): Line {
  const last = lines.at(-1);
  if (last === undefined) throw new Error("no line was opened");
  return last;
}
