// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Answer, ItemList } from "./answer";
import { ResponsesReader } from "./responses";

type Event = { type: string } & Record<string, unknown>;

function answering(): Answer {
  let count = 0;
  return new Answer(new ItemList(), {
    attempt: "a",
    streamed: true,
    offered: [],
    memoryTools: [],
    continues: null,
    now: () => 0,
    newId: () => `i${(count += 1)}`,
  });
}

function read(...events: Event[]): Answer {
  const answer = answering();
  const reader = new ResponsesReader(answer);
  for (const event of events) reader.event({ name: event.type, data: JSON.stringify(event) });
  answer.end(answer.complete ? "done" : "broken");
  return answer;
}

const completed = (output: unknown[] = [], more: object = {}): Event => ({
  type: "response.completed",
  response: {
    id: "resp_1",
    model: "m",
    status: "completed",
    output,
    usage: { input_tokens: 5, output_tokens: 3, output_tokens_details: { reasoning_tokens: 1 } },
    ...more,
  },
});
const reasoning = {
  id: "rs_1",
  type: "reasoning",
  summary: [],
  content: [{ type: "reasoning_text", text: "Let me think." }],
};
const message = {
  id: "msg_1",
  type: "message",
  role: "assistant",
  status: "completed",
  content: [{ type: "output_text", text: "Hello there" }],
};
const call = {
  id: "fc_1",
  type: "function_call",
  call_id: "call_1",
  name: "look",
  arguments: '{"at": 1}',
  status: "completed",
};

describe("ResponsesReader", () => {
  it("reads reasoning, text and calls as vLLM streams them", () => {
    const answer = read(
      { type: "response.created", response: { id: "resp_1", model: "m" } },
      { type: "response.output_item.added", item: { ...reasoning, content: null }, output_index: 0 },
      { type: "response.reasoning_text.delta", item_id: "rs_1", output_index: 0, content_index: 0, delta: "Let me " },
      { type: "response.reasoning_text.delta", item_id: "rs_1", output_index: 0, content_index: 0, delta: "think." },
      {
        type: "response.reasoning_text.done",
        item_id: "rs_1",
        output_index: 0,
        content_index: 0,
        text: "Let me think.",
      },
      { type: "response.output_item.done", item: reasoning, output_index: 0 },
      { type: "response.output_item.added", item: { ...message, content: [] }, output_index: 1 },
      { type: "response.content_part.added", item_id: "msg_1", part: {} },
      { type: "response.output_text.delta", item_id: "msg_1", delta: "Hello" },
      { type: "response.output_text.delta", item_id: "msg_1", delta: " there" },
      { type: "response.output_text.done", item_id: "msg_1", text: "Hello there" },
      { type: "response.output_item.done", item: message, output_index: 1 },
      { type: "response.output_item.added", item: { ...call, arguments: "" }, output_index: 2 },
      { type: "response.function_call_arguments.delta", item_id: "fc_1", delta: '{"at"' },
      { type: "response.function_call_arguments.delta", item_id: "fc_1", delta: ": 1}" },
      { type: "response.function_call_arguments.done", item_id: "fc_1", name: "look", arguments: '{"at": 1}' },
      { type: "response.output_item.done", item: call, output_index: 2 },
      completed([reasoning, message, call]),
    );
    expect(answer.list.values).toMatchObject([
      { kind: "reasoning", text: "Let me think.", state: "done" },
      { kind: "agentMessage", text: "Hello there", state: "done" },
      {
        kind: "toolCall",
        callId: "call_1",
        name: "look",
        arguments: '{"at": 1}',
        state: "done",
        verdict: { kind: "complete" },
      },
    ]);
    expect(answer).toMatchObject({ complete: true, finish: "tool_calls", responseId: "resp_1", model: "m" });
    expect(answer.usage).toEqual({ prompt: 5, completion: 3, total: 8, cached: null, reasoning: 1 });
  });

  it("gives the same items for an answer that is no stream, or is told only at its end", () => {
    const bare = (answer: Answer): unknown =>
      answer.list.values.map(({ kind, ...item }) => [
        kind,
        "text" in item ? item.text : "arguments" in item ? item.arguments : "",
      ]);
    const whole = answering();
    new ResponsesReader(whole).whole({ id: "resp_1", status: "completed", output: [reasoning, message, call] });
    expect(bare(whole)).toEqual([
      ["reasoning", "Let me think."],
      ["agentMessage", "Hello there"],
      ["toolCall", '{"at": 1}'],
    ]);
    expect(bare(read(completed([reasoning, message, call])))).toEqual(bare(whole));
    expect(bare(read({ type: "response.output_item.done", item: message }, completed([message])))).toEqual([
      ["agentMessage", "Hello there"],
    ]);
  });

  it("adds what the last word has beyond the pieces, and never takes back what was shown", () => {
    const started: Event = { type: "response.output_text.delta", item_id: "m", delta: "Hel" };
    expect(read(started, { type: "response.output_text.done", item_id: "m", text: "Hello" }).list.values).toMatchObject(
      [{ text: "Hello" }],
    );
    expect(read(started, { type: "response.output_text.done", item_id: "m", text: "Other" }).list.values).toMatchObject(
      [{ text: "Hel" }],
    );
  });

  it("reads a summary of reasoning and a refusal", () => {
    const answer = read(
      { type: "response.reasoning_summary_text.delta", item_id: "r", delta: "In short" },
      { type: "response.refusal.delta", item_id: "m", delta: "No" },
      completed(),
    );
    expect(answer.list.values).toMatchObject([
      { kind: "reasoning", summary: "In short", text: "" },
      { kind: "agentMessage", refusal: "No" },
    ]);
  });

  it("calls a length stop by its name, and a failure an error", () => {
    expect(
      read(completed([], { status: "incomplete", incomplete_details: { reason: "max_output_tokens" } })).finish,
    ).toBe("length");
    const failed = read({
      type: "response.failed",
      response: { status: "failed", error: { code: "server_error", message: "It died" } },
    });
    expect(failed.error).toMatchObject({ code: "server_error", message: "It died" });
    expect(read({ type: "error", message: "Odd", code: "x" }).error).toMatchObject({ message: "Odd", code: "x" });
    expect(read({ type: "response.output_text.delta", item_id: "m", delta: "cut" }).complete).toBe(false);
  });

  it("keeps unknown events and items", () => {
    const answer = read(
      { type: "response.web_search_call.searching", item_id: "w" },
      { type: "response.output_item.done", item: { type: "web_search_call", id: "w" } },
      completed(),
    );
    expect(answer.list.values.map((item) => (item.kind === "raw" ? item.name : ""))).toEqual([
      "response.web_search_call.searching",
      "web_search_call",
    ]);
  });

  it("takes any JSON as an event without throwing", () => {
    const type = fc.constantFrom(
      "response.output_text.delta",
      "response.output_item.done",
      "response.completed",
      "response.function_call_arguments.done",
      "error",
      "x",
    );
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            type,
            fc.dictionary(
              fc.constantFrom("item", "delta", "text", "item_id", "response", "arguments", "output_index"),
              fc.jsonValue(),
            ),
          ),
        ),
        (events) => {
          const answer = answering();
          const reader = new ResponsesReader(answer);
          for (const [name, fields] of events) reader.event({ name, data: JSON.stringify({ type: name, ...fields }) });
          answer.end("broken");
        },
      ),
      { numRuns: 500 },
    );
  });
});
