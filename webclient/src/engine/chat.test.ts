// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Item } from "../model";
import { Answer, type AnswerContext, ItemList } from "./answer";
import type { ToolDefinition } from "./api";
import { ChatReader } from "./chat";
import { FrameReader } from "./frames";

const utf8 = new TextEncoder();
const weather: ToolDefinition = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

function answering(fields: Partial<AnswerContext> = {}): Answer {
  let count = 0;
  const context = {
    attempt: "a",
    streamed: true,
    offered: [weather],
    memoryTools: [],
    continues: null,
    now: () => 0,
    newId: () => `i${(count += 1)}`,
  };
  return new Answer(new ItemList(), { ...context, ...fields });
}

const chunk = (delta: object, finish: string | null = null, index = 0): string =>
  `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", model: "m", choices: [{ index, delta, finish_reason: finish }] })}\n\n`;

/** Reads a stream that arrives in pieces. */
function read(stream: string, cuts: readonly number[] = [], answer = answering()): Answer {
  const bytes = utf8.encode(stream);
  const reader = new ChatReader(answer);
  const frames = new FrameReader((event) => reader.event(event));
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const place of [...places, bytes.length]) {
    frames.push(bytes.subarray(from, place), 0);
    from = place;
  }
  answer.end(answer.complete ? "done" : "broken");
  return answer;
}

const items = (answer: Answer): readonly Item[] => answer.list.values;
const call = (index: number, id: string, name: string, written: string): object => ({
  index,
  id,
  type: "function",
  function: { name, arguments: written },
});

