// All sessions: their list, the one that is shown, and a few others that stay in memory because they were just shown or are
// still being answered. The rest is on the shelf.

import { type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { EngineKind, Thread } from "../model";
import type { SearchHit, Sessions } from "./api";
import { leaveBehind, takeUp } from "./journal";
import { read, write } from "./settings";
import { MemoryShelf, openShelf, type Shelf } from "./shelf";
import { type Around, ThreadStore } from "./threads";

const IN_MEMORY = 5;
const CURRENT = "hadesgw.current";
const DRAFT = "hadesgw.draft.";
const NEW = "new";
const KEEP_DRAFT_MS = 300;
const MOST_HITS = 50;

type Surround = Omit<Around, "shelf" | "listed" | "kept" | "drafts">;

export class KeptSessions implements Sessions {
  readonly #around: Around;
  readonly #list: Signal<readonly Thread[]> = signal([]);
  readonly #current: Signal<ThreadStore | null> = signal(null);
  readonly #ready = signal(false);
  readonly #durable = signal(true);
  /** The one shown last is the last one. */
  readonly #open = new Map<string, ThreadStore>();
  readonly #opening = new Map<string, Promise<ThreadStore | null>>();
  readonly #drafts = new Map<string, string>();
  #keepDrafts: (() => void) | null = null;
  #shelf: Shelf = new MemoryShelf();
  #writing: Promise<void> = Promise.resolve();
  readonly #engine: () => EngineKind;

  /** @param engine what new sessions speak. */
  constructor(around: Surround, engine: () => EngineKind) {
    this.#engine = engine;
    this.#around = {
      ...around,
      shelf: () => this.#shelf,
      listed: (thread) => this.#listed(thread),
      kept: (writing) => this.#kept(writing),
      drafts: { read: (id) => this.#readDraft(id), write: (id, text) => this.#writeDraft(id, text) },
    };
  }

  get list(): ReadonlySignal<readonly Thread[]> {
    return this.#list;
  }

  get current(): ReadonlySignal<ThreadStore | null> {
    return this.#current;
  }

  get ready(): ReadonlySignal<boolean> {
    return this.#ready;
  }

  get durable(): ReadonlySignal<boolean> {
    return this.#durable;
  }

  /** Reads what is kept, and shows what this tab showed last. */
  async start(): Promise<void> {
    const { surroundings } = this.#around;
    this.#shelf = await openShelf(surroundings.indexedDB);
    this.#durable.value = this.#shelf.durable;
    for (const writing of takeUp(surroundings.tab)) await this.#shelf.write(writing).catch(() => undefined);
    const threads = await this.#shelf.threads().catch(() => []);
    // What was being answered when a page was left is answered no more.
    const settled = threads.map((thread) => (isLive(thread.state) ? { ...thread, state: "cut" as const } : thread));
    this.#list.value = inOrder([...settled, ...this.#list.value]);
    this.#ready.value = true;
    const last = read(surroundings.tab, CURRENT);
    if (!this.#current.value && !(last && (await this.open(last)))) this.create();
  }

  create(engine?: EngineKind): ThreadStore {
    const { surroundings } = this.#around;
    const blank = [...this.#open.values()].find((thread) => thread.isEmpty);
    if (blank && (!engine || blank.thread.value.engine === engine)) return this.#show(blank);
    const now = surroundings.clock.now();
    const thread = new ThreadStore(
      {
        id: surroundings.uuid(),
        engine: engine ?? this.#engine(),
        sessionId: surroundings.uuid(),
        title: "",
        named: false,
        created: now,
        updated: now,
        archived: false,
        model: "",
        tip: null,
        turns: 0,
        state: "empty",
      },
      this.#around,
    );
    return this.#show(thread);
  }

  async open(id: string): Promise<ThreadStore | null> {
    const thread = await this.#get(id);
    return thread && this.#show(thread);
  }

  async rename(id: string, title: string): Promise<void> {
    (await this.#get(id))?.rename(title);
    await this.#writing;
  }

  async archive(id: string, archived: boolean): Promise<void> {
    (await this.#get(id))?.archive(archived);
    await this.#writing;
  }

  async remove(id: string): Promise<void> {
    this.#open.get(id)?.close();
    this.#open.delete(id);
    await this.#writing;
    await this.#shelf.remove(id).catch(() => undefined);
    this.#list.value = this.#list.value.filter((thread) => thread.id !== id);
    this.#writeDraft(id, "");
    if (this.#current.value?.id === id) this.create();
  }

  async search(query: string): Promise<readonly SearchHit[]> {
    const wanted = query.trim().toLowerCase();
    if (wanted === "") return [];
    const { excerpt, foundIn } = await import("./search");
    const { redaction } = this.#around.settings();
    const titles = new Map(this.#list.value.map((thread) => [thread.id, thread.title]));
    const hits: (SearchHit & { at: number })[] = this.#list.value.flatMap((thread) => {
      const found = excerpt(thread.title, wanted);
      return found ? [{ thread: thread.id, title: thread.title, turn: null, ...found, at: thread.updated }] : [];
    });
    await this.#writing;
    await this.#shelf.eachTurn((turn) => {
      const found = titles.has(turn.thread) ? foundIn(turn, wanted, redaction) : null;
      if (found)
        hits.push({ thread: turn.thread, title: titles.get(turn.thread)!, turn: turn.id, ...found, at: turn.created });
      return true;
    });
    return hits
      .sort((a, b) => b.at - a.at)
      .slice(0, MOST_HITS)
      .map(({ at: _, ...hit }) => hit);
  }

  /** One of them, in memory; null if there is none. */
  async #get(id: string): Promise<ThreadStore | null> {
    const known = this.#open.get(id);
    if (known) return known;
    const opening = this.#opening.get(id) ?? this.#read(id);
    this.#opening.set(id, opening);
    try {
      return await opening;
    } finally {
      this.#opening.delete(id);
    }
  }

  async #read(id: string): Promise<ThreadStore | null> {
    const row = this.#list.value.find((thread) => thread.id === id);
    if (!row) return null;
    await this.#writing;
    const thread = new ThreadStore(row, this.#around);
    await thread.load();
    this.#open.set(id, thread);
    this.#forgetSome();
    return thread;
  }

  /** For a record: loads it if need be, and does not show it. */
  get(id: string): Promise<ThreadStore | null> {
    return this.#get(id);
  }

  #show(thread: ThreadStore): ThreadStore {
    this.#open.delete(thread.id);
    this.#open.set(thread.id, thread);
    this.#current.value = thread;
    write(this.#around.surroundings.tab, CURRENT, thread.id);
    this.#forgetSome();
    return thread;
  }

  #forgetSome(): void {
    for (const [id, thread] of this.#open) {
      if (this.#open.size <= IN_MEMORY) return;
      const isWanted = thread === this.#current.value || thread.busy.value || thread.countdown.value !== null;
      if (isWanted) continue;
      thread.close();
      this.#open.delete(id);
    }
  }

  #listed(thread: Thread): void {
    this.#list.value = inOrder([thread, ...this.#list.value.filter((other) => other.id !== thread.id)]);
  }

  #kept(writing: Promise<void>): void {
    const noted = writing.catch(() => {
      this.#durable.value = false;
    });
    this.#writing = Promise.all([this.#writing, noted]).then(() => undefined);
  }

  // ------------------------------------------------------------------------------------------------------ drafts

  #name(id: string): string {
    return DRAFT + (this.#list.value.some((thread) => thread.id === id) ? id : NEW);
  }

  #readDraft(id: string): string {
    return read(this.#around.surroundings.tab, this.#name(id)) ?? "";
  }

  #writeDraft(id: string, text: string): void {
    this.#drafts.set(this.#name(id), text);
    this.#keepDrafts ??= this.#around.surroundings.clock.after(KEEP_DRAFT_MS, () => this.#flushDrafts());
  }

  #flushDrafts(): void {
    this.#keepDrafts?.();
    this.#keepDrafts = null;
    for (const [name, text] of this.#drafts) write(this.#around.surroundings.tab, name, text || null);
    this.#drafts.clear();
  }

  // ------------------------------------------------------------------------------------------------------ leaving

  /** The page is hidden, and may be thrown away without a word. */
  hide(): void {
    this.#flushDrafts();
    for (const thread of this.#open.values()) thread.keepNow();
  }

  /** The page stays after all: what it left behind it can keep itself. */
  stay(): void {
    takeUp(this.#around.surroundings.tab);
  }

  /** The page may be gone the next moment. */
  leave(): void {
    this.#flushDrafts();
    const unkept = [...this.#open.values()].map((thread) => thread.unkept()).filter((writing) => writing !== null);
    leaveBehind(this.#around.surroundings.tab, unkept);
  }

  async close(): Promise<void> {
    this.#flushDrafts();
    for (const thread of this.#open.values()) thread.close();
    await this.#writing;
    this.#shelf.close();
  }
}

const isLive = (state: Thread["state"]): boolean => ["connecting", "queued", "streaming", "running"].includes(state);

const inOrder = (threads: readonly Thread[]): Thread[] => [...threads].sort((a, b) => b.updated - a.updated);
