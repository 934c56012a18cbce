// All sessions: their list, the one that is shown, and a few others that stay in memory because they were just shown or are
// still being answered. The rest is on the shelf.

import { type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { EngineKind, Thread } from "../model";
import type { SearchHit, Sessions } from "./api";
import { leaveBehind, takeUp } from "./journal";
import { read, write } from "./settings";
import { MemoryShelf, openShelf, type Shelf, type Writing } from "./shelf";
import type { Message } from "./tabs";
import { type Around, ThreadStore } from "./threads";

const IN_MEMORY = 5;
const CURRENT = "hadesgw.current";
const DRAFT = "hadesgw.draft.";
const NEW = "new";
const KEEP_DRAFT_MS = 300;
const MOST_HITS = 50;
/** So long a session may take to come from a tab that does not show it. */
const PATIENCE_MS = 300;
/** What other tabs change is read again at most so often. */
const REREAD_MS = 200;

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
  /** What gives each session that this tab has, or waits for, to the others. */
  readonly #claims = new Map<string, () => void>();
  readonly #changedElsewhere = new Set<string>();
  #cancelReread: (() => void) | null = null;
  readonly #deafen: () => void;
  #shelf: Shelf = new MemoryShelf();
  #writing: Promise<void> = Promise.resolve();
  /** What was given to the shelf and is not there yet, in order: a database drops what it has not begun when a page goes. */
  readonly #underway = new Set<Writing>();
  readonly #engine: () => EngineKind;

  /** @param engine what new sessions speak. */
  constructor(around: Surround, engine: () => EngineKind) {
    this.#engine = engine;
    this.#around = {
      ...around,
      shelf: () => this.#shelf,
      listed: (thread) => this.#listed(thread),
      kept: (rows, writing, thread, told) => this.#kept(rows, writing, thread, told),
      drafts: { read: (id) => this.#readDraft(id), write: (id, text) => this.#writeDraft(id, text) },
    };
    this.#deafen = around.surroundings.tabs.hear((message) => this.#heard(message));
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
    void this.#claim(thread.id);
    return this.#show(thread);
  }

  async open(id: string): Promise<ThreadStore | null> {
    const thread = await this.#get(id);
    return thread && this.#show(thread);
  }

  rename(id: string, title: string): Promise<boolean> {
    return this.#change(id, (thread) => thread.rename(title));
  }

  archive(id: string, archived: boolean): Promise<boolean> {
    return this.#change(id, (thread) => thread.archive(archived));
  }

  async remove(id: string): Promise<boolean> {
    if (!(await this.#change(id, (thread) => thread.close()))) return false;
    this.#open.delete(id);
    await this.#shelf.remove(id).catch(() => undefined);
    this.#list.value = this.#list.value.filter((thread) => thread.id !== id);
    this.#writeDraft(id, "");
    if (this.#current.value?.id === id) this.create();
    this.#release(id);
    this.#tell(id);
    return true;
  }

  async #change(id: string, change: (thread: ThreadStore) => void): Promise<boolean> {
    const thread = await this.#get(id);
    if (!thread || thread.elsewhere.value) return false;
    change(thread);
    await this.#writing;
    return true;
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
    if (!this.#list.value.some((thread) => thread.id === id)) return null;
    await this.#writing;
    const isMine = await this.#claim(id);
    const thread = await this.#load(id, isMine);
    if (!thread) return null;
    this.#open.set(id, thread);
    this.#forgetSome();
    return thread;
  }

  /** A session as it is on the shelf now. */
  async #load(id: string, isMine: boolean): Promise<ThreadStore | null> {
    const rows = await this.#shelf.threads().catch(() => []);
    const row = [...rows, ...this.#list.value].find((thread) => thread.id === id);
    if (!row) return null;
    const thread = new ThreadStore(row, this.#around);
    thread.elsewhere.value = !isMine;
    await thread.load();
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
    for (const thread of this.#open.values()) {
      if (this.#open.size <= IN_MEMORY) return;
      const isWanted = thread === this.#current.value || thread.busy.value || thread.countdown.value !== null;
      if (isWanted) continue;
      this.#drop(thread);
    }
  }

  #drop(thread: ThreadStore): void {
    thread.close();
    this.#open.delete(thread.id);
    this.#release(thread.id);
  }

  // -------------------------------------------------------------------------------------------------- other tabs

  /** Whether a session is this tab's to change. If not, it becomes so when the other has given it up. */
  #claim(id: string): Promise<boolean> {
    const { tabs, clock } = this.#around.surroundings;
    return new Promise((resolve) => {
      const told = (mine: boolean): void => {
        if (mine) {
          resolve(true);
          if (this.#open.get(id)?.elsewhere.value) void this.#readAgain([id], id);
          return;
        }
        tabs.tell({ kind: "wanted", thread: id, insist: false });
        clock.after(PATIENCE_MS, () => resolve(false));
      };
      this.#claims.get(id)?.();
      this.#claims.set(id, tabs.claim(id, told));
    });
  }

  #release(id: string): void {
    this.#claims.get(id)?.();
    this.#claims.delete(id);
  }

  take(id: string): void {
    this.#around.surroundings.tabs.tell({ kind: "wanted", thread: id, insist: true });
  }

  #tell(thread: string): void {
    this.#around.surroundings.tabs.tell({ kind: "changed", thread });
  }

  #heard(message: Message): void {
    if (message.kind === "wanted") void this.#give(message.thread, message.insist);
    else {
      this.#changedElsewhere.add(message.thread);
      this.#cancelReread ??= this.#around.surroundings.clock.after(REREAD_MS, () => {
        const changed = [...this.#changedElsewhere];
        this.#changedElsewhere.clear();
        this.#cancelReread = null;
        void this.#readAgain(changed, null);
      });
    }
  }

  /** Lets another tab have it, unless an answer is under way here. */
  async #give(id: string, insist: boolean): Promise<void> {
    const thread = this.#open.get(id);
    const isShown = thread === this.#current.value;
    if (!thread || thread.elsewhere.value || thread.busy.value || (isShown && !insist)) return;
    thread.cancelCountdown();
    thread.elsewhere.value = true;
    this.#flushDrafts();
    await this.#writing;
    if (isShown) {
      this.#release(id);
      void this.#claim(id);
    } else this.#drop(thread);
  }

  /** Takes in what other tabs have written. @param mine the session that has just become this tab's. */
  async #readAgain(ids: readonly string[], mine: string | null): Promise<void> {
    const rows = await this.#shelf.threads().catch(() => null);
    if (!rows) return;
    this.#flushDrafts();
    const isNew = ({ id, busy, elsewhere }: ThreadStore): boolean => elsewhere.value || (ids.includes(id) && !busy.value);
    const own = [...this.#open.values()].filter((thread) => !isNew(thread)).map(({ thread }) => thread.value);
    const isOwn = new Set(own.map(({ id }) => id));
    const listed = new Set(this.#list.value.map(({ id }) => id));
    this.#list.value = inOrder([...own.filter(({ id }) => listed.has(id)), ...rows.filter(({ id }) => !isOwn.has(id))]);
    for (const id of ids) {
      const old = this.#open.get(id);
      if (!old || !isNew(old)) continue;
      // Without locks it may be this tab's as well as the other's.
      const fresh = await this.#load(id, id === mine || !old.elsewhere.value).catch(() => undefined);
      if (fresh === undefined || this.#open.get(id) !== old || !isNew(old)) continue;
      const isShown = this.#current.value === old;
      if (fresh) {
        old.close();
        this.#open.set(id, fresh);
        if (isShown) this.#current.value = fresh;
      } else {
        this.#drop(old);
        if (isShown) this.create();
      }
    }
  }

  #listed(thread: Thread): void {
    this.#list.value = inOrder([thread, ...this.#list.value.filter((other) => other.id !== thread.id)]);
  }

  #kept(rows: Writing, writing: Promise<void>, thread: string, told: boolean): void {
    this.#underway.add(rows);
    const written = (): void => {
      this.#underway.delete(rows);
      if (told) this.#tell(thread);
    };
    const failed = (): void => {
      this.#underway.delete(rows);
      this.#durable.value = false;
    };
    const noted = writing.then(written, failed);
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
    leaveBehind(this.#around.surroundings.tab, [...this.#underway, ...unkept]);
  }

  async close(): Promise<void> {
    this.#flushDrafts();
    this.#cancelReread?.();
    for (const thread of this.#open.values()) thread.close();
    await this.#writing;
    for (const id of [...this.#claims.keys()]) this.#release(id);
    this.#deafen();
    this.#shelf.close();
  }
}

const isLive = (state: Thread["state"]): boolean => ["connecting", "queued", "streaming", "running"].includes(state);

const inOrder = (threads: readonly Thread[]): Thread[] => [...threads].sort((a, b) => b.updated - a.updated);
