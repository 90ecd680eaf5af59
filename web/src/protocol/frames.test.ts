//! The golden frames of the protocol crate, read and written again by the page.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { FrameError } from "./bytes.ts";
import { decodeClientFrame, decodeServerFrame, encodeClientFrame, encodeServerFrame } from "./frames.ts";

interface Vector {
  name: string;
  side: "client" | "server";
  hex: string;
  json: unknown;
}

const vectors = readVectors<Vector>("frames.json");
const refused = readVectors<{ name: string; side: "client" | "server"; hex: string }>("refused.json");

describe("the golden frames", () => {
  it.each(vectors)("$side: $name is read as described", ({ side, hex, json }) => {
    expect(toJson(decode(side, hex))).toEqual(json);
  });

  it.each(vectors)("$side: $name is written as described", ({ side, hex, json }) => {
    const frame = fromJson(json);
    const bytes = side === "client" ? encodeClientFrame(frame as never) : encodeServerFrame(frame as never);
    // JSON inside a frame may order its keys differently, so such frames are compared by what they say.
    if (hasBody(json)) expect(toJson(decode(side, Buffer.from(bytes).toString("hex")))).toEqual(json);
    else expect(Buffer.from(bytes).toString("hex")).toBe(hex);
  });

  it.each(refused)("$side: $name is refused", ({ side, hex }) => {
    // The shape inside JSON is the sender's promise; the page checks that it parses and no more.
    if (isAboutShape(side, hex)) return;
    expect(() => decode(side, hex)).toThrow(FrameError);
  });
});

function decode(side: "client" | "server", hex: string): unknown {
  const bytes = new Uint8Array(Buffer.from(hex, "hex"));
  return side === "client" ? decodeClientFrame(bytes) : decodeServerFrame(bytes);
}

function isAboutShape(side: "client" | "server", hex: string): boolean {
  try {
    return hasBody(decode(side, hex));
  } catch {
    return false;
  }
}

function hasBody(json: unknown): boolean {
  return typeof json === "object" && json !== null && "body" in json;
}

function toJson(frame: unknown): unknown {
  return JSON.parse(
    JSON.stringify(frame, (_key, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value,
    ),
  );
}

function fromJson(json: unknown): unknown {
  return JSON.parse(JSON.stringify(json), (key, value: unknown) =>
    (key === "bytes" || key === "state_vector") && typeof value === "string"
      ? new Uint8Array(Buffer.from(value, "hex"))
      : value,
  );
}

function readVectors<T>(file: string): T[] {
  return JSON.parse(readFileSync(new URL(`../../../protocol/vectors/${file}`, import.meta.url), "utf8")) as T[];
}
