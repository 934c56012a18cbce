// Where sessions are kept: in the browser's database, or, where there is none, in memory as long as the page lives.

import type { Attempt, Thread, Turn } from "../model";

/** Neighbouring chunks of an answer's body. `marks` has, for each of them, its time and its length, one after the other. */
export interface ChunkRow {
  readonly attempt: string;
  readonly place: number;
  readonly thread: string;
  readonly bytes: Uint8Array;
  readonly marks: readonly number[];
}

export interface RequestRow {
  readonly attempt: string;
  readonly thread: string;
  /** The whole of it, or what comes after its beginning. */
  readonly body: string;
  /** An earlier attempt whose body begins with the same `length` characters. */
  readonly begins?: { readonly like: string; readonly length: number };
}

/** A body that was kept as its beginning and its rest; "" if there is none. */
async function whole(attempt: string, read: (attempt: string) => Promise<RequestRow | undefined>): Promise<string> {
  const rows: RequestRow[] = [];
  for (let row = await read(attempt); row; row = row.begins && (await read(row.begins.like))) rows.push(row);
  return rows.reduceRight((body, row) => body.slice(0, row.begins?.length ?? 0) + row.body, "");
}

/** What is written together, or not at all. */
export interface Writing {
  readonly threads?: readonly Thread[];
  readonly turns?: readonly Turn[];
  /** Without the bodies of their requests. */
  readonly attempts?: readonly Attempt[];
  readonly requests?: readonly RequestRow[];
  readonly chunks?: readonly ChunkRow[];
}

export interface Shelf {
  /** Whether what is written outlives the page. */
  readonly durable: boolean;
  threads(): Promise<Thread[]>;
  /** Turns and attempts of a thread, in no order. */
  thread(id: string): Promise<{ turns: Turn[]; attempts: Attempt[] }>;
  request(attempt: string): Promise<string>;
  /** In order. */
  chunks(attempt: string): Promise<ChunkRow[]>;
  write(writing: Writing): Promise<void>;
  remove(thread: string): Promise<void>;
  /** Shows every turn, until `visit` returns false. */
  eachTurn(visit: (turn: Turn) => boolean): Promise<void>;
  close(): void;
}

export class MemoryShelf implements Shelf {
  readonly durable = false;
  readonly #threads = new Map<string, Thread>();
  readonly #turns = new Map<string, Turn>();
  readonly #attempts = new Map<string, Attempt>();
  readonly #requests = new Map<string, RequestRow>();
  readonly #chunks = new Map<string, ChunkRow[]>();

