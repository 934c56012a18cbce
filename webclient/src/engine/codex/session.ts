// A coding session as this page watches it: one socket, which comes back by itself and goes on where it was.

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { PlanStep, Thread } from "../../model";
import { type Fields, fieldsOf, parsed, textIn } from "../json";
import type { Painter, Painting } from "../painter";
import type { Surroundings } from "../surroundings";
import type { TurnStore } from "../turns";
import type { Answer, CodingStanding, CodingTokens, CodingView, Link } from "./api";
import { Story } from "./story";

export interface CodingAround {
  readonly surroundings: Surroundings;
  readonly painter: Painter;
  readonly gateway: () => string;
  readonly authorization: () => string | null;
  readonly socket: (address: string, protocols: string[]) => WebSocket;
  readonly call: (method: "GET" | "POST", path: string, body?: unknown) => Promise<Answer<Fields>>;
  /** Nobody watches it any more. */
  readonly closed: () => void;
}

const FIRST_MS = 250;
const LONGEST_MS = 5_000;
const NOT_ADMITTED = 1008;

export class CodingSession implements CodingView, Painting {
  readonly id: string;
  readonly #around: CodingAround;
  readonly #story: Story;
  readonly #link: Signal<Link> = signal({ kind: "connecting" });
  readonly #standing: Signal<CodingStanding>;
  readonly #turns: Signal<readonly TurnStore[]> = signal([]);
  readonly #thread: Signal<Thread>;
  readonly #files: Signal<readonly string[]> = signal([]);
  readonly #plan: Signal<readonly PlanStep[]> = signal([]);
  readonly #diff = signal("");
  readonly #tokens: Signal<CodingTokens | null> = signal(null);
  readonly #waiting: Signal<readonly string[]> = signal([]);
  readonly #trimmed = signal(false);
  readonly #problem = signal("");
  /** The texts of `#unsaid`. */
  readonly #unheard: Signal<readonly string[]> = signal([]);
  readonly draft = signal("");
  readonly busy: ReadonlySignal<boolean>;
  /** Inputs that the gateway has not acknowledged, by the id that they are known by there. */
  readonly #unsaid = new Map<string, string>();
  readonly #unwatch: () => void;
  #socket: WebSocket | null = null;
  /** Whether all that was missed has been told: what is said before that is said afterwards. */
  #ready = false;
  #tries = 0;
  #cancel: (() => void) | null = null;
  #closed = false;

