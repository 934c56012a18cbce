// A session: a tree of turns of which one branch is shown, and what can be done with it. Whatever is asked for anew or
// edited becomes a sibling; nothing that was shown goes away.

import { computed, effect, type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type {
  AgentMessage,
  Attempt,
  Countdown,
  Failure,
  Header,
  Item,
  Received,
  SentRequest,
  Settings,
  Thread,
  Turn,
  TurnState,
  Usage,
} from "../model";
import type { ThreadView } from "./api";
import { AttemptStore, chunksOf, freshAttempt } from "./attempts";
import { Bodies } from "./bodies";
import { exchange, type Sink } from "./exchange";
import { memoryError, memoryWords } from "./memory";
import type { Painter } from "./painter";
import { type Asked, offeredTools, pathOf, requestBody } from "./requests";
import { Run } from "./run";
import type { Shelf, Writing } from "./shelf";
import type { Surroundings } from "./surroundings";
import { isRunning, TurnStore } from "./turns";

/** What a thread needs of the engine around it. */
export interface Around {
  readonly surroundings: Surroundings;
  readonly painter: Painter;
  readonly shelf: () => Shelf;
  readonly settings: () => Settings;
  readonly gateway: () => string;
  readonly headerNames: () => { readonly requestId: string; readonly sessionId: string };
  readonly authorization: () => string | null;
  readonly defaultModel: () => string;
  readonly bodyLimit: (path: string) => number | null;
  /** The row of the list has changed. */
  readonly listed: (thread: Thread) => void;
  /** An exchange failed; the connection may be to blame. */
  readonly failed: (failure: Failure) => void;
  /** `told`: there is something in it that a list or a transcript shows. */
  readonly kept: (rows: Writing, writing: Promise<void>, thread: string, told: boolean) => void;
  /** Names and numbers only. */
  readonly telemetry: (line: string) => void;
  readonly drafts: { read(thread: string): string; write(thread: string, text: string): void };
}

/** While an answer comes in, what is new of it is kept so often. */
const KEEP_EVERY_MS = 250;
const MOST_RETRIES = 5;
/** Exchanges of which everything stays in memory; what is older is read from the shelf when it is looked at. */
const FRESH = 8;
const LONGEST_TITLE = 80;

interface Running {
  readonly turn: TurnStore;
  readonly run: Run;
  readonly abort: AbortController;
  readonly since: number;
  /** Rows as they were when it began and when its head came. */
  rows: Writing;
  cancelKeeping: (() => void) | null;
}

export class ThreadStore implements ThreadView {
  readonly id: string;
  readonly draft: Signal<string>;
  /** Set by whoever knows of the other tabs. */
  readonly elsewhere = signal(false);
  readonly #around: Around;
  readonly #thread: Signal<Thread>;
  readonly #turns: Signal<readonly TurnStore[]> = signal([]);
  readonly #busy = signal(false);
  readonly #countdown: Signal<Countdown | null> = signal(null);
  readonly #all = new Map<string, TurnStore>();
  readonly #attempts = new Map<string, AttemptStore>();
  readonly usage: ReadonlySignal<Usage | null>;
  /** Bytes of the next request if its prompt were empty. */
  readonly #emptyBytes: ReadonlySignal<number>;
  readonly #bodies: Bodies;
  /** Attempts of this page that are wholly in memory, and whether all of them are on the shelf too. */
  #fresh: AttemptStore[] = [];
  #allKept = true;
  #running: Running | null = null;
  #cancelCountdown: (() => void) | null = null;
  #retries = 0;
  readonly #endDraft: () => void;

  constructor(thread: Thread, around: Around) {
    this.id = thread.id;
    this.#around = around;
    this.#bodies = new Bodies(thread.id);
    this.#thread = signal(thread);
    this.draft = signal(around.drafts.read(thread.id));
    const earlier = computed(() => this.#earlierUsage());
    this.usage = computed(() => {
      const attempts = this.#turns.value.at(-1)?.attempts.value ?? [];
      return usageIn(attempts.map(({ attempt }) => attempt.value)) ?? earlier.value;
    });
    this.#emptyBytes = computed(() => this.#measureEmpty());
    let first = true;
    this.#endDraft = effect(() => {
      const text = this.draft.value;
      if (!first) around.drafts.write(this.id, text);
      first = false;
    });
  }

  get thread(): ReadonlySignal<Thread> {
    return this.#thread;
  }

  get turns(): ReadonlySignal<readonly TurnStore[]> {
    return this.#turns;
  }

  get busy(): ReadonlySignal<boolean> {
    return this.#busy;
  }

  get countdown(): ReadonlySignal<Countdown | null> {
    return this.#countdown;
  }

  // ------------------------------------------------------------------------------------------------ what is kept

  /** Takes in what was kept. Exchanges that were under way are over: their bytes are read again, and end as a cut. */
  async load(): Promise<void> {
    const shelf = this.#around.shelf();
    const { turns, attempts } = await shelf.thread(this.id);
    for (const attempt of attempts) this.#attempts.set(attempt.id, new AttemptStore(attempt, shelf));
    turns.sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
    for (const turn of turns) {
      this.#take(turn);
      // What runs in another tab goes on there.
      if (isRunning(turn.state) && !this.elsewhere.value) await this.#revive(this.#all.get(turn.id)!);
    }
    this.#relate();
    this.#showBranch();
  }

  #take(turn: Turn): TurnStore {
    const attempts = turn.attempts.map((id) => this.#attempts.get(id)).filter((attempt) => attempt !== undefined);
    const store = new TurnStore(turn, attempts);
    this.#all.set(turn.id, store);
    return store;
  }

  async #revive(turn: TurnStore): Promise<void> {
    const attempt = turn.attempts.value.at(-1);
    if (!attempt || attempt.now.outcome.kind !== "running") {
      turn.now = { kind: "stopped", received: { deltas: 0, characters: 0, tokens: null } };
      turn.publish();
      return;
    }
    const rows = await this.#around.shelf().chunks(attempt.id);
    const run = this.#runOf(turn, attempt, null);
    for (const { bytes, atMs } of chunksOf(rows)) run.bytes(bytes, atMs);
    run.abandoned(attempt.now.timings.lastDeltaMs ?? 0);
    turn.publish();
    attempt.publish();
  }

  /** Everything that is not on the shelf yet, for a page that is being left in mid-answer. */
  unkept(): Writing | null {
    const running = this.#running;
    if (!running) return null;
    const row = running.run.chunks.peek();
    return { ...running.rows, ...(row ? { chunks: [row] } : {}) };
  }

  /** Puts on the shelf what is new of a running answer. */
  keepNow(): void {
    if (this.#running) this.#keep({ chunks: this.#running.run.chunks.take() });
  }

  /** Stops timers and exchanges; what came in by now is kept. */
  close(): void {
    this.stop();
    this.cancelCountdown();
    this.#endDraft();
  }

  // ------------------------------------------------------------------------------------------------------- acting

  /** Nothing can be changed now. */
  get #isFixed(): boolean {
    return this.#busy.value || this.elsewhere.value;
  }

  measure(prompt: string): { readonly bytes: number; readonly limit: number | null } {
    const bytes = this.#emptyBytes.value + utf8Length(JSON.stringify(prompt)) - 2;
    return { bytes, limit: this.#around.bodyLimit(pathOf(this.#protocol)) };
  }

  /** What was said before the last turn. Only the last one is being written, so that the others need no listening to. */
  #earlierUsage(): Usage | null {
    const turns = this.#turns.value;
    void this.#busy.value;
    for (let at = turns.length - 2; at >= 0; at -= 1) {
      const usage = usageIn(turns[at]!.attempts.peek().map(({ now }) => now));
      if (usage) return usage;
    }
    return null;
  }

  #measureEmpty(): number {
    const turns = this.#turns.value;
    // What is said in the last turn counts from its end on; while it is written nobody can send.
    void turns.at(-1)?.state.value;
    void turns.at(-1)?.items.value;
    const empty: Item = { kind: "userMessage", id: "", attempt: null, created: 0, text: "" };
    const next = { items: [empty], state: { kind: "connecting", since: 0 } } as const;
    const asked = this.#asked([...turns.map((turn) => turn.snapshot()), next], false);
    return utf8Length(JSON.stringify(requestBody(asked)));
  }

  send(prompt: string): void {
    if (this.#isFixed || prompt.trim() === "") return;
    this.draft.value = "";
    this.#begin(this.#newTurn(prompt, this.#turns.value.at(-1)?.id ?? null, null), null);
  }

  stop(): void {
    this.cancelCountdown();
    const running = this.#running;
    if (!running) return;
    running.run.stop(this.#around.surroundings.clock.elapsed() - running.since);
    running.abort.abort();
  }

  retry(id: string): void {
    const turn = this.#all.get(id);
    if (!turn || this.#isFixed) return;
    this.#retries = 0;
    this.#retryNow(turn);
  }

  edit(id: string, prompt: string): void {
    const turn = this.#all.get(id);
    if (!turn || this.#isFixed || prompt.trim() === "") return;
    this.#begin(this.#newTurn(prompt, turn.parent, turn.id), null);
  }

  canProceed(id: string): boolean {
    const turn = this.#turns.value.at(-1);
    if (turn?.id !== id || this.#isFixed) return false;
    const state = turn.state.value;
    const isPartial =
      state.kind === "cut" || state.kind === "stopped" || (state.kind === "done" && state.finish === "length");
    return isPartial && partialMessage(turn.list.values) !== null;
  }

  proceed(id: string): void {
    if (!this.canProceed(id)) return;
    const turn = this.#all.get(id)!;
    this.#run(turn, { retries: null, continues: turn.attempts.value.at(-1)?.id ?? null });
  }

  show(id: string): void {
    if (!this.#all.has(id)) return;
    this.#change({ tip: this.#newestBelow(id) });
    this.#showBranch();
    this.#keep({ threads: [this.#thread.value] });
  }

  answer(id: string, text: string, failed = false): void {
    const turn = this.#turns.value.find((one) => one.list.values.some((item) => item.id === id));
    const index = turn?.list.values.findIndex((item) => item.id === id) ?? -1;
    const item = turn?.list.values[index];
    if (!turn || item?.kind !== "toolCall" || item.result || this.#isFixed) return;
    turn.list.patch(index, { result: { text, at: this.#now(), by: "user", failed } });
    this.#findMemory(turn, text, item.id);
    const open = turn.openCalls().filter((call) => call.attempt === item.attempt);
    if (turn.now.kind === "tools") turn.now = { kind: "tools", waiting: open.map((call) => call.id) };
    turn.publish();
    this.#keep({ turns: [turn.snapshot()] });
    if (turn.now.kind === "tools" && open.length === 0) this.#run(turn, { retries: null, continues: null });
  }

  cancelCountdown(): void {
    this.#cancelCountdown?.();
    this.#cancelCountdown = null;
    this.#countdown.value = null;
  }

  useModel(model: string): void {
    if (this.elsewhere.value) return;
    this.#change({ model });
    if (this.#all.size > 0) this.#keep({ threads: [this.#thread.value] });
  }

  useEngine(engine: "chat" | "responses"): void {
    if (this.elsewhere.value) return;
    this.#change({ engine });
    if (this.#all.size > 0) this.#keep({ threads: [this.#thread.value] });
  }

  rename(title: string): void {
    const bare = title.trim().slice(0, LONGEST_TITLE);
    this.#change(
      bare ? { title: bare, named: true } : { title: titleOf(this.#turns.value[0]?.prompt ?? ""), named: false },
    );
    this.#keep({ threads: [this.#thread.value] });
  }

  archive(archived: boolean): void {
    this.#change({ archived });
    this.#keep({ threads: [this.#thread.value] });
  }

  /** Everything there is of it, for a record. */
  contents(): { thread: Thread; turns: Turn[]; attempts: AttemptStore[] } {
    return {
      thread: this.#thread.value,
      turns: [...this.#all.values()].map((turn) => turn.snapshot()),
      attempts: [...this.#attempts.values()],
    };
  }

  get isEmpty(): boolean {
    return this.#all.size === 0;
  }

  // ---------------------------------------------------------------------------------------------------- the tree

  #newTurn(
    prompt: string,
    parent: string | null,
    instead: string | null,
    taken: readonly Item[] = [],
    attempts: readonly string[] = [],
  ): Turn {
    const { surroundings } = this.#around;
    // Siblings are ordered by it, so that no two may have the same.
    const created = Math.max(this.#now(), ...[...this.#all.values()].map((turn) => turn.created + 1).slice(-1));
    const message: Item = { kind: "userMessage", id: surroundings.uuid(), attempt: null, created, text: prompt };
    return {
      id: surroundings.uuid(),
      thread: this.id,
      parent,
      instead,
      created,
      model: this.#model,
      state: { kind: "connecting", since: created },
      items: [message, ...taken],
      attempts: [...attempts],
      usage: null,
    };
  }

  #begin(row: Turn, retries: string | null): void {
    const turn = this.#take(row);
    if (row.items.length === 1) this.#findMemory(turn, turn.prompt, row.items[0]!.id);
    this.#relate();
    const thread = this.#thread.value;
    this.#change({
      tip: turn.id,
      turns: this.#all.size,
      ...(thread.named || thread.title ? {} : { title: titleOf(turn.prompt) }),
    });
    this.#showBranch();
    this.#run(turn, { retries, continues: null });
  }

  /** Asks anew: in the turn itself if the last attempt brought nothing, else in a sibling. */
  #retryNow(turn: TurnStore): void {
    const last = turn.attempts.value.at(-1);
    const chain = this.#chainOf(last);
    const brought = turn.list.values.some((item) => item.attempt !== null && chain.has(item.attempt));
    if (last && !brought && this.#turns.value.at(-1) === turn) {
      this.#run(turn, { retries: last.id, continues: null });
      return;
    }
    // A whole answer is asked for from the beginning; of a loop that was cut, the steps that were done stay.
    const whole = turn.now.kind === "done" || turn.now.kind === "tools";
    const earlier = whole ? [] : turn.list.values.filter((item) => item.attempt !== null && !chain.has(item.attempt));
    const taken = earlier.map((item) => ({ ...item, id: this.#around.surroundings.uuid() }));
    const attempts = turn.attempts.value
      .map(({ id }) => id)
      .filter((id) => earlier.some((item) => item.attempt === id));
    this.#begin(this.#newTurn(turn.prompt, turn.parent, turn.id, taken, attempts), last?.id ?? null);
  }

  /** An attempt and those whose answer it goes on with. */
  #chainOf(attempt: AttemptStore | undefined): ReadonlySet<string> {
    const chain = new Set<string>();
    let one = attempt;
    while (one && !chain.has(one.id)) {
      chain.add(one.id);
      one = this.#attempts.get(one.now.continues ?? "");
    }
    return chain;
  }

  #relate(): void {
    const families = new Map<string | null, TurnStore[]>();
    for (const turn of this.#all.values()) families.set(turn.parent, [...(families.get(turn.parent) ?? []), turn]);
    for (const family of families.values()) {
      const ids = family.sort((a, b) => a.created - b.created).map(({ id }) => id);
      for (const turn of family) if (turn.siblings.value.ids.length !== ids.length) turn.setSiblings(ids);
    }
  }

  #newestBelow(id: string): string {
    let newest = id;
    for (const turn of this.#all.values()) if (turn.parent === newest) newest = turn.id;
    return newest;
  }

  #showBranch(): void {
    const branch: TurnStore[] = [];
    const seen = new Set<string>();
    let turn = this.#all.get(this.#thread.value.tip ?? "") ?? [...this.#all.values()].at(-1);
    while (turn && !seen.has(turn.id)) {
      seen.add(turn.id);
      branch.push(turn);
      turn = turn.parent === null ? undefined : this.#all.get(turn.parent);
    }
    this.#turns.value = branch.reverse();
    this.#listState();
  }

  // ------------------------------------------------------------------------------------------------- an exchange

  get #protocol(): "chat" | "responses" {
    return this.#thread.value.engine === "responses" ? "responses" : "chat";
  }

  get #model(): string {
    return this.#thread.value.model || this.#around.defaultModel();
  }

  #now(): number {
    return this.#around.surroundings.clock.now();
  }

  #asked(turns: Asked["turns"], continues: boolean): Asked {
    return { protocol: this.#protocol, model: this.#model, settings: this.#around.settings(), turns, continues };
  }

  #run(turn: TurnStore, how: { retries: string | null; continues: string | null }): void {
    this.cancelCountdown();
    const { surroundings } = this.#around;
    const { attempt, sent } = this.#newAttempt(turn, how);
    const { id, request } = attempt.now;
    const before = turn.now;
    this.#attempts.set(id, attempt);
    turn.addAttempt(attempt);
    turn.now = { kind: "connecting", since: this.#now() };
    const run = this.#runOf(turn, attempt, before);
    const abort = new AbortController();
    this.#running = { turn, run, abort, since: surroundings.clock.elapsed(), rows: {}, cancelKeeping: null };
    this.#busy.value = true;
    turn.publish();
    this.#change({ updated: this.#now() });
    this.#listState();
    this.#keepRows({ requests: [this.#bodies.row(id, request.body)] });
    this.#forgetSome(attempt);
    const outgoing = { url: request.url, headers: sent, body: request.body, signal: abort.signal };
    const elapsed = (): number => surroundings.clock.elapsed();
    void exchange((url, init) => surroundings.fetch(url, init), elapsed, outgoing, this.#watched(run));
  }

  #forgetSome(attempt: AttemptStore): void {
    this.#fresh.push(attempt);
    const shelf = this.#around.shelf();
    if (!this.#allKept || !shelf.durable) return;
    for (const old of this.#fresh.splice(0, Math.max(0, this.#fresh.length - FRESH))) old.forget(shelf);
  }

  /** What is to be sent for a turn; `sent` are the headers with the key, which the attempt does not have. */
  #newAttempt(
    turn: TurnStore,
    how: { retries: string | null; continues: string | null },
  ): { attempt: AttemptStore; sent: Header[] } {
    const { surroundings, authorization, gateway, headerNames } = this.#around;
    const branch = this.#turns.value.slice(0, this.#turns.value.indexOf(turn) + 1).map((one) => one.snapshot());
    const asked = this.#asked(branch, how.continues !== null);
    const id = surroundings.uuid();
    const names = headerNames();
    const ids: Header[] = [
      [names.requestId, id],
      [names.sessionId, this.#thread.value.sessionId],
    ];
    const accept = asked.settings.stream ? "text/event-stream" : "application/json";
    const plain: Header[] = [["Content-Type", "application/json"], ["Accept", accept], ...ids];
    const key = authorization();
    const request: SentRequest = {
      at: this.#now(),
      method: "POST",
      url: gateway() + pathOf(asked.protocol),
      headers: key === null ? plain : [...plain, ["Authorization", "Bearer $HADES_KEY"]],
      body: JSON.stringify(requestBody(asked)),
    };
    const beginning = { id, thread: this.id, turn: turn.id, protocol: asked.protocol, ...how, request };
    return {
      attempt: new AttemptStore(freshAttempt(beginning, ids), null),
      sent: key === null ? plain : [...plain, ["Authorization", key]],
    };
  }

  #runOf(turn: TurnStore, attempt: AttemptStore, before: TurnState | null): Run {
    const { surroundings, settings, authorization, bodyLimit } = this.#around;
    const goesOn = attempt.now.continues !== null;
    const names = new Set(attempt.now.echo.map((echo) => echo.header));
    return new Run({
      turn,
      attempt,
      ids: attempt.now.request.headers.filter(([name]) => names.has(name)),
      hadKey: authorization() !== null,
      bodyLimit: bodyLimit(pathOf(attempt.now.protocol)),
      before: goesOn
        ? receivedBefore(before ?? turn.now, turn.list.values, this.#attempts.get(attempt.now.continues!))
        : null,
      online: () => surroundings.online(),
      now: () => this.#now(),
      changed: () => {
        this.#listState();
        this.#around.painter.request(turn);
        this.#around.painter.request(attempt);
      },
      over: (failure) => this.#over(turn, attempt, failure),
      answer: {
        attempt: attempt.id,
        streamed: settings().stream,
        offered: offeredTools(settings()),
        memoryTools: settings().memoryTools,
        continues: goesOn ? (partialMessage(turn.list.values)?.id ?? null) : null,
        now: () => this.#now(),
        newId: () => surroundings.uuid(),
      },
    });
  }

  /** The run, and besides it what is kept at its steps. */
  #watched(run: Run): Sink {
    return {
      head: (status, statusText, headers, atMs) => {
        run.head(status, statusText, headers, atMs);
        if (this.#running?.run === run) this.#keepRows({});
      },
      bytes: (bytes, atMs) => {
        run.bytes(bytes, atMs);
        this.#keepSoon(run);
      },
      ended: (atMs) => run.ended(atMs),
      broken: (atMs) => run.broken(atMs),
    };
  }

  #keepSoon(run: Run): void {
    const running = this.#running;
    if (running?.run !== run || running.cancelKeeping) return;
    running.cancelKeeping = this.#around.surroundings.clock.after(KEEP_EVERY_MS, () => {
      running.cancelKeeping = null;
      this.#keep({ chunks: run.chunks.take() });
    });
  }

  #keepRows(more: Writing): void {
    const { turn } = this.#running!;
    const attempts = turn.attempts.value.map((attempt) => withoutBody(attempt.now));
    // The items are those from before the attempt: what it brought is read from its bytes again.
    const base = this.#running!.rows.turns?.[0] ?? turn.snapshot();
    this.#running!.rows = { threads: [this.#thread.value], turns: [base], attempts };
    this.#keep({ ...this.#running!.rows, ...more });
  }

  #over(turn: TurnStore, attempt: AttemptStore, failure: Failure | null): void {
    const running = this.#running;
    if (running?.turn !== turn) return;
    running.cancelKeeping?.();
    this.#running = null;
    this.#busy.value = false;
    this.#around.painter.request(turn);
    this.#around.painter.request(attempt);
    this.#around.painter.flush();
    this.#change({ updated: this.#now() });
    this.#listState();
    this.#keep({
      threads: [this.#thread.value],
      turns: [turn.snapshot()],
      attempts: [withoutBody(attempt.now)],
      chunks: running.run.chunks.take(),
    });
    this.#around.telemetry(figures(turn.now, attempt.now));
    if (turn.now.kind === "done" || turn.now.kind === "tools") this.#retries = 0;
    if (failure) {
      this.#around.failed(failure);
      if (turn.now.kind === "failed") this.#countDown(turn, failure);
    }
  }

  #countDown(turn: TurnStore, failure: Failure): void {
    if (failure.kind !== "rateLimited" && failure.kind !== "server") return;
    const { clock } = this.#around.surroundings;
    const automatic = this.#around.settings().autoRetry && this.#retries < MOST_RETRIES;
    if (failure.until === null && !automatic) return;
    const now = clock.now();
    const asked = failure.until === null ? 1000 * 2 ** this.#retries : failure.until - now;
    // A little chance keeps many pages from coming back at the same moment.
    const wait = asked + this.#around.surroundings.random() * 250;
    this.#countdown.value = { turn: turn.id, until: now + wait, automatic };
    this.#cancelCountdown = clock.after(wait, () => {
      this.#cancelCountdown = null;
      this.#countdown.value = null;
      if (!automatic || this.#busy.value) return;
      this.#retries += 1;
      this.#retryNow(turn);
    });
  }

  // ------------------------------------------------------------------------------------------------------ keeping

  #change(fields: Partial<Thread>): void {
    this.#thread.value = { ...this.#thread.value, ...fields };
    if (this.#all.size > 0) this.#around.listed(this.#thread.value);
  }

  #listState(): void {
    const state = this.#turns.value.at(-1)?.now.kind ?? "empty";
    if (state !== this.#thread.value.state) this.#change({ state });
  }

  #keep(writing: Writing): void {
    const rows = Object.fromEntries(Object.entries(writing).filter(([, list]) => list.length > 0)) as Writing;
    if (Object.keys(rows).length === 0 || this.elsewhere.value) return;
    const kept = this.#around.shelf().write(rows);
    kept.catch(() => {
      this.#allKept = false;
    });
    this.#around.kept(rows, kept, this.id, "threads" in rows || "turns" in rows);
  }

  #findMemory(turn: TurnStore, text: string, source: string): void {
    const error = memoryError(text);
    for (const word of error ? [error] : memoryWords(text)) {
      const id = this.#around.surroundings.uuid();
      turn.list.add({ kind: "memory", id, attempt: null, created: this.#now(), source, ...word });
    }
    turn.publish();
  }
}

/** An attempt in names and numbers. */
function figures(state: TurnState, { response, timings }: Attempt): string {
  const { deltas, firstDeltaMs, endMs } = timings;
  return `${state.kind} status=${response?.status ?? 0} deltas=${deltas} first=${firstDeltaMs ?? -1} end=${endMs ?? -1}`;
}

const withoutBody = (attempt: Attempt): Attempt => ({ ...attempt, request: { ...attempt.request, body: "" } });

/** The last message of the model, if nothing that counts came after it: the one that can be gone on with. */
export function partialMessage(items: readonly Item[]): AgentMessage | null {
  const last = items.findLast(
    (item) =>
      (item.kind === "agentMessage" && item.choice === 0 && item.text !== "") ||
      (item.kind === "toolCall" && item.result !== null),
  );
  return last?.kind === "agentMessage" ? last : null;
}

/** What the last of them that said something said. */
const usageIn = (attempts: readonly Attempt[]): Usage | null => attempts.findLast(({ usage }) => usage)?.usage ?? null;

const utf8Length = (text: string): number => new TextEncoder().encode(text).length;

/** How much was there before it is gone on with. */
export function receivedBefore(state: TurnState, items: readonly Item[], attempt: AttemptStore | undefined): Received {
  if (state.kind === "cut" || state.kind === "stopped") return state.received;
  const characters = partialMessage(items)?.text.length ?? 0;
  return { deltas: attempt?.now.timings.deltas ?? 0, characters, tokens: attempt?.now.usage?.completion ?? null };
}

export function titleOf(prompt: string): string {
  const line = prompt.trim().split("\n", 1)[0] ?? "";
  return line.length > LONGEST_TITLE ? `${line.slice(0, LONGEST_TITLE - 1)}…` : line;
}