  async threads(): Promise<Thread[]> {
    return [...this.#threads.values()];
  }

  async thread(id: string): Promise<{ turns: Turn[]; attempts: Attempt[] }> {
    const mine = <T extends { thread: string }>(rows: Map<string, T>): T[] =>
      [...rows.values()].filter((row) => row.thread === id);
    return { turns: mine(this.#turns), attempts: mine(this.#attempts) };
  }

  request(attempt: string): Promise<string> {
    return whole(attempt, async (id) => this.#requests.get(id));
  }

  async chunks(attempt: string): Promise<ChunkRow[]> {
    return [...(this.#chunks.get(attempt) ?? [])].sort((a, b) => a.place - b.place);
  }

  async write(writing: Writing): Promise<void> {
    for (const row of writing.threads ?? []) this.#threads.set(row.id, row);
    for (const row of writing.turns ?? []) this.#turns.set(row.id, row);
    for (const row of writing.attempts ?? []) this.#attempts.set(row.id, row);
    for (const row of writing.requests ?? []) this.#requests.set(row.attempt, row);
    for (const row of writing.chunks ?? []) {
      const others = (this.#chunks.get(row.attempt) ?? []).filter((other) => other.place !== row.place);
      this.#chunks.set(row.attempt, [...others, row]);
    }
  }

  async remove(thread: string): Promise<void> {
    this.#threads.delete(thread);
    for (const rows of [this.#turns, this.#attempts, this.#requests] as Map<string, { thread: string }>[]) {
      for (const [key, row] of rows) if (row.thread === thread) rows.delete(key);
    }
    for (const [key, rows] of this.#chunks) if (rows[0]?.thread === thread) this.#chunks.delete(key);
  }

  async eachTurn(visit: (turn: Turn) => boolean): Promise<void> {
    for (const turn of [...this.#turns.values()].reverse()) if (!visit(turn)) return;
  }

  close(): void {}
}

// ------------------------------------------------------------------------------------------------------- IndexedDB

const NAME = "hadesgw";
const VERSION = 1;

/** A request's result as a promise. */
function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** Resolves when all of it is kept. */
function finished(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}

function make(database: IDBDatabase): void {
  database.createObjectStore("threads", { keyPath: "id" });
  for (const [name, keyPath] of [
    ["turns", "id"],
    ["attempts", "id"],
    ["requests", "attempt"],
    ["chunks", ["attempt", "place"]],
  ] as const) {
    const store = database.createObjectStore(name, { keyPath: keyPath as string | string[] });
    store.createIndex("thread", "thread");
    // Rows of one attempt come in the order of the main key: by place.
    if (name === "chunks") store.createIndex("attempt", "attempt");
  }
}

export class DatabaseShelf implements Shelf {
  readonly durable = true;
  readonly #database: IDBDatabase;

  private constructor(database: IDBDatabase) {
    this.#database = database;
    // A newer page in another tab may have to change it.
    database.onversionchange = () => database.close();
  }

  static async open(factory: IDBFactory): Promise<DatabaseShelf> {
    const request = factory.open(NAME, VERSION);
    request.onupgradeneeded = () => make(request.result);
    return new DatabaseShelf(await done(request));
  }

  threads(): Promise<Thread[]> {
    return done(this.#read("threads").getAll() as IDBRequest<Thread[]>);
  }

  async thread(id: string): Promise<{ turns: Turn[]; attempts: Attempt[] }> {
    const [turns, attempts] = await Promise.all([
      done(this.#read("turns").index("thread").getAll(id) as IDBRequest<Turn[]>),
      done(this.#read("attempts").index("thread").getAll(id) as IDBRequest<Attempt[]>),
    ]);
    return { turns, attempts };
  }

  request(attempt: string): Promise<string> {
    return whole(attempt, (id) => done(this.#read("requests").get(id) as IDBRequest<RequestRow | undefined>));
  }

  chunks(attempt: string): Promise<ChunkRow[]> {
    return done(this.#read("chunks").index("attempt").getAll(attempt) as IDBRequest<ChunkRow[]>);
  }

  async write(writing: Writing): Promise<void> {
    const names = Object.keys(writing) as (keyof Writing)[];
    if (names.length === 0) return;
    const transaction = this.#database.transaction(names, "readwrite");
    for (const name of names) for (const row of writing[name] ?? []) transaction.objectStore(name).put(row);
    await finished(transaction);
  }

  async remove(thread: string): Promise<void> {
    const names = ["turns", "attempts", "requests", "chunks"];
    const transaction = this.#database.transaction([...names, "threads"], "readwrite");
    transaction.objectStore("threads").delete(thread);
    for (const name of names) {
      const store = transaction.objectStore(name);
      const keys = store.index("thread").getAllKeys(thread);
      keys.onsuccess = () => keys.result.forEach((key) => store.delete(key));
    }
    await finished(transaction);
  }

  eachTurn(visit: (turn: Turn) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = this.#read("turns").openCursor();
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const cursor = request.result;
        if (cursor && visit(cursor.value as Turn)) cursor.continue();
        else resolve();
      };
    });
  }

  close(): void {
    this.#database.close();
  }

  #read(name: string): IDBObjectStore {
    return this.#database.transaction(name).objectStore(name);
  }
}

/** The browser's database, or memory where it cannot be had. */
export async function openShelf(factory: IDBFactory | null): Promise<Shelf> {
  try {
    if (factory) return await DatabaseShelf.open(factory);
  } catch {
    // Private windows and full disks: the page works, and says that it keeps nothing.
  }
  return new MemoryShelf();
}
