// Responses, streamed and not, as vLLM, llama.cpp and OpenAI speak it. Events that no rule knows become raw items.

import type { Usage } from "../model";
import type { Answer, ProtocolReader } from "./answer";
import { wordsOf } from "./failures";
import type { ServerEvent } from "./frames";
import { countIn, type Fields, fieldsOf, listIn, parsed, textIn } from "./json";
import { memoryWord } from "./memory";

/** Events that only say where others belong. */
const SILENT = new Set([
  "response.created",
  "response.in_progress",
  "response.queued",
  "response.content_part.added",
  "response.content_part.done",
  "response.reasoning_part.added",
  "response.reasoning_part.done",
  "response.reasoning_summary_part.added",
  "response.reasoning_summary_part.done",
]);

export class ResponsesReader implements ProtocolReader {
  readonly #answer: Answer;
  /** Output items that are whole. */
  readonly #whole = new Set<string>();

  constructor(answer: Answer) {
    this.#answer = answer;
  }

  event({ name, data }: ServerEvent): void {
    if (data === "[DONE]") return;
    const fields = fieldsOf(parsed(data));
    if (!fields) {
      this.#answer.raw(name || "data", data);
      return;
    }
    const type = textIn(fields.type) || name;
    const key = keyOf(fields);
    if (!this.#delta(type, key, fields) && !this.#boundary(type, key, fields)) this.#odd(type || "data", fields, data);
  }

  whole(body: unknown): void {
    const response = fieldsOf(body);
    if (!response || !Array.isArray(response.output)) return;
    this.#end(response);
  }

  /** True if it was a piece of something. */
  #delta(type: string, key: string, fields: Fields): boolean {
    const answer = this.#answer;
    const piece = textIn(fields.delta);
    switch (type) {
      case "response.output_text.delta":
        answer.text(key, piece);
        return true;
      case "response.refusal.delta":
        answer.refusal(key, piece);
        return true;
      case "response.reasoning_text.delta":
        answer.reasoning(key, piece);
        return true;
      case "response.reasoning_summary_text.delta":
        answer.reasoning(key, piece, 0, "summary");
        return true;
      case "response.function_call_arguments.delta":
        answer.call(key, { piece });
        return true;
      case "response.output_text.done":
        answer.text(key, missing(answer.textUnder(key, "text"), textIn(fields.text)));
        return true;
      case "response.refusal.done":
        answer.refusal(key, missing(answer.textUnder(key, "refusal"), textIn(fields.refusal)));
        return true;
      case "response.reasoning_text.done":
        answer.reasoning(key, missing(answer.textUnder(key, "reasoning"), textIn(fields.text)));
        return true;
      case "response.reasoning_summary_text.done":
        answer.reasoning(key, missing(answer.textUnder(key, "summary"), textIn(fields.text)), 0, "summary");
        return true;
      case "response.function_call_arguments.done":
        answer.call(key, {
          name: answer.hasCall(key) ? "" : textIn(fields.name),
          piece: missing(answer.argumentsOf(key) ?? "", textIn(fields.arguments)),
        });
        answer.endCall(key);
        return true;
      default:
        return false;
    }
  }

