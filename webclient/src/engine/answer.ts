// An answer while it is being received, whatever protocol it comes by: pieces of text, reasoning and arguments go in, items
// of the turn come out. An item is replaced by a new value at each change, and the price of a piece is its own length.

import type {
  AgentMessage,
  Item,
  ItemState,
  Json,
  MemoryEvent,
  RawItem,
  Reasoning,
  Received,
  ToolCall,
  ToolFlag,
  Usage,
} from "../model";
import type { ToolDefinition } from "./api";
import type { Words } from "./failures";
import type { ServerEvent } from "./frames";
import { JsonProgress, parsed } from "./json";
import { MemoryWatch, type MemoryWord, memoryOperation } from "./memory";
import { diffsIn, PLAN_TOOL, planIn } from "./work";
import { fits } from "./tools";

/** Reads one protocol into an `Answer`. */
export interface ProtocolReader {
  /** One event of a stream. */
  event(event: ServerEvent): void;
  /** An answer that is no stream. */
  whole(body: unknown): void;
}

/** The items of a turn. `touched` has the indices of those that changed since it was last cleared. */
export class ItemList {
  readonly values: Item[] = [];
  readonly touched = new Set<number>();

  add(item: Item): number {
    this.values.push(item);
    this.touched.add(this.values.length - 1);
    return this.values.length - 1;
  }

  /** Replaces fields of the item; its kind stays. */
  patch<T extends Item>(index: number, fields: Partial<T>): void {
    this.values[index] = { ...this.values[index]!, ...fields } as Item;
    this.touched.add(index);
  }
}

export interface AnswerContext {
  readonly attempt: string;
  readonly streamed: boolean;
  readonly offered: readonly ToolDefinition[];
  readonly memoryTools: readonly string[];
  /** Id of the message that this answer goes on with. */
  readonly continues: string | null;
  readonly now: () => number;
  readonly newId: () => string;
}

/** What is being received under one key: a choice of Chat Completions, an output item of Responses. */
interface Slot {
  message: number | null;
  reasoning: number | null;
  /** Blanks that came while no message was open: they are text only if text follows. */
  blanks: string;
}

interface OpenCall {
  readonly index: number;
  readonly progress: JsonProgress;
  readonly fromMs: number;
  pieces: number;
  readonly flags: Set<ToolFlag>;
  open: boolean;
}

/** Markup of several models' tool calls. */
const MARKUP = /<\/?tool_call>|<function[=>]|<\|tool_call|\[TOOL_CALLS\]|<\|python_tag\|>|<｜tool/;
const LONGEST_MARKUP = 16;
/** Arguments of at least so many characters are never one token. */
const LUMP = 32;

export class Answer {
  readonly list: ItemList;
  readonly context: AnswerContext;
  /** When the present event came; set it before each. */
  atMs = 0;
  deltas = 0;
  characters = 0;
  what: "reasoning" | "text" | "arguments" | null = null;
  responseId = "";
  model = "";
  finish: string | null = null;
  usage: Usage | null = null;
  /** What the server said in the stream about its end, if that was bad. */
  error: Words | null = null;
  /** The protocol's own last word has come. */
  complete = false;
  readonly #slots = new Map<string, Slot>();
  readonly #calls = new Map<string, OpenCall>();
  readonly #watches = new Map<number, MemoryWatch>();
  readonly #raws = new Map<string, number>();
  readonly #began = new Map<number, number>();
  #continues: string | null;
  /** The text so far ends in what may be the beginning of a tool call's markup. */
  #nearMarkup = false;

  constructor(list: ItemList, context: AnswerContext) {
    this.list = list;
    this.context = context;
    this.#continues = context.continues;
  }

  get received(): Received {
    return { deltas: this.deltas, characters: this.characters, tokens: this.usage?.completion ?? null };
  }

