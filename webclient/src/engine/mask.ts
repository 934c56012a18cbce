// Payloads without their values, and still of the form they had: a masked answer can be played again. Names, ids, types,
// keys, lengths and counts stay; what was said becomes dots. Whatever is not known to be harmless is a value.

import type { Header, Json } from "../model";
import { fieldsOf, JsonProgress, type JsonClass, parsed } from "./json";

const DOT = "•";

/** Every character a dot; lines stay lines. Works on pieces: the mask of a whole is the masks of its pieces. */
export const maskText = (text: string): string => text.replace(/[^\n]/g, DOT);

/** Masks JSON that comes in pieces: keys and marks stay, and what comes out is JSON wherever what went in was. */
export class JsonMask {
  readonly #progress = new JsonProgress();
  #inString = false;
  #escaped = false;
  #literal = 0;

  push(piece: string): string {
    let masked = "";
    this.#progress.push(piece, (char, kind) => {
      masked += this.#mask(char, kind);
    });
    return masked;
  }

  #mask(char: string, kind: JsonClass): string {
    if (kind !== "literal") this.#literal = 0;
    switch (kind) {
      case "string":
        return this.#inText(char);
      case "number":
        return char >= "0" && char <= "9" ? "1" : char;
      case "literal":
        // true, false and null all become null; false is a character longer.
        return "null "[this.#literal++] ?? " ";
      case "broken":
        return char === "\n" ? char : DOT;
      default:
        return char;
    }
  }

  #inText(char: string): string {
    const isQuote = char === '"' && !this.#escaped;
    this.#escaped = char === "\\" && !this.#escaped;
    if (isQuote) this.#inString = !this.#inString;
    return isQuote ? char : DOT;
  }
}

/** A text that may be JSON: keys stay if it is an object or a list. */
export function maskPayload(text: string): string {
  const value = parsed(text);
  return typeof value === "object" && value !== null ? new JsonMask().push(text) : maskText(text);
}

// ---------------------------------------------------------------------------------------------------- what may stay

/** Paths of values that tell how something was said, not what. `[]` is any entry, `*` any field below. */
const HARMLESS = [
  // Chat Completions: requests, answers, events.
  "id object created model service_tier system_fingerprint stream",
  "stream_options.* parallel_tool_calls tool_choice continue_final_message add_generation_prompt",
  "temperature max_tokens top_p top_k min_p frequency_penalty presence_penalty repetition_penalty seed min_tokens",
  "ignore_eos logprobs top_logprobs usage.*",
  "messages[].role messages[].tool_call_id messages[].tool_calls[].id messages[].tool_calls[].type",
  "messages[].tool_calls[].function.name tools[].type tools[].function.name tools[].name",
  "choices[].index choices[].finish_reason",
  ...["delta", "message"].map(
    (part) =>
      `choices[].${part}.role choices[].${part}.tool_calls[].index choices[].${part}.tool_calls[].id ` +
      `choices[].${part}.tool_calls[].type choices[].${part}.tool_calls[].function.name choices[].${part}.function_call.name`,
  ),
  "error.code error.type error.param error code",
  // Responses.
  "max_output_tokens store type sequence_number item_id output_index content_index summary_index name status",
  "item.id item.type item.role item.status item.name item.call_id item.content[].type item.summary[].type part.type",
  "input[].type input[].role input[].status input[].call_id input[].name input[].content[].type",
  "output[].id output[].type output[].role output[].status output[].name output[].call_id output[].content[].type",
  "output[].summary[].type incomplete_details.reason created_at",
  "response.id response.object response.status response.model response.created_at response.incomplete_details.reason",
  "response.usage.* response.error.code response.output[].id response.output[].type response.output[].role",
  "response.output[].status response.output[].name response.output[].call_id response.output[].content[].type",
  "response.output[].summary[].type",
]
  .join(" ")
  .split(" ");

