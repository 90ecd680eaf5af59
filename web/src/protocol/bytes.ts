//! Reading and writing the plain values that frames are made of; every reading is checked.

import { createEncoder, type Encoder, toUint8Array, writeUint8, writeUint8Array, writeVarUint } from "lib0/encoding";

const UUID_BYTES = 16;
const utf8 = new TextDecoder("utf-8", { fatal: true });
const utf8Writer = new TextEncoder();

/** The bytes are not a frame of this protocol. */
export class FrameError extends Error {}

/** Reads one message from its start; slices that it gives share the message's memory. */
export class Reader {
  private readonly message: Uint8Array;
  private at = 0;

  constructor(message: Uint8Array) {
    this.message = message;
  }

  get isEmpty(): boolean {
    return this.at >= this.message.length;
  }

  byte(): number {
    const byte = this.message[this.at];
    if (byte === undefined) throw new FrameError("the frame ends too early");
    this.at += 1;
    return byte;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new FrameError("a number in the frame is too large");
      if (byte < 0x80) return value;
      scale *= 128;
    }
  }

  /** A number of at most 32 bits: an epoch or a block. */
  varint32(): number {
    const value = this.varint();
    if (value > 0xffff_ffff) throw new FrameError("a number in the frame is too large");
    return value;
  }

  take(length: number): Uint8Array {
    if (length > this.message.length - this.at) throw new FrameError("the frame ends too early");
    const slice = this.message.subarray(this.at, this.at + length);
    this.at += length;
    return slice;
  }

  bytes(): Uint8Array {
    return this.take(this.varint());
  }

  text(): string {
    const bytes = this.bytes();
    try {
      return utf8.decode(bytes);
    } catch {
      throw new FrameError("a text in the frame is not UTF-8");
    }
  }

  json<T>(): T {
    const text = this.text();
    try {
      return JSON.parse(text) as T;
    } catch {
      throw new FrameError("the frame's JSON does not parse");
    }
  }

  uuid(): string {
    let hex = "";
    for (const byte of this.take(UUID_BYTES)) hex += byte.toString(16).padStart(2, "0");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }

  end(): void {
    if (!this.isEmpty) throw new FrameError("the frame has bytes after its end");
  }
}

export class Writer {
  private readonly encoder: Encoder = createEncoder();

  byte(value: number): this {
    writeUint8(this.encoder, value);
    return this;
  }

  varint(value: number): this {
    writeVarUint(this.encoder, value);
    return this;
  }

  bytes(value: Uint8Array): this {
    writeVarUint(this.encoder, value.length);
    writeUint8Array(this.encoder, value);
    return this;
  }

  text(value: string): this {
    return this.bytes(utf8Writer.encode(value));
  }

  json(value: unknown): this {
    return this.text(JSON.stringify(value));
  }

  uuid(value: string): this {
    const hex = value.replaceAll("-", "");
    if (!/^[0-9a-f]{32}$/i.test(hex)) throw new FrameError("an id is not a UUID");
    for (let at = 0; at < hex.length; at += 2) this.byte(Number.parseInt(hex.slice(at, at + 2), 16));
    return this;
  }

  finish(): Uint8Array {
    return toUint8Array(this.encoder);
  }
}
