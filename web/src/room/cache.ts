//! A room's document in this browser: one IndexedDB database per lineage and person, and a small
//! directory of which belongs to which prompt.

import { clearDocument, IndexeddbPersistence } from "y-indexeddb";
import type * as Y from "yjs";
import type { Rights } from "../protocol/shapes.ts";

const DIRECTORY_KEY = "promptroom.rooms";
const ROOMS_MAX = 200;
export const NO_RIGHTS: Rights = { edit: false, run: false, manage: false };
/** A browser that does not answer by then is done without. */
const OPEN_WITHIN_MS = 1_500;

/** What is known about a room's copy beside its content. */
export interface CacheMark {
  /** The newest durable row that the copy holds for certain. */
  readonly have: number | null;
  readonly unsaved: number;
}

export interface CacheEntry {
  readonly lineage: string;
  /** Whose edits it may hold: never sent in somebody else's name. */
  readonly member: string;
  /** What they were allowed when the server last said so: it holds until the server says otherwise. */
  readonly rights: Rights;
}

export class DocumentCache {
  private readonly persistence: IndexeddbPersistence;
  private closed = false;

  private constructor(persistence: IndexeddbPersistence) {
    this.persistence = persistence;
  }

  /** Fills `doc` with what is kept and says how far that goes; null where the browser keeps nothing. */
  static async open(entry: CacheEntry, doc: Y.Doc): Promise<{ cache: DocumentCache; mark: CacheMark } | null> {
    if (globalThis.indexedDB === undefined) return null;
    const persistence = new IndexeddbPersistence(databaseName(entry), doc);
    const opened = await Promise.race([
      persistence.whenSynced.then(() => true),
      // Private windows refuse; the library says so only on this promise.
      (persistence as unknown as { _db: Promise<IDBDatabase> })._db.then(
        () => new Promise<boolean>(() => {}),
        () => false,
      ),
      new Promise<boolean>((resolve) => setTimeout(() => resolve(false), OPEN_WITHIN_MS)),
    ]);
    const cache = new DocumentCache(persistence).untilDeleted();
    // A database that is deleted or broken while it is read is done without, too.
    const mark = opened ? await cache.read().catch(() => null) : null;
    if (mark !== null) return { cache, mark };
    cache.close().catch(() => {});
    return null;
  }

  /**
   * Both stores are named, so that IndexedDB orders this after the updates written before it: a mark can never
   * claim rows that a crash then takes away.
   */
  write(mark: CacheMark): void {
    const db = this.persistence.db;
    if (db === null || this.closed) return;
    db.transaction(["updates", "custom"], "readwrite").objectStore("custom").put(mark, "mark");
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.persistence.destroy();
  }

  /** Resolves once it is gone, so that the same name can be opened anew; another tab may hold that up for a while. */
  async clear(): Promise<void> {
    this.closed = true;
    await this.persistence.destroy();
    const gone = clearDocument(this.persistence.name);
    await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, OPEN_WITHIN_MS))]);
  }

  private async read(): Promise<CacheMark> {
    const mark: unknown = await this.persistence.get("mark");
    if (typeof mark !== "object" || mark === null) return { have: null, unsaved: 0 };
    const { have, unsaved } = mark as Record<string, unknown>;
    return { have: typeof have === "number" ? have : null, unsaved: typeof unsaved === "number" ? unsaved : 0 };
  }

  /** Signing out in another tab deletes the database under this one, which then goes on without it. */
  private untilDeleted(): this {
    const { db } = this.persistence;
    if (db !== null) db.onversionchange = () => void this.close();
    return this;
  }
}

/** A person's copy of a prompt, by the prompt's id or slug. */
export function findCached(prompt: string, member: string): CacheEntry | null {
  const entry = readDirectory()[`${member}/${prompt}`];
  // One written by an earlier version of this page says nothing of rights.
  return entry === undefined ? null : { ...entry, rights: entry.rights ?? NO_RIGHTS };
}

export function noteCached(prompts: readonly string[], entry: CacheEntry): void {
  const directory = readDirectory();
  for (const prompt of prompts) {
    const key = `${entry.member}/${prompt}`;
    delete directory[key];
    directory[key] = entry;
  }
  const oldest = Object.entries(directory).slice(0, Math.max(0, Object.keys(directory).length - ROOMS_MAX));
  for (const [key] of oldest) delete directory[key];
  writeDirectory(directory);
  const kept = new Set(Object.values(directory).map(databaseName));
  for (const [, old] of oldest) if (!kept.has(databaseName(old))) clearDocument(databaseName(old)).catch(() => {});
}

/** Access is gone, or the history is another one. */
export function forgetCached(lineage: string): void {
  const directory = readDirectory();
  for (const [prompt, entry] of Object.entries(directory)) if (entry.lineage === lineage) delete directory[prompt];
  writeDirectory(directory);
}

/** Signing out leaves nothing behind. */
export async function forgetAllCached(): Promise<void> {
  const databases = new Set(Object.values(readDirectory()).map(databaseName));
  writeDirectory({});
  await Promise.allSettled([...databases].map((database) => clearDocument(database)));
}

function databaseName({ lineage, member }: Pick<CacheEntry, "lineage" | "member">): string {
  return `promptroom:${lineage}:${member}`;
}

function readDirectory(): Record<string, CacheEntry> {
  try {
    const parsed: unknown = JSON.parse(globalThis.localStorage?.getItem(DIRECTORY_KEY) ?? "{}");
    return typeof parsed === "object" && parsed !== null ? (parsed as Record<string, CacheEntry>) : {};
  } catch {
    return {};
  }
}

function writeDirectory(directory: Record<string, CacheEntry>): void {
  try {
    globalThis.localStorage?.setItem(DIRECTORY_KEY, JSON.stringify(directory));
  } catch {
    // Full or forbidden: the next visit starts from the server.
  }
}
