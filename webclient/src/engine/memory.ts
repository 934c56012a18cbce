// Where memory shows in an exchange. No wire format carries it: it is in the names of tools that are called, and in
// messages of the memory's manager that stand as JSON in what is said.

import type { MemoryEvent, MemoryOperation, MemoryTier } from "../model";
import { countIn, fieldsOf, type Fields, listIn, parsed, textIn } from "./json";

type Family = MemoryOperation["family"];
type Action = MemoryOperation["action"];

const tools = (
  family: Family,
  table: Readonly<Record<string, readonly [MemoryTier, Action]>>,
): [string, MemoryOperation][] =>
  Object.entries(table).map(([name, [tier, action]]) => [name, { family, tier, action }]);

const KNOWN: ReadonlyMap<string, MemoryOperation> = new Map([
  ...tools("hades", {
    store_core: ["core", "write"],
    fetch_core: ["core", "read"],
    append_fifo: ["fifo", "write"],
    evict_fifo: ["fifo", "evict"],
    write_recall: ["recall", "write"],
    search_recall: ["recall", "read"],
    search_archival: ["archival", "read"],
    ingest_archival: ["archival", "write"],
    record_heartbeat: ["heartbeat", "beat"],
  }),
  ...tools("letta", {
    core_memory_append: ["core", "write"],
    core_memory_replace: ["core", "write"],
    archival_memory_insert: ["archival", "write"],
    archival_memory_search: ["archival", "read"],
    conversation_search: ["recall", "read"],
    send_message: ["message", "write"],
    memory: ["core", "write"],
    memory_replace: ["core", "write"],
    memory_insert: ["core", "write"],
    memory_rethink: ["core", "write"],
    memory_finish_edits: ["core", "write"],
    memory_apply_patch: ["core", "write"],
  }),
]);

export const knownMemoryTools: readonly string[] = [...KNOWN.keys()];

/** What a tool of that name does to memory; null if it is no memory tool. @param others names that are set besides. */
export function memoryOperation(name: string, others: readonly string[]): MemoryOperation | null {
  const known = KNOWN.get(name);
  if (known) return known;
  return others.includes(name)
    ? { family: "custom", tier: "other", action: /search|fetch|read|get|list/.test(name) ? "read" : "write" }
    : null;
}

export type MemoryWord = Pick<MemoryEvent, "event" | "message" | "tokens" | "limit" | "raw">;

const EVENTS: Readonly<Record<string, MemoryEvent["event"]>> = {
  system_alert: "warning",
  warning: "warning",
  flush: "flush",
  summarize: "summarize",
  heartbeat: "heartbeat",
  hb_start: "heartbeat",
  hb_end: "heartbeat",
  error: "error",
};

/** An event of HADES' memory manager, or a packed message of Letta's; null if the value is neither. */
export function memoryWord(value: unknown, raw: string): MemoryWord | null {
  const fields = fieldsOf(value);
  const type = textIn(fields?.type);
  if (!fields || !Object.hasOwn(EVENTS, type)) return null;
  const details = fieldsOf(fields.details);
  const isHades = details !== null || "agent_id" in fields;
  const isLetta = "time" in fields && (typeof fields.message === "string" || typeof fields.reason === "string");
  if (!isHades && !isLetta) return null;
  const message = textIn(fields.message) || textIn(details?.message) || textIn(fields.reason) || textIn(fields.details);
  return { event: EVENTS[type]!, message, ...fill(details ?? fields), raw };
}

function fill(fields: Fields): { tokens: number | null; limit: number | null } {
  return {
    tokens: countIn(fields.tokens) ?? countIn(fields.tokens_used) ?? countIn(fields.used),
    limit: countIn(fields.limit) ?? countIn(fields.context_tokens) ?? countIn(fields.max_tokens),
  };
}

const ERRORS = new Set(["TOKEN_BUDGET_EXCEEDED", "PIN_LIMIT_EXCEEDED"]);

/** The memory executor's own error in the result of a tool. */
export function memoryError(text: string): MemoryWord | null {
  const fields = text.length < 10_000 ? fieldsOf(parsed(text)) : null;
  const error = textIn(fields?.error);
  if (!fields || !ERRORS.has(error)) return null;
  return { event: "error", message: error, tokens: countIn(fields.required_headroom), limit: null, raw: text };
}

/** Longer objects are no events. */
const LONGEST = 4_000;
const BEGINNING = /\{\s*"/;
const TYPE = /"type"\s*:\s*"(?:system_alert|warning|flush|summarize|heartbeat|hb_start|hb_end|error)"/;

/**
 * Finds events that stand in a text while it grows. Whole lines are looked at once each, so an event is seen when its last
 * line has come; it may be one line of JSON, or a block of JSON of several lines.
 */
export class MemoryWatch {
  #line = "";
  #object = "";

  /** The events that became whole by this piece of text. */
  push(piece: string): MemoryWord[] {
    if (!piece.includes("\n")) {
      this.#line = this.#line.length > LONGEST ? "" : this.#line + piece;
      return [];
    }
    const lines = (this.#line + piece).split("\n");
    this.#line = lines.pop()!;
    return lines.flatMap((line) => this.#take(line));
  }

  /** Those in a last line without an end. */
  end(): MemoryWord[] {
    const line = this.#line;
    this.#line = "";
    return this.#take(line);
  }

  #take(line: string): MemoryWord[] {
    if (this.#object === "") {
      const start = line.search(BEGINNING);
      const opening = start < 0 && line.trim() === "{" ? line.indexOf("{") : start;
      if (opening < 0) return [];
      this.#object = line.slice(opening);
    } else this.#object += `\n${line}`;
    const text = this.#object.slice(0, this.#object.lastIndexOf("}") + 1);
    const value = text ? parsed(text) : undefined;
    if (value === undefined) {
      if (this.#object.length > LONGEST || line.trim() === "" || line.startsWith("```")) this.#object = "";
      return [];
    }
    this.#object = "";
    const word = TYPE.test(text) ? memoryWord(value, text) : null;
    return word ? [word] : [];
  }
}

/** The events in a whole text. */
export function memoryWords(text: string): MemoryWord[] {
  const watch = new MemoryWatch();
  return [...watch.push(text), ...watch.end()];
}

/** Names that a list of settings may hold: no blanks, not too many. */
export const memoryNames = (value: unknown): string[] =>
  listIn(value)
    .filter((name): name is string => typeof name === "string" && /^[\w.:-]{1,64}$/.test(name))
    .slice(0, 100);