  /** True if it said where something begins or ends. */
  #boundary(type: string, key: string, fields: Fields): boolean {
    switch (type) {
      case "response.output_item.added":
        this.#itemBegins(fieldsOf(fields.item), key);
        return true;
      case "response.output_item.done":
        this.#itemEnds(fieldsOf(fields.item), key);
        return true;
      case "response.completed":
      case "response.incomplete":
      case "response.failed":
        this.#end(fieldsOf(fields.response) ?? {});
        return true;
      case "error":
        this.#answer.error = wordsOf(fields);
        return true;
      default:
        if (SILENT.has(type)) this.#identify(fieldsOf(fields.response));
        return SILENT.has(type);
    }
  }

  #odd(type: string, fields: Fields, data: string): void {
    if (fields.error !== undefined && fields.error !== null) this.#answer.error = wordsOf(fields);
    else {
      const word = memoryWord(fields, data);
      if (word) this.#answer.memory(word, null);
      else this.#answer.raw(type, data);
    }
  }

  #itemBegins(item: Fields | null, key: string): void {
    if (item?.type === "function_call") {
      this.#answer.call(key, { callId: textIn(item.call_id), name: textIn(item.name), piece: textIn(item.arguments) });
    }
  }

  #itemEnds(item: Fields | null, key: string): void {
    if (!item) return;
    const type = textIn(item.type);
    if (type === "message" || type === "reasoning" || type === "function_call") this.#wholeItem(item, key);
    else this.#answer.raw(type || "item", JSON.stringify(item));
  }

  /** An item as a whole: what of it has not come in pieces is taken from here. */
  #wholeItem(item: Fields | null, key: string): void {
    const answer = this.#answer;
    if (!item || this.#whole.has(key)) return;
    this.#whole.add(key);
    switch (item.type) {
      case "message":
        answer.text(key, missing(answer.textUnder(key, "text"), partsOf(item.content, "output_text")));
        answer.refusal(key, missing(answer.textUnder(key, "refusal"), partsOf(item.content, "refusal")));
        break;
      case "reasoning":
        answer.reasoning(key, missing(answer.textUnder(key, "reasoning"), partsOf(item.content, "reasoning_text")));
        answer.reasoning(
          key,
          missing(answer.textUnder(key, "summary"), partsOf(item.summary, "summary_text")),
          0,
          "summary",
        );
        break;
      case "function_call": {
        const known = answer.argumentsOf(key);
        const name = known === null ? textIn(item.name) : "";
        answer.call(key, { callId: textIn(item.call_id), name, piece: missing(known ?? "", textIn(item.arguments)) });
        answer.endCall(key, item.status === "incomplete" ? "broken" : "done");
        break;
      }
      default:
        answer.raw(textIn(item.type) || "item", JSON.stringify(item));
    }
    answer.endSlot(key);
  }

  #identify(response: Fields | null): void {
    if (typeof response?.id === "string") this.#answer.responseId = response.id;
    if (typeof response?.model === "string") this.#answer.model = response.model;
  }

  #end(response: Fields): void {
    const answer = this.#answer;
    this.#identify(response);
    // A server that streams nothing of an answer says it here; so does an answer that is no stream.
    if (answer.deltas === 0)
      listIn(response.output).forEach((item, index) => this.#wholeItem(fieldsOf(item), `${index}`));
    answer.usage = responsesUsage(response.usage) ?? answer.usage;
    const error = fieldsOf(response.error);
    if (response.status === "failed" || error) answer.error = wordsOf({ error: error ?? {} });
    const reason = textIn(fieldsOf(response.incomplete_details)?.reason);
    answer.finish = finishOf(reason, textIn(response.status), listIn(response.output));
    answer.complete = true;
  }
}

/** An item's name within the stream; llama.cpp does not number them. */
const keyOf = (fields: Fields): string =>
  textIn(fields.item_id) || textIn(fieldsOf(fields.item)?.id) || String(countIn(fields.output_index) ?? "");

/** What the whole has beyond what is there. Text that was shown stays, whatever is said later. */
const missing = (there: string, whole: string): string => (whole.startsWith(there) ? whole.slice(there.length) : "");

const partsOf = (parts: unknown, type: string): string =>
  listIn(parts)
    .map((part) => fieldsOf(part))
    .filter((part) => part?.type === type)
    .map((part) => textIn(part?.text) || textIn(part?.refusal))
    .join("");

/** In the words of Chat Completions, so that a turn says the same by either protocol. */
function finishOf(reason: string, status: string, output: readonly unknown[]): string {
  if (reason === "max_output_tokens") return "length";
  if (reason !== "") return reason;
  if (output.some((item) => fieldsOf(item)?.type === "function_call")) return "tool_calls";
  return status === "completed" || status === "" ? "stop" : status;
}

export function responsesUsage(value: unknown): Usage | null {
  const fields = fieldsOf(value);
  const prompt = countIn(fields?.input_tokens);
  if (!fields || prompt === null) return null;
  const completion = countIn(fields.output_tokens) ?? 0;
  return {
    prompt,
    completion,
    total: countIn(fields.total_tokens) ?? prompt + completion,
    cached: countIn(fieldsOf(fields.input_tokens_details)?.cached_tokens),
    reasoning: countIn(fieldsOf(fields.output_tokens_details)?.reasoning_tokens),
  };
}
