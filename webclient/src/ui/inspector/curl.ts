// A request as a line for the shell. The key's place is taken by $HADES_KEY; payloads that are masked in the page are
// masked here too.

import { shapeOf, shapeOfValue } from "../../engine";
import type { Json, SentRequest, Shape } from "../../model";
import { parsed } from "../transcript/payload";

/** For a POSIX shell: within single quotes nothing is special but the quote. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const KEY = "$HADES_KEY";

function header(name: string, value: string): string {
  // Double quotes let the shell fill in the key; nothing else in this header is special.
  return value.includes(KEY) ? `-H "${name}: ${value}"` : `-H ${quoted(`${name}: ${value}`)}`;
}

/** A value of the same shape, without what was in it. */
function mask(shape: Shape): Json {
  switch (shape.kind) {
    case "object":
      return Object.fromEntries(shape.fields.map(([key, value]) => [key, mask(value)]));
    case "list":
      return shape.entries.map(mask);
    case "string":
    case "text":
      return `<text of ${shape.length}>`;
    case "number":
      return 0;
    case "boolean":
      return false;
    default:
      return null;
  }
}

/** Members of a request that only steer it; all others are payload. */
export const steering: ReadonlySet<string> = new Set([
  "model",
  "stream",
  "stream_options",
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "max_tokens",
  "max_completion_tokens",
  "max_output_tokens",
  "min_tokens",
  "n",
  "seed",
  "tool_choice",
  "parallel_tool_calls",
  "frequency_penalty",
  "presence_penalty",
  "repetition_penalty",
  "ignore_eos",
  "logprobs",
  "top_logprobs",
  "store",
]);

export function masked_body(body: string): string {
  const value = parsed(body)?.json;
  if (value === null || typeof value !== "object" || Array.isArray(value)) return JSON.stringify(mask(shapeOf(body)));
  const kept = Object.entries(value).map(([key, part]) => [key, steering.has(key) ? part : mask(shapeOfValue(part))]);
  return JSON.stringify(Object.fromEntries(kept));
}

export function curl(request: SentRequest, revealed: boolean): string {
  const body = revealed ? request.body : masked_body(request.body);
  const headers = request.headers.map(([name, value]) => header(name, value));
  return [`curl -N ${quoted(request.url)}`, ...headers, `--data-binary ${quoted(body)}`].join(" \\\n  ");
}