describe("ChatReader", () => {
  it("gives one result for any chunking", () => {
    const stream =
      chunk({ role: "assistant", content: "" }) +
      chunk({ reasoning: "Grüße, " }) +
      chunk({ reasoning_content: "你好" }) +
      ": keep-alive\n\n" +
      chunk({ content: "😀 one " }) +
      chunk({ content: "two" }) +
      chunk({ content: null, tool_calls: [call(0, "call_1", "get_weather", "")] }) +
      chunk({ tool_calls: [{ index: 0, function: { arguments: '{"city": ' } }] }) +
      chunk({ tool_calls: [{ index: 0, function: { arguments: '"Rome"}' } }] }) +
      chunk({}, "tool_calls") +
      'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1}}}\n\n' +
      "data: [DONE]\n\n";
    const whole = read(stream);
    expect(items(whole)).toMatchObject([
      { kind: "reasoning", text: "Grüße, 你好", state: "done" },
      { kind: "agentMessage", text: "😀 one two", state: "done" },
      {
        kind: "toolCall",
        callId: "call_1",
        name: "get_weather",
        arguments: '{"city": "Rome"}',
        flags: [],
        state: "done",
      },
    ]);
    expect(whole).toMatchObject({ complete: true, finish: "tool_calls", responseId: "c", model: "m", error: null });
    expect(whole.usage).toEqual({ prompt: 1, completion: 2, total: 3, cached: 1, reasoning: null });
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 20 }), (cuts) => {
        const cut = read(stream, cuts);
        expect(items(cut)).toEqual(items(whole));
        expect(cut.received).toEqual(whole.received);
      }),
    );
  });

  it("gives streamed and whole the same items", () => {
    const message = {
      role: "assistant",
      content: "Hi",
      reasoning: "Hm",
      tool_calls: [call(0, "c1", "get_weather", '{"city":"Rome"}')],
    };
    const whole = answering({ streamed: false });
    new ChatReader(whole).whole({ id: "c", model: "m", choices: [{ index: 0, message, finish_reason: "tool_calls" }] });
    whole.end("done");
    const streamed = read(
      chunk({ reasoning: "Hm" }) +
        chunk({ content: "Hi" }) +
        chunk({ tool_calls: message.tool_calls }) +
        chunk({}, "tool_calls"),
    );
    expect(items(whole)).toEqual(items(streamed));
  });

  it("never drops what it does not know", () => {
    const answer = read(
      chunk({ content: "a", hologram: { x: 1 } }) +
        'event: weather\ndata: {"sun": true}\n\n' +
        "data: not json\n\n" +
        'data: {"object": "mystery"}\n\n' +
        'data: {"id": "c", "choices": [], "later": [1]}\n\n' +
        'data: {"choices": [7]}\n\n' +
        chunk({ content: [{ type: "text", text: "b" }, { type: "audio" }] }),
    );
    const raws = items(answer).filter((item) => item.kind === "raw");
    expect(raws.map(({ name }) => name)).toEqual(["hologram", "weather", "data", "later", "choice", "content"]);
    expect(raws[2]!.data).toBe('not json\n{"object": "mystery"}');
    expect(items(answer).find((item) => item.kind === "agentMessage")).toMatchObject({ text: "ab" });
  });

  it("takes any JSON and any text as events without throwing", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.json(),
            fc.string(),
            fc.constantFrom(
              "[DONE]",
              '{"choices":null}',
              '{"choices":[{"delta":{"tool_calls":[null,{"index":-1},{"index":"x"}]}}]}',
            ),
          ),
        ),
        (datas) => {
          const answer = answering();
          const reader = new ChatReader(answer);
          for (const data of datas) reader.event({ name: "", data });
          answer.end("broken");
        },
      ),
      { numRuns: 500 },
    );
  });

  it.each([
    ["missingId", [{ index: 0, function: { name: "get_weather", arguments: '{"city":"X"}' } }]],
    ["missingName", [{ index: 0, id: "c", function: { arguments: "{}" } }]],
    ["unknownTool", [call(0, "c", "get_time", "{}")]],
    ["schemaMismatch", [call(0, "c", "get_weather", '{"town":"X"}')]],
    ["doubleEncoded", [call(0, "c", "get_weather", JSON.stringify('{"city":"X"}'))]],
    ["wrongIndex", [call(1, "c", "get_weather", '{"city":"X"}')]],
    ["oneLump", [call(0, "c", "get_weather", JSON.stringify({ city: "X".repeat(40) }))]],
    ["duplicateId", [call(0, "c", "get_weather", '{"city":"X"}'), call(1, "c", "get_weather", '{"city":"Y"}')]],
  ] as const)("flags %s", (flag, tool_calls) => {
    const calls = items(read(chunk({ tool_calls }) + chunk({}, "tool_calls"))).filter(
      (item) => item.kind === "toolCall",
    );
    expect(calls.at(-1)!.flags).toEqual([flag]);
  });

  it("raises no flag on clean calls, cut into any fragments, several of them", () => {
    const city = fc.string({ unit: "grapheme", maxLength: 60 });
    fc.assert(
      fc.property(fc.array(city, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 20 }), (cities, size) => {
        let stream = "";
        cities.forEach((name, index) => {
          stream += chunk({ tool_calls: [call(index, `call_${index}`, "get_weather", "")] });
          const written = JSON.stringify({ city: name });
          for (let at = 0; at < written.length; at += size)
            stream += chunk({ tool_calls: [{ index, function: { arguments: written.slice(at, at + size) } }] });
        });
        const answer = read(stream + chunk({}, "tool_calls"));
        const calls = items(answer).filter((item) => item.kind === "toolCall");
        expect(calls.map((one) => JSON.parse(one.arguments) as unknown)).toEqual(
          cities.map((name) => ({ city: name })),
        );
        expect(calls.flatMap(({ flags }) => flags)).toEqual([]);
      }),
    );
  });

  it("tells calls apart that come without an index", () => {
    const bare = (id: string, name: string, written: string): object => ({
      id,
      function: { name, arguments: written },
    });
    const answer = read(
      chunk({ tool_calls: [bare("a", "get_weather", '{"city":')] }) +
        chunk({ tool_calls: [{ function: { arguments: '"X"}' } }] }) +
        chunk({ tool_calls: [bare("b", "get_weather", '{"city":"Y"}')] }) +
        chunk({}, "stop"),
    );
    expect(items(answer)).toMatchObject([{ arguments: '{"city":"X"}' }, { arguments: '{"city":"Y"}' }]);
  });

  it("understands the older form of calls", () => {
    const answer = read(
      chunk({ function_call: { name: "get_weather", arguments: '{"city":' } }) +
        chunk({ function_call: { arguments: '"X"}' } }) +
        chunk({}, "function_call"),
    );
    expect(items(answer)).toMatchObject([
      { kind: "toolCall", name: "get_weather", arguments: '{"city":"X"}', state: "done" },
    ]);
  });

  it("marks markup of calls that leaked into the text, also if it came in pieces, and only if tools were offered", () => {
    const stream = chunk({ content: "Well <tool" }) + chunk({ content: "_call>{}" }) + chunk({}, "stop");
    expect(items(read(stream))).toMatchObject([{ leaked: true }]);
    expect(items(read(stream, [], answering({ offered: [] })))).toMatchObject([{ leaked: false }]);
    expect(items(read(chunk({ content: "a < b [c] <toolbox>" }) + chunk({}, "stop")))).toMatchObject([
      { leaked: false },
    ]);
  });

  it("ends calls that were cut as broken, and keeps blanks between calls out of the transcript", () => {
    const cut = read(chunk({ tool_calls: [call(0, "c", "get_weather", '{"city": "Ro')] }));
    expect(items(cut)).toMatchObject([{ state: "broken", verdict: { kind: "prefix", depth: 1 } }]);
    const blanks = read(
      chunk({ content: "\n\n" }) +
        chunk({ tool_calls: [call(0, "c", "get_weather", '{"city": "R"}')] }) +
        chunk({ content: "\n" }) +
        chunk({}, "tool_calls"),
    );
    expect(items(blanks).map(({ kind }) => kind)).toEqual(["toolCall"]);
    expect(items(read(chunk({ content: "\n\n" }) + chunk({ content: "a" }) + chunk({}, "stop")))).toMatchObject([
      { text: "\n\na" },
    ]);
  });

  it("keeps choices apart", () => {
    const answer = read(
      chunk({ content: "a" }) +
        chunk({ content: "b" }, null, 1) +
        chunk({ content: "c" }, "stop") +
        chunk({ content: "d" }, "length", 1),
    );
    expect(items(answer)).toMatchObject([
      { text: "ac", choice: 0 },
      { text: "bd", choice: 1 },
    ]);
    expect(answer.finish).toBe("stop");
    expect(answer.complete).toBe(true);
  });

  it("reads refusals, and errors in the stream in each of their forms", () => {
    expect(items(read(chunk({ refusal: "I will " }) + chunk({ refusal: "not" }) + chunk({}, "stop")))).toMatchObject([
      { refusal: "I will not", text: "" },
    ]);
    for (const data of [
      'data: {"error": {"message": "x", "code": 500}}\n\n',
      'event: error\ndata: {"error": "x"}\n\n',
    ]) {
      const answer = read(chunk({ content: "a" }) + data + "data: [DONE]\n\n");
      expect(answer.error?.message).toBe("x");
    }
  });

  it("costs a delta what a delta costs: 100,000 of them in one answer", () => {
    const answer = answering();
    const reader = new ChatReader(answer);
    const data = chunk({ content: "word " }).slice(6, -2);
    const from = performance.now();
    for (let count = 0; count < 100_000; count += 1) reader.event({ name: "", data });
    expect(performance.now() - from).toBeLessThan(8_000);
    expect(answer.deltas).toBe(100_000);
  }, 30_000);
});
