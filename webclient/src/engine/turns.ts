// A turn: what the user said, what came of it, and how it stands.

import { type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { Item, ToolCall, Turn, TurnState, Usage } from "../model";
import { ItemList } from "./answer";
import type { ItemView, TurnView } from "./api";
import type { AttemptStore } from "./attempts";

class ItemStore implements ItemView {
  readonly id: string;
  readonly kind: Item["kind"];
  readonly #item: Signal<Item>;

  constructor(item: Item) {
    this.id = item.id;
    this.kind = item.kind;
    this.#item = signal(item);
  }

  get item(): ReadonlySignal<Item> {
    return this.#item;
  }

  set(item: Item): void {
    this.#item.value = item;
  }
}

export class TurnStore implements TurnView {
  readonly id: string;
  readonly parent: string | null;
  readonly instead: string | null;
  readonly created: number;
  readonly model: string;
  readonly thread: string;
  /** Present values; signals have those last published. */
  readonly list = new ItemList();
  now: TurnState;
  readonly #usage: Signal<Usage | null>;
  readonly #state: Signal<TurnState>;
  readonly #items: Signal<readonly ItemView[]> = signal([]);
  readonly #attempts: Signal<readonly AttemptStore[]>;
  readonly #siblings: Signal<{ readonly ids: readonly string[]; readonly place: number }>;
  #views: ItemStore[] = [];
  usageNow: Usage | null;

  constructor(turn: Turn, attempts: readonly AttemptStore[]) {
    this.id = turn.id;
    this.parent = turn.parent;
    this.instead = turn.instead;
    this.created = turn.created;
    this.model = turn.model;
    this.thread = turn.thread;
    this.now = turn.state;
    this.usageNow = turn.usage;
    this.#usage = signal(turn.usage);
    this.#state = signal(turn.state);
    this.#attempts = signal(attempts);
    this.#siblings = signal({ ids: [turn.id], place: 0 });
    for (const item of turn.items) this.list.add(item);
    this.publish();
  }

  get state(): ReadonlySignal<TurnState> {
    return this.#state;
  }

  get usage(): ReadonlySignal<Usage | null> {
    return this.#usage;
  }

  get items(): ReadonlySignal<readonly ItemView[]> {
    return this.#items;
  }

  get attempts(): ReadonlySignal<readonly AttemptStore[]> {
    return this.#attempts;
  }

  get siblings(): ReadonlySignal<{ readonly ids: readonly string[]; readonly place: number }> {
    return this.#siblings;
  }

  get prompt(): string {
    return this.list.values.find((item) => item.kind === "userMessage")?.text ?? "";
  }

  addAttempt(attempt: AttemptStore): void {
    this.#attempts.value = [...this.#attempts.value, attempt];
  }

  setSiblings(ids: readonly string[]): void {
    this.#siblings.value = { ids, place: ids.indexOf(this.id) };
  }

  /** Calls of the first choice that have no result. */
  openCalls(): ToolCall[] {
    return this.list.values.filter(
      (item): item is ToolCall => item.kind === "toolCall" && item.choice === 0 && item.result === null,
    );
  }

  publish(): void {
    const { values, touched } = this.list;
    const known = this.#views.length;
    for (const index of touched) this.#views[index]?.set(values[index]!);
    for (let index = known; index < values.length; index += 1) this.#views.push(new ItemStore(values[index]!));
    if (known < values.length) this.#items.value = [...this.#views];
    touched.clear();
    this.#state.value = this.now;
    this.#usage.value = this.usageNow;
  }

  /** As it is kept. */
  snapshot(): Turn {
    return {
      id: this.id,
      thread: this.thread,
      parent: this.parent,
      instead: this.instead,
      created: this.created,
      model: this.model,
      state: this.now,
      items: [...this.list.values],
      attempts: this.#attempts.value.map(({ id }) => id),
      usage: this.usageNow,
    };
  }
}

/** Whether an exchange is under way. */
export const isRunning = (state: TurnState): boolean =>
  state.kind === "connecting" || state.kind === "queued" || state.kind === "streaming" || state.kind === "running";
