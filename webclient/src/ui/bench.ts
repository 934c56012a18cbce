// What the page itself remembers while it is open: which panes are shown, what is focused, what is revealed. None of it
// is kept; after a reload payloads are masked again.

import { computed, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext, useMemo } from "preact/hooks";
import type { ComponentType } from "preact";
import type { AttemptView, CodingView, Engine, Replay, ThreadView, Transcript, TurnView } from "../engine";
import { keyed } from "./keyed";
import { t } from "./strings";

export type Tab = "request" | "stream" | "tools" | "memory" | "timings" | "raw";
export const tabs: readonly Tab[] = ["request", "stream", "tools", "memory", "timings", "raw"];

export type Dialog =
  | { readonly kind: "settings"; readonly section?: string }
  | { readonly kind: "palette" }
  | { readonly kind: "shortcuts" }
  | { readonly kind: "coding" }
  | { readonly kind: "remove" | "rename" | "export"; readonly thread: string };

export interface Place {
  readonly turn: string;
  readonly item: string;
}

/** A coding session that is shown, with the parts of the page that only coding sessions have; they come with it. */
export interface CodingShown {
  readonly view: CodingView;
  readonly Rows: ComponentType;
  readonly Composer: ComponentType;
  readonly Inspector: ComponentType;
}

export interface Bench {
  readonly engine: Engine;
  readonly sessions_open: Signal<boolean>;
  readonly inspector_open: Signal<boolean>;
  /** How many panes fit beside each other: 1, 2 or 3. */
  readonly room: Signal<1 | 2 | 3>;
  readonly tab: Signal<Tab>;
  readonly dialog: Signal<Dialog | null>;
  /** The one item of the transcript that is a tab stop. */
  readonly roving: Signal<string | null>;
  /** Whether it is this item. */
  readonly is_stop: (item: string) => ReadonlySignal<boolean>;
  /** The attempt that the inspector shows; null follows the last one. */
  readonly picked: Signal<string | null>;
  readonly revealed: Signal<ReadonlySet<string>>;
  readonly editing: Signal<string | null>;
  /** Whether this turn's prompt is being edited. */
  readonly is_edited: (turn: string) => ReadonlySignal<boolean>;
  readonly replay: Signal<Replay | null>;
  readonly coding: Signal<CodingShown | null>;
  /** One sentence for the status node; set at boundaries only. */
  readonly said: Signal<string>;
  /** A short word beside the pointer's last act: "copied", or why not. */
  readonly toast: Signal<string>;
  /** The thread that can be acted upon; null while a record or a coding session is shown. */
  readonly thread: ReadonlySignal<ThreadView | null>;
  /** What is shown: a record, a coding session, or the current thread. */
  readonly transcript: ReadonlySignal<Transcript | null>;
  /** The id of its thread; "" if nothing is shown. */
  readonly shown: ReadonlySignal<string>;
  readonly attempt: ReadonlySignal<{
    readonly turn: TurnView;
    readonly view: AttemptView;
    readonly place: number;
    readonly of: number;
  } | null>;
}

/** The attempt of that id, or the last one; null if there is none. An item may name one that is not on the shown branch. */
function attempt_in(turns: readonly TurnView[], id: string | null): Bench["attempt"]["value"] {
  for (let at = turns.length - 1; at >= 0; at -= 1) {
    const turn = turns[at]!;
    const views = turn.attempts.value;
    const place = id === null ? views.length - 1 : views.findIndex((view) => view.id === id);
    if (views[place]) return { turn, view: views[place], place, of: views.length };
  }
  return null;
}

export function new_bench(engine: Engine): Bench {
  const replay = signal<Replay | null>(null);
  const coding = signal<CodingShown | null>(null);
  const picked = signal<string | null>(null);
  const roving = signal<string | null>(null);
  const editing = signal<string | null>(null);
  const thread = computed(() => (replay.value || coding.value ? null : engine.sessions.current.value));
  const transcript = computed(() => replay.value ?? coding.value?.view ?? thread.value);
  const shown = computed(() => transcript.value?.thread.value.id ?? "");
  const attempt = computed(() => {
    const turns = transcript.value?.turns.value ?? [];
    return attempt_in(turns, picked.value) ?? attempt_in(turns, null);
  });
  return {
    engine,
    sessions_open: signal(true),
    inspector_open: signal(true),
    room: signal<1 | 2 | 3>(3),
    tab: signal<Tab>("request"),
    dialog: signal<Dialog | null>(null),
    roving,
    is_stop: keyed(roving),
    picked,
    revealed: signal<ReadonlySet<string>>(new Set()),
    editing,
    is_edited: keyed(editing),
    replay,
    coding,
    said: signal(""),
    toast: signal(""),
    thread,
    transcript,
    shown,
    attempt,
  };
}

const context = createContext<Bench | null>(null);
export const BenchProvider = context.Provider;

export function use_bench(): Bench {
  const bench = useContext(context);
  if (!bench) throw new Error("a component was painted outside of the bench");
  return bench;
}

// ---------------------------------------------------------------------------------------------------- what is masked

/** The key under which all payloads of the shown session are revealed at once. */
export const all_of = (bench: Bench): string => `all:${bench.shown.value}`;

/** Whether a payload may be painted and copied as it is. */
export function is_revealed(bench: Bench, id: string): boolean {
  const { revealed, engine } = bench;
  return !engine.settings.value.value.redaction || revealed.value.has(id) || revealed.value.has(all_of(bench));
}

/** The same for a component, which is painted anew when the answer changes and not with every other payload's. */
export function use_revealed(id: string): boolean {
  const bench = use_bench();
  return useMemo(() => computed(() => is_revealed(bench, id)), [bench, id]).value;
}

export function set_revealed(bench: Bench, id: string, shown: boolean): void {
  const next = new Set(bench.revealed.value);
  if (shown) next.add(id);
  else next.delete(id);
  bench.revealed.value = next;
}

// ------------------------------------------------------------------------------------------------------- small acts

/** Back to the threads of this browser: a record, or the view of a coding session, is closed. */
export function to_threads(bench: Bench): void {
  bench.replay.value?.close();
  bench.replay.value = null;
  bench.coding.value?.view.close();
  bench.coding.value = null;
  bench.picked.value = null;
}

/** Says so if another tab has the session that was to be changed. */
export async function tell_refusal(bench: Bench, changed: Promise<boolean>): Promise<void> {
  if (!(await changed)) bench.toast.value = t.elsewhere.refused;
}

export function inspect(bench: Bench, attempt: string | null, tab?: Tab): void {
  bench.picked.value = attempt;
  if (tab) bench.tab.value = tab;
  bench.inspector_open.value = true;
}

export async function copy(bench: Bench, text: string, words: { copied: string; failed: string }): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    bench.toast.value = words.copied;
  } catch {
    bench.toast.value = words.failed;
  }
}

/** Hands a file to the browser's downloads. Nothing leaves the machine. */
export function save_file(name: string, type: string, content: string | Uint8Array<ArrayBuffer>): void {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
