// What went wrong, in words that the page has states for. What a server says is kept as it said it; nothing is guessed.

import type { Budget, Failure } from "../model";
import { fieldsOf, parsed, textIn } from "./json";

/** The server's words of an error: OpenAI's object, vLLM's flat one, Anthropic's, a bare text, or none. */
export interface Words {
  readonly code: string;
  readonly type: string;
  readonly message: string;
  readonly param: string;
}

const NO_WORDS: Words = { code: "", type: "", message: "", param: "" };
/** More of a message helps nobody. */
const LONGEST = 4_000;

export function wordsOf(body: unknown): Words {
  const fields = fieldsOf(body);
  if (!fields) return NO_WORDS;
  if (typeof fields.error === "string")
    return { ...NO_WORDS, code: fields.error, message: fields.error.slice(0, LONGEST) };
  const error = fieldsOf(fields.error) ?? fields;
  const code = typeof error.code === "number" ? String(error.code) : textIn(error.code);
  return {
    code,
    type: textIn(error.type),
    message: (textIn(error.message) || textIn(fields.detail)).slice(0, LONGEST),
    param: textIn(error.param),
  };
}

type Base = Pick<Failure, "at" | "requestId" | "status"> & Words;

export function baseOf(at: number, requestId: string, status: number | null = null, words: Words = NO_WORDS): Base {
  return { at, requestId, status, ...words };
}

/** Milliseconds since 1970 that a `Retry-After` means (RFC 9110, 10.2.3); null if it says nothing usable. */
export function retryTime(value: string | null, now: number): number | null {
  if (value === null) return null;
  const text = value.trim();
  if (/^\d{1,9}$/.test(text)) return now + Number(text) * 1000;
  const date = /^[A-Z][a-z]{2}, /.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? null : Math.max(date, now);
}

/** Numbers of `X-Hades-Token-Budget: prompt=7001; counted=exact; output=2048; ...`. */
export function budgetOf(header: string | null): Budget {
  const said = new Map<string, string>();
  for (const part of (header ?? "").slice(0, 500).split(";")) {
    const [name = "", value = ""] = part.split("=", 2);
    said.set(name.trim(), value.trim());
  }
  const number = (name: string): number | null => {
    const value = said.get(name) ?? "";
    return /^\d{1,12}$/.test(value) ? Number(value) : null;
  };
  return {
    prompt: number("prompt"),
    counted: said.get("counted") ?? "",
    output: number("output"),
    contextTokens: number("context_tokens"),
    outputTokens: number("output_tokens"),
  };
}

export interface Refusal {
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly body: string;
  readonly requestId: string;
  readonly sentBytes: number;
  readonly hadKey: boolean;
}

/** The failure that an answer of status 400 or more is. @param limit bytes that the gateway takes, as far as is known. */
export function failureOf(refusal: Refusal, now: number, limit: number | null): Failure {
  const { status, header } = refusal;
  const base = baseOf(now, refusal.requestId, status, wordsOf(parsed(refusal.body)));
  const until = retryTime(header("retry-after"), now);
  const retryAfter = until === null ? null : Math.max(0, Math.round((until - now) / 1000));
  if (base.code === "TOKEN_BUDGET_EXCEEDED") {
    return { ...base, kind: "overBudget", budget: budgetOf(header("x-hades-token-budget")) };
  }
  if (status === 401) return { ...base, kind: refusal.hadKey ? "badKey" : "noKey" };
  if (status === 403) return { ...base, kind: "forbidden" };
  if (status === 413) return { ...base, kind: "tooLarge", bytes: refusal.sentBytes, limit };
  if (status === 429) return { ...base, kind: "rateLimited", retryAfter, until };
  if (status >= 500) return { ...base, kind: "server", retryAfter, until };
  return { ...base, kind: "refused" };
}