  constructor(id: string, around: CodingAround) {
    const { clock } = around.surroundings;
    this.id = id;
    this.#around = around;
    this.#story = new Story(id, () => clock.now());
    this.#standing = signal(this.#story.standing);
    this.busy = computed(
      () =>
        this.#link.value.kind !== "gone" && ["in_turn", "waiting_for_approval"].includes(this.#standing.value.state),
    );
    const now = clock.now();
    this.#thread = signal({
      id,
      engine: "codex",
      sessionId: id,
      title: "",
      named: false,
      created: now,
      updated: now,
      archived: false,
      model: "",
      tip: null,
      turns: 0,
      state: "empty",
    });
    this.#unwatch = around.surroundings.watch((what) => {
      if (what === "online" || what === "shown") this.retry();
    });
    void this.#open();
  }

  get link(): ReadonlySignal<Link> {
    return this.#link;
  }
  get standing(): ReadonlySignal<CodingStanding> {
    return this.#standing;
  }
  get thread(): ReadonlySignal<Thread> {
    return this.#thread;
  }
  get turns(): ReadonlySignal<readonly TurnStore[]> {
    return this.#turns;
  }
  get files(): ReadonlySignal<readonly string[]> {
    return this.#files;
  }
  get plan(): ReadonlySignal<readonly PlanStep[]> {
    return this.#plan;
  }
  get diff(): ReadonlySignal<string> {
    return this.#diff;
  }
  get tokens(): ReadonlySignal<CodingTokens | null> {
    return this.#tokens;
  }
  get waiting(): ReadonlySignal<readonly string[]> {
    return this.#waiting;
  }
  get trimmed(): ReadonlySignal<boolean> {
    return this.#trimmed;
  }
  get unheard(): ReadonlySignal<readonly string[]> {
    return this.#unheard;
  }
  get problem(): ReadonlySignal<string> {
    return this.#problem;
  }

  publish(): void {
    const story = this.#story;
    story.publish();
    if (story.turns.length !== this.#turns.value.length) this.#turns.value = story.turns;
    this.#standing.value = story.standing;
    this.#files.value = story.files;
    this.#plan.value = story.plan;
    this.#diff.value = story.diff;
    this.#tokens.value = story.tokens;
    this.#trimmed.value = story.trimmed;
    if (story.asking.join() !== this.#waiting.value.join()) this.#waiting.value = story.asking;
    const { workspace, model } = story.standing;
    const last = story.turns.at(-1);
    const row = { title: workspace, model, turns: story.turns.length, tip: last?.id ?? null };
    this.#thread.value = { ...this.#thread.value, ...row, state: last?.now.kind ?? "empty" };
  }

  // ------------------------------------------------------------------------------------------------------- acting

  say(text: string): void {
    if (text.trim() === "") return;
    const id = this.#around.surroundings.uuid();
    this.#problem.value = "";
    this.#unsaid.set(id, text);
    this.#unheard.value = [...this.#unsaid.values()];
    if (this.#ready) this.#send("input", text, id);
  }

  steer(text: string): boolean {
    return text.trim() !== "" && this.#send("steer", text);
  }

  interrupt(): boolean {
    return this.#send("interrupt");
  }

  decide(request: string, decision: string): boolean {
    const word = decision.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    return this.#send("approval", { approval_id: request, decision: word });
  }

  stop(): Promise<Answer<Fields>> {
    return this.#around.call("POST", "stop", { session_id: this.id });
  }

  look(path: string, query: Readonly<Record<string, string>> = {}): Promise<Answer<Fields>> {
    const asked = new URLSearchParams(query).toString();
    return this.#around.call(
      "GET",
      `sessions/${encodeURIComponent(this.id)}${path && `/${path}`}${asked && `?${asked}`}`,
    );
  }

  retry(): void {
    if (this.#link.value.kind !== "waiting" && this.#link.value.kind !== "refused") return;
    this.#cancel?.();
    void this.#open();
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
    this.#unwatch();
    this.#socket?.close(1000);
    this.#around.closed();
  }

  /** By `id` an answer tells what it is about; an input that has been received is not taken again by the same key. */
  #send(type: string, content?: unknown, id?: string): boolean {
    if (this.#socket?.readyState !== 1) return false;
    this.#problem.value = "";
    this.#socket.send(JSON.stringify({ type, content, id, idempotency_key: id }));
    return true;
  }

  // ---------------------------------------------------------------------------------------------------- connecting

  async #open(): Promise<void> {
    this.#link.value = { kind: "connecting" };
    // A socket that is refused tells a page nothing; this call does.
    const facts = await this.look("");
    if (this.#closed) return;
    if (!facts.ok) return this.#failed(facts);
    const protocols = ["hades.v1"];
    if (this.#around.authorization() !== null) {
      const ticket = await this.#around.call("POST", "../ticket");
      if (this.#closed) return;
      if (!ticket.ok) return this.#failed(ticket);
      protocols.push(`hades.ticket.${textIn(ticket.value.ticket)}`);
    }
    const query = new URLSearchParams({ session_id: this.id, after: String(this.#story.last) });
    const socket = this.#around.socket(`${this.#around.gateway().replace(/^http/, "ws")}/ws/codex?${query}`, protocols);
    this.#socket = socket;
    socket.onopen = () => {
      this.#story.connected();
      this.#send("ping"); // its pong comes after all that was missed
    };
    socket.onmessage = ({ data }) => this.#heard(String(data));
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
  }

  #heard(text: string): void {
    if (this.#story.take(text)) {
      this.#acknowledge(text);
      if (this.#story.standing.state === "gone") this.#gone(this.#story.standing.reason);
    } else this.#answer(fieldsOf(parsed(text)) ?? {});
    this.#around.painter.request(this);
  }

  /** An input was received: one of ours, if it says the same. */
  #acknowledge(text: string): void {
    if (this.#unsaid.size === 0 || !text.includes("input_received")) return;
    const said = fieldsOf(fieldsOf(parsed(text))?.content)?.text;
    const mine = [...this.#unsaid].find(([, unheard]) => unheard === said);
    if (mine) this.#forget(mine[0]);
  }

  #forget(id: string): void {
    if (this.#unsaid.delete(id)) this.#unheard.value = [...this.#unsaid.values()];
  }

  /** What is told to this page alone. */
  #answer({ type, content, code, id }: Fields): void {
    if (type === "pong" && !this.#ready) {
      this.#ready = true;
      this.#tries = 0;
      this.#story.reconciled();
      this.#around.painter.request(this);
      this.#around.painter.flush();
      this.#link.value = { kind: "open" };
      for (const [known, text] of this.#unsaid) this.#send("input", text, known);
    } else if (type === "error" || type === "warning") {
      this.#forget(textIn(id));
      if (code !== "duplicate") this.#problem.value = textIn(content);
    }
  }

  #lost(code: number, reason: string): void {
    this.#socket = null;
    this.#ready = false;
    if (this.#closed || this.#link.value.kind === "gone") return;
    if (code === NOT_ADMITTED) this.#link.value = { kind: "refused", problem: reason };
    else this.#again("");
  }

  #failed({ code, problem }: Extract<Answer<Fields>, { ok: false }>): void {
    if (code === "unknown_session") return this.#gone("");
    if (code === "unreachable" || code === "5xx" || code === "429") return this.#again(problem);
    this.#link.value = { kind: "refused", problem };
  }

  #again(problem: string): void {
    const { surroundings } = this.#around;
    this.#tries += 1;
    // A little chance keeps many pages from coming back at the same moment.
    const wait =
      Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#tries - 1, 10)) * (0.5 + surroundings.random() / 2);
    this.#link.value = { kind: "waiting", attempt: this.#tries, next: surroundings.clock.now() + wait, problem };
    this.#cancel = surroundings.clock.after(wait, () => void this.#open());
  }

  #gone(reason: string): void {
    this.#story.over("lost");
    this.#link.value = { kind: "gone", reason };
    this.#around.painter.request(this);
    this.#around.painter.flush();
    this.#socket?.close(1000);
  }
}
