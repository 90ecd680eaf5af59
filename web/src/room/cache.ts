//! A room's document in this browser: one IndexedDB database per lineage and person, and a small
//! directory of which belongs to which prompt.

import { clearDocument, IndexeddbPersistence } from "y-indexeddb";
import type * as Y from "yjs";

const DIRECTORY_KEY = "promptroom.rooms";
const ROOMS_MAX = 200;
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
}

export class DocumentCache {
  private readonly persistence: IndexeddbPersistence;
  private closed = false;

  private constructor(persistence: IndexeddbPersistence) {
    this.persistence = persistence;
  }

  /** Fills `doc` with what is kept; null where the browser keeps nothing. */
  static async open(entry: CacheEntry, doc: Y.Doc): Promise<DocumentCache | null> {
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
    if (opened) return new DocumentCache(persistence).untilDeleted();
    persistence.destroy().catch(() => {});
    return null;
  }

  async read(): Promise<CacheMark> {
    const mark: unknown = await this.persistence.get("mark");
    if (typeof mark !== "object" || mark === null) return { have: null, unsaved: 0 };
    const { have, unsaved } = mark as Record<string, unknown>;
    return { have: typeof have === "number" ? have : null, unsaved: typeof unsaved === "number" ? unsaved : 0 };
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

  async clear(): Promise<void> {
    this.closed = true;
    await this.persistence.clearData();
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
  return readDirectory()[`${member}/${prompt}`] ?? null;
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

function databaseName({ lineage, member }: CacheEntry): string {
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
