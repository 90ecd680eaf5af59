//! A variant's snapshot for the screens, and its plain JSON.

import * as Y from "yjs";
import type { MessageContent, VariantContent } from "../protocol/resources.ts";
import type { Draft, Message } from "./api.ts";
import {
  messageText,
  type Ordered,
  present,
  readMap,
  readParameters,
  readRole,
  readString,
  readText,
} from "./schema.ts";

/** Null until the variant is whole; what did not change stays the same object. */
export function readDraft(variant: Ordered, before: Draft | null): Draft | null {
  const system = readText(variant.map, "system");
  const messages = readMap(variant.map, "messages");
  if (system === null || messages === null) return null;
  const parameters = readParameters(variant.map);
  return {
    variant: variant.id,
    name: readString(variant.map, "name"),
    model: readString(variant.map, "model"),
    parameters:
      JSON.stringify(parameters) === JSON.stringify(before?.parameters) && before ? before.parameters : parameters,
    system,
    messages: readMessages(messages, before?.messages ?? []),
  };
}

function readMessages(map: Y.Map<unknown>, before: readonly Message[]): readonly Message[] {
  const messages: Message[] = [];
  for (const { id, map: message } of present(map)) {
    const text = messageText(message);
    if (text === null) continue;
    const role = readRole(message);
    const known = before.find((entry) => entry.id === id && entry.role === role && entry.text === text);
    messages.push(known ?? { id, role, key: `message:${id}`, text });
  }
  const same = messages.length === before.length && messages.every((message, index) => message === before[index]);
  return same ? before : messages;
}

/** A variant as plain JSON. */
export function readVariant({ id, map }: Ordered): VariantContent {
  const messages: MessageContent[] = [];
  for (const message of present(readMap(map, "messages") ?? new Y.Map())) {
    const text = messageText(message.map);
    if (text !== null) messages.push({ id: message.id, role: readRole(message.map), text: text.toString() });
  }
  return {
    id,
    name: readString(map, "name"),
    model: readString(map, "model"),
    parameters: { ...readParameters(map) },
    system: readText(map, "system")?.toString() ?? "",
    messages,
  };
}

export function readTexts(map: Y.Map<unknown> | null): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, value] of map?.entries() ?? []) if (value instanceof Y.Text) texts[name] = value.toString();
  return texts;
}

/** Makes the parameters exactly these; the caller opens the transaction. */
export function writeParameters(params: Y.Map<unknown> | null, next: Record<string, unknown>): void {
  if (params === null) return;
  for (const name of [...params.keys()]) if (!(name in next)) params.delete(name);
  for (const [name, value] of Object.entries(next)) {
    const plain = Array.isArray(value) ? value.join("\n") : value;
    if ((typeof plain === "number" || typeof plain === "string") && params.get(name) !== plain) params.set(name, plain);
  }
}
