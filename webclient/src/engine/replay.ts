// A record that is played: its bytes go through the readers they went through when they came, in the same order and at the
// same pace, or up to fifty times that. Pauses between exchanges, in which somebody thought or slept, are cut short.

import { type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { Item, Thread, ToolCall, Turn } from "../model";
import type { Replay } from "./api";
import { AttemptStore, freshAttempt, headerIn } from "./attempts";
import { fromBase64 } from "./journal";
import { fieldsOf, parsed } from "./json";
import { Painter, type Painting } from "./painter";
import type { RecordedAttempt, RecordedSession } from "./records";
import { Run } from "./run";
import type { Surroundings } from "./surroundings";
import { partialMessage, receivedBefore } from "./threads";
import { checkTools } from "./tools";
import { TurnStore } from "./turns";

const LONGEST_PAUSE_MS = 2_000;
const TICK_MS = 16;
const FASTEST = 50;

interface Step {
  readonly atMs: number;
  readonly act: () => void;
}

export class RecordReplay implements Replay {
  readonly redacted: boolean;
  readonly durationMs: number;
  readonly thread: ReadonlySignal<Thread>;
  readonly #turns: Signal<readonly TurnStore[]> = signal([]);
  readonly #position: Signal<number>;
  readonly #playing = signal(false);
  readonly #speed = signal(1);
  readonly #surroundings: Surroundings;
  readonly #painter: Painter;
  readonly #record: RecordedSession;
  readonly #branch: readonly Turn[];
  #steps: Step[] = [];
  #next = 0;
  #cancel: (() => void) | null = null;
  #ticked = 0;

  /** Begins at the end, where everything is to be seen. */
  constructor(record: RecordedSession, surroundings: Surroundings) {
    this.#record = record;
    this.#surroundings = surroundings;
    this.#painter = new Painter(surroundings.beforeFrame, () => surroundings.clock.elapsed());
    this.redacted = record.redacted;
    this.thread = signal(record.thread);
    this.#branch = branchOf(record);
    this.durationMs = this.#rewind();
    this.#position = signal(0);
    this.seek(this.durationMs);
  }

  get turns(): ReadonlySignal<readonly TurnStore[]> {
    return this.#turns;
  }

  get positionMs(): ReadonlySignal<number> {
    return this.#position;
  }

  get playing(): ReadonlySignal<boolean> {
    return this.#playing;
  }

  get speed(): ReadonlySignal<number> {
    return this.#speed;
  }

  play(): void {
    if (this.#playing.value) return;
    if (this.#position.value >= this.durationMs) this.seek(0);
    this.#playing.value = true;
    this.#ticked = this.#surroundings.clock.elapsed();
    this.#tick();
  }

  pause(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#playing.value = false;
  }

  setSpeed(speed: number): void {
    this.#speed.value = Math.min(FASTEST, Math.max(1, speed || 1));
  }

  seek(positionMs: number): void {
    const to = Math.min(this.durationMs, Math.max(0, positionMs || 0));
    if (to < this.#position.value) this.#rewind();
    this.#advance(to);
    this.#painter.flush();
  }

  close(): void {
    this.pause();
  }

  #tick(): void {
    this.#cancel = this.#surroundings.clock.after(TICK_MS, () => {
      const now = this.#surroundings.clock.elapsed();
      const to = this.#position.value + (now - this.#ticked) * this.#speed.value;
      this.#ticked = now;
      this.#advance(Math.min(to, this.durationMs));
      if (this.#position.value >= this.durationMs) this.pause();
      else this.#tick();
    });
  }

  #advance(to: number): void {
    while (this.#next < this.#steps.length && this.#steps[this.#next]!.atMs <= to) {
      this.#steps[this.#next]!.act();
      this.#next += 1;
    }
    this.#position.value = to;
  }

  // ---------------------------------------------------------------------------------------------------- the score

  /** Puts everything back to the beginning; returns how long it plays. */
  #rewind(): number {
    this.#turns.value = [];
    this.#steps = [];
    this.#next = 0;
    let atMs = 0;
    let last = Number.POSITIVE_INFINITY;
    for (const turn of this.#branch) {
      const own = this.#attemptsOf(turn);
      const began = own[0]?.request.at ?? turn.created;
      atMs += pause(last, began);
      last = began;
      const store = this.#begin(turn, atMs);
      for (const attempt of own) {
        atMs += pause(last, attempt.request.at);
        this.#play(attempt, turn, store, atMs, attempt === own.at(-1));
        atMs += attempt.endMs;
        last = attempt.request.at + attempt.endMs;
      }
    }
    return atMs;
  }

  #attemptsOf(turn: Turn): RecordedAttempt[] {
    return this.#record.attempts
      .filter((attempt) => attempt.turn === turn.id && turn.attempts.includes(attempt.id))
      .sort((a, b) => a.request.at - b.request.at);
  }

  /** What of a turn did not come by its own attempts is there from the start. */
  #begin(turn: Turn, atMs: number): { store: TurnStore | null } {
    const own = new Set(this.#attemptsOf(turn).map(({ id }) => id));
    const prompts = new Set(turn.items.filter((item) => item.kind === "userMessage").map(({ id }) => id));
    const given = turn.items.filter((item) => {
      if (item.attempt !== null) return !own.has(item.attempt);
      return item.kind !== "memory" || prompts.has(item.source ?? "");
    });
    const holder: { store: TurnStore | null } = { store: null };
    this.#step(atMs, () => {
      const state: Turn["state"] = own.size > 0 ? { kind: "connecting", since: turn.created } : turn.state;
      holder.store = new TurnStore({ ...turn, items: given, attempts: [], state }, []);
      this.#turns.value = [...this.#turns.value, holder.store];
    });
    return holder;
  }

  #play(
    recorded: RecordedAttempt,
    turn: Turn,
    holder: { store: TurnStore | null },
    startMs: number,
    isLast: boolean,
  ): void {
    let run: Run | null = null;
    this.#step(startMs, () => {
      this.#giveResults(turn, holder.store!, recorded);
      run = this.#start(recorded, holder.store!);
      const { response } = recorded;
      if (response) run.head(response.status, response.statusText, response.headers, 0);
    });
    for (const chunk of recorded.chunks) {
      this.#step(startMs + Math.min(chunk.at_ms, recorded.endMs), () =>
        run!.bytes(fromBase64(chunk.data)!, chunk.at_ms),
      );
    }
    this.#step(startMs + recorded.endMs, () => {
      end(run!, recorded);
      this.#restore(turn, holder.store!, recorded);
      if (isLast) this.#giveResults(turn, holder.store!, null);
    });
  }

  #step(atMs: number, act: () => void): void {
    this.#steps.push({ atMs, act });
  }

  #start(recorded: RecordedAttempt, turn: TurnStore): Run {
    const { id, protocol, retries, continues, request } = recorded;
    const { clock } = this.#surroundings;
    const ids = request.headers.filter(([name]) => recorded.ids.includes(name));
    const beginning = { id, thread: this.#record.thread.id, turn: turn.id, protocol, retries, continues, request };
    const attempt = new AttemptStore(freshAttempt(beginning, ids), null);
    const earlier = turn.attempts.value.at(-1);
    turn.addAttempt(attempt);
    const body = fieldsOf(parsed(request.body));
    const partial = continues === null ? null : partialMessage(turn.list.values);
    const painting = (one: Painting): void => this.#painter.request(one);
    const run = new Run({
      turn,
      attempt,
      ids,
      hadKey: headerIn(request.headers, "authorization") !== null,
      bodyLimit: null,
      before: partial && receivedBefore(turn.now, turn.list.values, earlier),
      online: () => true,
      now: () => clock.now(),
      changed: () => [turn, attempt].forEach(painting),
      over: () => [turn, attempt].forEach(painting),
      answer: {
        attempt: id,
        streamed: body?.stream === true,
        offered: checkTools(JSON.stringify(body?.tools ?? [])).tools,
        memoryTools: [],
        continues: partial?.id ?? null,
        now: () => clock.now(),
        newId: () => this.#surroundings.uuid(),
      },
    });
    painting(turn);
    return run;
  }

  /** Results by hand came between two attempts: those of earlier ones are given when the next begins, the last at the end. */
  #giveResults(turn: Turn, store: TurnStore, next: RecordedAttempt | null): void {
    for (const attempt of this.#attemptsOf(turn)) {
      if (attempt.id === next?.id) return;
      const written = callsOf(turn.items, attempt.id);
      callsOf(store.list.values, attempt.id).forEach((call, index) => {
        const result = written[index]?.result;
        if (!result || call.result) return;
        store.list.patch<ToolCall>(store.list.values.indexOf(call), { result });
        for (const item of turn.items) {
          if (item.kind === "memory" && item.attempt === null && item.source === written[index]!.id)
            store.list.add({ ...item, source: call.id });
        }
      });
    }
    if (store.now.kind === "tools") store.now = { kind: "tools", waiting: store.openCalls().map(({ id }) => id) };
    this.#painter.request(store);
  }

  /** What was seen when it came and cannot be seen in masked bytes: marks of calls, and what texts had in them. */
  #restore(turn: Turn, store: TurnStore, recorded: RecordedAttempt): void {
    const written = callsOf(turn.items, recorded.id);
    callsOf(store.list.values, recorded.id).forEach((call, index) => {
      const flags = written[index]?.flags;
      if (flags) store.list.patch<ToolCall>(store.list.values.indexOf(call), { flags });
    });
    if (!this.redacted) return;
    for (const kind of ["memory", "plan", "diff"] as const) {
      const isOne = (item: Item): boolean => item.kind === kind && item.attempt === recorded.id;
      const there = store.list.values.filter(isOne).length;
      for (const item of turn.items.filter(isOne).slice(there)) store.list.add(item);
    }
  }
}

const callsOf = (items: readonly Item[], attempt: string): ToolCall[] =>
  items.filter((item): item is ToolCall => item.kind === "toolCall" && item.attempt === attempt);

function end(run: Run, { outcome, endMs }: RecordedAttempt): void {
  if (outcome.kind === "whole") run.ended(endMs);
  else if (outcome.kind === "failed") run.fail(outcome.failure, endMs);
  else if (outcome.kind === "stopped") run.stop(endMs);
  else run.abandoned(endMs);
}

/** Time between two moments, as it is played. */
const pause = (from: number, to: number): number => Math.min(LONGEST_PAUSE_MS, Math.max(0, to - from)) || 0;

/** The turns of the shown branch, from the beginning. */
function branchOf(record: RecordedSession): Turn[] {
  const all = new Map(record.turns.map((turn) => [turn.id, turn]));
  const branch: Turn[] = [];
  let turn = all.get(record.thread.tip ?? "") ?? record.turns.at(-1);
  while (turn && !branch.includes(turn)) {
    branch.unshift(turn);
    turn = turn.parent === null ? undefined : all.get(turn.parent);
  }
  return branch;
}