/** Paths of texts that are JSON, perhaps in pieces. */
const ARGUMENTS = new Set([
  "choices[].delta.tool_calls[].function.arguments",
  "choices[].delta.function_call.arguments",
  "choices[].message.tool_calls[].function.arguments",
  "choices[].message.function_call.arguments",
  "messages[].tool_calls[].function.arguments",
  "arguments",
  "item.arguments",
  "output[].arguments",
  "input[].arguments",
  "response.output[].arguments",
]);

const EXACT = new Set(HARMLESS);
const BELOW = HARMLESS.filter((path) => path.endsWith(".*")).map((path) => path.slice(0, -1));
/** Even there, only what looks like a name, an id or a word of a protocol. */
const WORD = /^[\w.:/-]{1,128}$/;
const DEEPEST = 64;

const isHarmless = (path: string): boolean => EXACT.has(path) || BELOW.some((above) => path.startsWith(above));

/** Masks the events of one stream, in order: arguments come in pieces. */
export class EventMask {
  readonly #arguments = new Map<string, JsonMask>();

  /** The data of an event. */
  data(data: string): string {
    if (data === "[DONE]") return data;
    const value = parsed(data);
    if (value === undefined) return maskText(data);
    return JSON.stringify(this.#value(value as Json, "", this.#owner(value)));
  }

  /** Whose arguments an event of Responses has a piece of; "" if of none. */
  #owner(value: unknown): string {
    const fields = fieldsOf(value);
    return fields?.type === "response.function_call_arguments.delta"
      ? `item:${String(fields.item_id ?? fields.output_index)}`
      : "";
  }

  #value(value: Json, path: string, owner: string, depth = 0): Json {
    if (value === null || depth > DEEPEST) return null;
    if (Array.isArray(value))
      return value.map((entry, index) => this.#value(entry, `${path}[]`, placeOf(entry, owner, index), depth + 1));
    if (typeof value === "object") {
      const inner = Object.entries(value).map(([key, field]): [string, Json] => [
        key,
        this.#value(field, path ? `${path}.${key}` : key, owner, depth + 1),
      ]);
      return Object.fromEntries(inner);
    }
    if (typeof value === "string") return this.#text(value, path, owner);
    if (isHarmless(path)) return value;
    return typeof value === "number" ? 0 : false;
  }

  #text(text: string, path: string, owner: string): string {
    if (path === "choices[].delta.tool_calls[].function.arguments" || (path === "delta" && owner !== "")) {
      const key = `${path} ${owner}`;
      const mask = this.#arguments.get(key) ?? new JsonMask();
      this.#arguments.set(key, mask);
      return mask.push(text);
    }
    if (ARGUMENTS.has(path)) return new JsonMask().push(text);
    return isHarmless(path) && WORD.test(text) ? text : maskText(text);
  }
}

/** Which choice or call a piece belongs to: its index, within that of what it is in. */
function placeOf(entry: Json, owner: string, index: number): string {
  const place = fieldsOf(entry)?.index;
  return `${owner}/${typeof place === "number" ? place : index}`;
}

/** A body of JSON; anything else becomes dots. */
export const maskBody = (body: string): string => new EventMask().data(body);

const OPEN_HEADERS =
  /^(?:content-type|content-length|date|server|vary|cache-control|retry-after|accept|x-ratelimit-[a-z-]+|x-hades-token-budget|x-accel-buffering)$/i;

/** Values of headers that may say something become dots. @param ids names of the two ids. */
export const maskHeaders = (headers: readonly Header[], ids: readonly string[]): Header[] => {
  const open = new Set(ids.map((name) => name.toLowerCase()));
  return headers.map(([name, value]) => {
    const stays =
      OPEN_HEADERS.test(name) || (open.has(name.toLowerCase()) && WORD.test(value)) || value === "Bearer $HADES_KEY";
    return [name, stays ? value : maskText(value)];
  });
};
