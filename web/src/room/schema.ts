//! The shared document's layout, version 1, and typed reading of it; whatever does not fit is left out.

import * as Y from "yjs";
import type { Parameters, Role, VariableType } from "./api.ts";

/** Tracked by undo: what a person does. */
export const EDIT = { origin: "edit" };
/**
 * Not tracked by undo: the making of nested maps, which are born deleted and then shown by an `EDIT`. Undoing the
 * creation of a map would remove it, and redoing that makes Yjs itself diverge.
 */
export const CREATE = { origin: "create" };

export interface Roots {
  readonly title: Y.Text;
  readonly variants: Y.Map<unknown>;
  readonly variables: Y.Map<unknown>;
  readonly inputs: Y.Map<unknown>;
}

export interface Ordered {
  readonly id: string;
  readonly order: string;
  readonly map: Y.Map<unknown>;
}

export function rootsOf(doc: Y.Doc): Roots {
  return {
    title: doc.getText("title"),
    variants: doc.getMap("variants"),
    variables: doc.getMap("variables"),
    inputs: doc.getMap("inputs"),
  };
}

/** The entries of a map of maps that are not deleted, by order and then by id. */
export function present(map: Y.Map<unknown>): Ordered[] {
  return everything(map).filter((entry) => entry.map.get("deleted") !== true);
}

export function everything(map: Y.Map<unknown>): Ordered[] {
  const entries: Ordered[] = [];
  for (const [id, value] of map.entries()) {
    if (!(value instanceof Y.Map)) continue;
    entries.push({ id, order: readString(value, "order"), map: value });
  }
  return entries.sort((a, b) => compare(a.order, b.order) || compare(a.id, b.id));
}

export function readString(map: Y.Map<unknown>, key: string): string {
  const value = map.get(key);
  return typeof value === "string" ? value : "";
}

export function readMap(map: Y.Map<unknown>, key: string): Y.Map<unknown> | null {
  const value = map.get(key);
  return value instanceof Y.Map ? value : null;
}

export function readText(map: Y.Map<unknown>, key: string): Y.Text | null {
  const value = map.get(key);
  return value instanceof Y.Text ? value : null;
}

export function readRole(map: Y.Map<unknown>): Role {
  return map.get("role") === "assistant" ? "assistant" : "user";
}

export function readType(map: Y.Map<unknown> | null): VariableType {
  const type = map?.get("type");
  return type === "json" || type === "number" || type === "boolean" ? type : "text";
}

/** A message's first part of text. */
export function messageText(message: Y.Map<unknown>): Y.Text | null {
  const parts = readMap(message, "parts");
  if (parts === null) return null;
  for (const part of present(parts)) {
    const text = readText(part.map, "text");
    if (text !== null) return text;
  }
  return null;
}

export function readParameters(variant: Y.Map<unknown>): Parameters {
  const map = readMap(variant, "params");
  const parameters: { -readonly [N in keyof Parameters]: Parameters[N] } = {};
  for (const name of ["temperature", "top_p", "max_tokens", "seed"] as const) {
    const value = map?.get(name);
    if (typeof value === "number" && Number.isFinite(value)) parameters[name] = value;
  }
  const stop = map?.get("stop");
  if (typeof stop === "string" && stop !== "") parameters.stop = stop;
  return parameters;
}

/** A variant's first message list must be there before anything is shown. */
export function isReady(variant: Y.Map<unknown>): boolean {
  return readText(variant, "system") !== null && readMap(variant, "messages") !== null;
}

export function newText(content: string): Y.Text {
  return content === "" ? new Y.Text() : new Y.Text(content.toWellFormed());
}

export function newMap(entries: Record<string, unknown>): Y.Map<unknown> {
  return new Y.Map(Object.entries(entries));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