  text(key: string, piece: string, choice = 0): void {
    if (piece === "") return;
    const slot = this.#slot(key);
    if (slot.message === null && this.#continues === null && piece.trim() === "") {
      slot.blanks += piece;
      return;
    }
    this.#endReasoning(slot);
    const index = (slot.message ??= this.#openMessage(choice));
    const whole = slot.blanks + piece;
    slot.blanks = "";
    this.#count(piece, "text");
    this.#append(index, whole);
  }

  refusal(key: string, piece: string, choice = 0): void {
    if (piece === "") return;
    const slot = this.#slot(key);
    const index = (slot.message ??= this.#openMessage(choice));
    this.#count(piece, "text");
    this.list.patch<AgentMessage>(index, { refusal: (this.list.values[index] as AgentMessage).refusal + piece });
  }

  reasoning(key: string, piece: string, choice = 0, field: "text" | "summary" = "text"): void {
    if (piece === "") return;
    const slot = this.#slot(key);
    if (slot.reasoning === null) {
      this.#endMessage(slot);
      slot.reasoning = this.list.add({
        ...this.#base(),
        kind: "reasoning",
        text: "",
        summary: "",
        state: "open",
        tookMs: 0,
        choice,
      });
      this.#began.set(slot.reasoning, this.atMs);
    }
    const index = slot.reasoning;
    const item = this.list.values[index] as Reasoning;
    this.#count(piece, "reasoning");
    this.list.patch<Reasoning>(index, { [field]: item[field] + piece, tookMs: this.atMs - this.#began.get(index)! });
  }

  /** Begins or goes on with a call. Fields that came before are not taken back. */
  call(
    key: string,
    part: { slot?: string; callId?: string; name?: string; piece?: string; choice?: number; flag?: ToolFlag },
  ): void {
    const call = this.#calls.get(key) ?? this.#openCall(key, part.slot ?? key, part.choice ?? 0);
    if (part.flag) call.flags.add(part.flag);
    const item = this.list.values[call.index] as ToolCall;
    const fields: { -readonly [F in keyof ToolCall]?: ToolCall[F] } = {};
    if (part.callId && item.callId === "") fields.callId = part.callId;
    if (part.name) {
      fields.name = item.name + part.name;
      fields.memory = memoryOperation(fields.name, this.context.memoryTools);
    }
    if (part.piece) {
      call.pieces += 1;
      call.progress.push(part.piece);
      fields.arguments = item.arguments + part.piece;
      fields.verdict = call.progress.verdict;
      this.#count(part.piece, "arguments");
    }
    fields.tookMs = this.atMs - call.fromMs;
    this.list.patch<ToolCall>(call.index, fields);
  }

  hasCall(key: string): boolean {
    return this.#calls.has(key);
  }

  /** How much of a call's arguments is there; null if there is no such call. */
  argumentsOf(key: string): string | null {
    const call = this.#calls.get(key);
    return call ? (this.list.values[call.index] as ToolCall).arguments : null;
  }

  textUnder(key: string, field: "text" | "summary" | "refusal" | "reasoning"): string {
    const slot = this.#slots.get(key);
    const index = field === "summary" || field === "reasoning" ? slot?.reasoning : slot?.message;
    if (index === null || index === undefined) return slot?.blanks ?? "";
    const item = this.list.values[index];
    if (item?.kind === "reasoning") return field === "summary" ? item.summary : item.text;
    return item?.kind === "agentMessage" ? (field === "refusal" ? item.refusal : item.text) : "";
  }

  endCall(key: string, state: ItemState = "done"): void {
    const call = this.#calls.get(key);
    if (!call?.open) return;
    call.open = false;
    const item = this.list.values[call.index] as ToolCall;
    const whole = state === "done" && item.verdict.kind !== "prefix" ? state : "broken";
    this.list.patch<ToolCall>(call.index, { state: whole, flags: this.#flags(call, item) });
    const plan = item.name === PLAN_TOOL ? planIn(item.arguments) : null;
    if (plan) this.list.add({ ...this.#base(), kind: "plan", ...plan });
  }

  /** An event of memory's manager that came by itself, or was found in a text. */
  memory(word: MemoryWord, source: string | null): void {
    const event: MemoryEvent = { ...this.#base(), kind: "memory", source, ...word };
    this.list.add(event);
  }

  /** What no rule knows. Several of one name are one item. */
  raw(name: string, data: string): void {
    const index = this.#raws.get(name);
    if (index === undefined) {
      this.#raws.set(name, this.list.add({ ...this.#base(), kind: "raw", name, data }));
      return;
    }
    const item = this.list.values[index] as RawItem;
    this.list.patch<RawItem>(index, { data: `${item.data}\n${data}` });
  }

  /** Ends what is open under one key. */
  endSlot(key: string, state: ItemState = "done"): void {
    const slot = this.#slots.get(key);
    if (!slot) return;
    this.#endReasoning(slot, state);
    this.#endMessage(slot, state);
  }

  /** Ends everything: `broken` if the answer did not come to its own end. */
  end(state: ItemState): void {
    for (const key of this.#slots.keys()) this.endSlot(key, state);
    for (const key of this.#calls.keys()) this.endCall(key, state);
    this.what = null;
  }

  #base(): { id: string; attempt: string; created: number } {
    return { id: this.context.newId(), attempt: this.context.attempt, created: this.context.now() };
  }

  #count(piece: string, what: "reasoning" | "text" | "arguments"): void {
    this.deltas += 1;
    this.characters += piece.length;
    this.what = what;
  }

  #slot(key: string): Slot {
    let slot = this.#slots.get(key);
    if (!slot) {
      slot = { message: null, reasoning: null, blanks: "" };
      this.#slots.set(key, slot);
    }
    return slot;
  }

  #openMessage(choice: number): number {
    const old = this.#continues === null ? -1 : this.list.values.findIndex((item) => item.id === this.#continues);
    this.#continues = null;
    const index =
      old >= 0
        ? old
        : this.list.add({
            ...this.#base(),
            kind: "agentMessage",
            text: "",
            state: "open",
            refusal: "",
            seams: [],
            leaked: false,
            choice,
          });
    const item = this.list.values[index] as AgentMessage;
    if (old >= 0) this.list.patch<AgentMessage>(index, { state: "open", seams: [...item.seams, item.text.length] });
    this.#watches.set(index, new MemoryWatch());
    return index;
  }

  #append(index: number, piece: string): void {
    const item = this.list.values[index] as AgentMessage;
    const leaked = item.leaked || (this.context.offered.length > 0 && this.#leaks(item.text, piece));
    this.list.patch<AgentMessage>(index, { text: item.text + piece, leaked });
    for (const word of this.#watches.get(index)!.push(piece)) this.memory(word, item.id);
  }

  #leaks(before: string, piece: string): boolean {
    // Only what could be a mark's beginning is looked at, so that no long text is put together for it.
    if (!this.#nearMarkup && !/[<[]/.test(piece)) return false;
    const near = before.slice(-LONGEST_MARKUP) + piece;
    this.#nearMarkup = /[<[][^>\]]*$/.test(near.slice(-LONGEST_MARKUP));
    return MARKUP.test(near);
  }

  #endReasoning(slot: Slot, state: ItemState = "done"): void {
    if (slot.reasoning !== null) this.list.patch<Reasoning>(slot.reasoning, { state });
    slot.reasoning = null;
  }

  #endMessage(slot: Slot, state: ItemState = "done"): void {
    const index = slot.message;
    if (index === null) return;
    this.list.patch<AgentMessage>(index, { state });
    slot.message = null;
    const message = this.list.values[index] as AgentMessage;
    for (const word of this.#watches.get(index)?.end() ?? []) this.memory(word, message.id);
    const from = message.seams.at(-1) ?? 0;
    for (const diff of diffsIn(message.text.slice(from)))
      this.list.add({ ...this.#base(), kind: "diff", diff, source: message.id });
  }

  #openCall(key: string, slot: string, choice: number): OpenCall {
    const before = this.#slots.get(slot);
    if (before) {
      this.#endReasoning(before);
      this.#endMessage(before);
      before.blanks = "";
    }
    const index = this.list.add({
      ...this.#base(),
      kind: "toolCall",
      callId: "",
      name: "",
      arguments: "",
      verdict: { kind: "empty" },
      state: "open",
      flags: [],
      memory: null,
      result: null,
      tookMs: 0,
      choice,
    });
    const call: OpenCall = {
      index,
      progress: new JsonProgress(),
      fromMs: this.atMs,
      pieces: 0,
      flags: new Set(),
      open: true,
    };
    this.#calls.set(key, call);
    return call;
  }

  #flags(call: OpenCall, item: ToolCall): ToolFlag[] {
    const { flags } = call;
    const tool = this.context.offered.find((offered) => offered.function.name === item.name);
    const value = item.verdict.kind === "complete" ? parsed(item.arguments) : undefined;
    if (item.callId === "") flags.add("missingId");
    else if (this.#sameId(item)) flags.add("duplicateId");
    if (item.name === "") flags.add("missingName");
    else if (!tool) flags.add("unknownTool");
    if (typeof value === "string" && typeof parsed(value) === "object") flags.add("doubleEncoded");
    else if (value !== undefined && tool && !fits(value as Json, tool.function.parameters)) flags.add("schemaMismatch");
    if (this.context.streamed && call.pieces === 1 && item.arguments.length >= LUMP) flags.add("oneLump");
    return [...flags];
  }

  #sameId(item: ToolCall): boolean {
    const { values } = this.list;
    return values.some(
      (other) =>
        other.kind === "toolCall" &&
        other.id !== item.id &&
        other.callId === item.callId &&
        other.attempt === item.attempt,
    );
  }
}
