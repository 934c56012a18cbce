// Chat Completions, streamed and not, as vLLM, llama.cpp and OpenAI speak it. What no rule knows becomes a raw item.

import type { Usage } from "../model";
import type { Answer, ProtocolReader } from "./answer";
import { wordsOf } from "./failures";
import type { ServerEvent } from "./frames";
import { countIn, type Fields, fieldsOf, listIn, parsed, textIn } from "./json";
import { memoryWord } from "./memory";

/** Fields that are understood, or known to say nothing about what was said. */
const CHUNK_FIELDS = new Set([
  "id",
  "object",
  "created",
  "model",
  "choices",
  "usage",
  "system_fingerprint",
  "service_tier",
  "error",
  "timings",
  "prompt_token_ids",
  "prompt_text",
  "prompt_logprobs",
  "kv_transfer_params",
  "ec_transfer_params",
  "metrics",
]);
const DELTA_FIELDS = new Set([
  "role",
  "content",
  "reasoning",
  "reasoning_content",
  "refusal",
  "tool_calls",
  "function_call",
  "token_ids",
]);

export class ChatReader implements ProtocolReader {
  readonly #answer: Answer;
  /** The index of the call last written to, and how many there are, by choice. */
  readonly #calls = new Map<number, { last: string; count: number }>();
  readonly #unfinished = new Set<number>();
  #finished = 0;

  constructor(answer: Answer) {
    this.#answer = answer;
  }

  event({ name, data }: ServerEvent): void {
    if (data === "[DONE]") {
      this.#answer.complete = true;
      return;
    }
    const value = parsed(data);
    const chunk = fieldsOf(value);
    if (!chunk) {
      this.#answer.raw(name || "data", data);
      return;
    }
    if (name !== "" && name !== "message" && !("choices" in chunk)) this.#named(name, chunk, data);
    else if (chunk.error !== undefined && chunk.error !== null) this.#answer.error = wordsOf(chunk);
    else if (Array.isArray(chunk.choices)) this.#chunk(chunk, "delta");
    else this.#odd(name || "data", chunk, data);
  }

  whole(body: unknown): void {
    const fields = fieldsOf(body);
    if (!fields || !Array.isArray(fields.choices)) return;
    this.#chunk(fields, "message");
    this.#answer.complete = true;
  }

  #named(name: string, fields: Fields, data: string): void {
    if (name === "error") this.#answer.error = wordsOf(fields);
    else this.#odd(name, fields, data);
  }

  #odd(name: string, fields: Fields, data: string): void {
    const word = memoryWord(fields, data);
    if (word) this.#answer.memory(word, null);
    else this.#answer.raw(name, data);
  }

  #chunk(chunk: Fields, key: "delta" | "message"): void {
    const answer = this.#answer;
    if (typeof chunk.id === "string") answer.responseId = chunk.id;
    if (typeof chunk.model === "string") answer.model = chunk.model;
    answer.usage = chatUsage(chunk.usage) ?? answer.usage;
    for (const field of Object.keys(chunk)) {
      if (!CHUNK_FIELDS.has(field) && chunk[field] !== null) answer.raw(field, JSON.stringify(chunk[field]));
    }
    for (const choice of listIn(chunk.choices)) {
      const fields = fieldsOf(choice);
      if (fields) this.#choice(fields, key);
      else answer.raw("choice", JSON.stringify(choice));
    }
  }

  #choice(fields: Fields, key: "delta" | "message"): void {
    const index = countIn(fields.index) ?? 0;
    this.#unfinished.add(index);
    const delta = fieldsOf(fields[key]) ?? fieldsOf(fields.delta) ?? fieldsOf(fields.message);
    if (delta) this.#delta(delta, index);
    if (typeof fields.finish_reason !== "string") return;
    const answer = this.#answer;
    if (index === 0 || answer.finish === null) answer.finish = fields.finish_reason;
    this.#endChoice(index);
    this.#unfinished.delete(index);
    this.#finished += 1;
    // Servers that never say [DONE] have said all when every choice has its reason.
    if (this.#unfinished.size === 0) answer.complete = true;
  }

  #endChoice(index: number): void {
    this.#answer.endSlot(String(index));
    for (let call = 0; call <= (this.#calls.get(index)?.count ?? 0); call += 1)
      this.#answer.endCall(`${index}:${call}`);
    this.#answer.endCall(`${index}:function`);
    const last = this.#calls.get(index)?.last;
    if (last !== undefined) this.#answer.endCall(last);
  }

  #delta(delta: Fields, index: number): void {
    const answer = this.#answer;
    const key = String(index);
    for (const field of Object.keys(delta)) {
      if (!DELTA_FIELDS.has(field) && delta[field] !== null) answer.raw(field, JSON.stringify(delta[field]));
    }
    answer.reasoning(key, textIn(delta.reasoning) || textIn(delta.reasoning_content), index);
    if (Array.isArray(delta.content)) this.#parts(delta.content, index);
    else answer.text(key, textIn(delta.content), index);
    answer.refusal(key, textIn(delta.refusal), index);
    for (const call of listIn(delta.tool_calls)) this.#call(fieldsOf(call), index);
    const older = fieldsOf(delta.function_call);
    if (older) {
      answer.call(`${index}:function`, {
        slot: key,
        choice: index,
        callId: "function_call",
        name: textIn(older.name),
        piece: textIn(older.arguments),
      });
    }
  }

  #parts(parts: readonly unknown[], index: number): void {
    for (const part of parts) {
      const text = fieldsOf(part)?.text;
      if (typeof text === "string") this.#answer.text(String(index), text, index);
      else this.#answer.raw("content", JSON.stringify(part));
    }
  }

  #call(fields: Fields | null, choice: number): void {
    if (!fields) return;
    const called = fieldsOf(fields.function) ?? {};
    const { key, wrong } = this.#place(
      choice,
      countIn(fields.index),
      fields.id !== undefined || called.name !== undefined,
    );
    this.#answer.call(key, {
      slot: String(choice),
      choice,
      callId: textIn(fields.id),
      name: textIn(called.name),
      piece: writtenIn(called.arguments),
      ...(wrong ? { flag: "wrongIndex" as const } : {}),
    });
  }

  /** Which call of a choice a delta is for, and whether its index is out of order. A new one ends the one before. */
  #place(choice: number, index: number | null, named: boolean): { key: string; wrong: boolean } {
    const calls = this.#calls.get(choice) ?? { last: "", count: 0 };
    this.#calls.set(choice, calls);
    // Without an index, an id or a name begins another call.
    const goesOn = index === null && !named && calls.last !== "";
    const key = goesOn ? calls.last : `${choice}:${index ?? calls.count}`;
    const isNew = !this.#answer.hasCall(key);
    const wrong = index !== null && (isNew ? index !== calls.count : key !== calls.last);
    if (isNew && calls.last !== "") this.#answer.endCall(calls.last);
    if (isNew) calls.count += 1;
    calls.last = key;
    return { key, wrong };
  }
}

/** Arguments are a text; some servers write the value itself. */
const writtenIn = (value: unknown): string =>
  typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);

export function chatUsage(value: unknown): Usage | null {
  const fields = fieldsOf(value);
  const prompt = countIn(fields?.prompt_tokens);
  if (!fields || prompt === null) return null;
  const completion = countIn(fields.completion_tokens) ?? 0;
  return {
    prompt,
    completion,
    total: countIn(fields.total_tokens) ?? prompt + completion,
    cached: countIn(fieldsOf(fields.prompt_tokens_details)?.cached_tokens),
    reasoning: countIn(fieldsOf(fields.completion_tokens_details)?.reasoning_tokens),
  };
}
