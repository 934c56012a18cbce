// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EventMask, JsonMask, maskBody, maskHeaders, maskPayload, maskText } from "./mask";

const canary = "canary7f3e9ab1c4";

/** Keys in order, and types: what a mask may not change. Booleans may become null. */
const shape = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(shape);
  if (typeof value === "object" && value !== null)
    return Object.entries(value).map(([key, inner]) => [key, shape(inner)]);
  return typeof value === "boolean" || value === null ? "null" : typeof value;
};

describe("JsonMask", () => {
  it("leaves keys, types and lengths, and is JSON wherever what it masks is", () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), fc.nat({ max: 3 }), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        const masked = new JsonMask().push(text);
        expect(masked).toHaveLength(text.length);
        expect(shape(JSON.parse(masked))).toEqual(shape(value));
      }),
      { numRuns: 1000 },
    );
  });

  it("masks pieces as it masks the whole", () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), fc.nat(), (text, cut) => {
        const place = cut % (text.length + 1);
        const pieces = new JsonMask();
        expect(pieces.push(text.slice(0, place)) + pieces.push(text.slice(place))).toBe(new JsonMask().push(text));
      }),
    );
  });

  it("has no value in it, well formed or not", () => {
    fc.assert(
      fc.property(fc.string(), fc.boolean(), (around, cut) => {
        const text = JSON.stringify({ key: `${around}${canary}`, list: [canary, { inner: canary }] });
        expect(new JsonMask().push(cut ? text.slice(0, -3) : text)).not.toContain(canary);
        expect(new JsonMask().push(`oops ${text}`)).not.toContain(canary);
      }),
    );
  });

  it("keeps the form of each kind of value", () => {
    expect(new JsonMask().push('{"a": "x\\"y\\u0041", "b": [-0.5e+10, true, false, null]}')).toBe(
      '{"a": "••••••••••", "b": [-1.1e+11, null, null , null]}',
    );
  });
});

describe("maskText", () => {
  it("leaves lines and lengths", () => {
    expect(maskText("ab\n😀 c")).toBe("••\n••••");
    expect(maskPayload("plain")).toBe("•••••");
    expect(maskPayload('"text"')).toBe("••••••");
  });
});

describe("EventMask", () => {
  it("keeps what tells how it was said, and nothing of what", () => {
    const event = {
      id: "chatcmpl-1",
      object: "chat.completion.chunk",
      model: "m",
      choices: [
        {
          index: 0,
          delta: {
            role: "assistant",
            content: canary,
            tool_calls: [{ index: 0, id: "call_1", type: "function", function: { name: "look", arguments: '{"a"' } }],
          },
          finish_reason: "stop",
          stop_reason: canary,
          token_ids: [17, 4],
        },
      ],
      prompt_token_ids: [1, 2],
      usage: { prompt_tokens: 3, prompt_tokens_details: { cached_tokens: 1 } },
    };
    expect(JSON.parse(new EventMask().data(JSON.stringify(event)))).toEqual({
      ...event,
      choices: [
        {
          ...event.choices[0],
          delta: { ...event.choices[0]!.delta, content: maskText(canary) },
          stop_reason: maskText(canary),
          token_ids: [0, 0],
        },
      ],
      prompt_token_ids: [0, 0],
    });
  });

  it("masks arguments that come in pieces, of several calls at once, as if they were whole", () => {
    const mask = new EventMask();
    const delta = (index: number, written: string): string =>
      JSON.stringify({ choices: [{ index: 0, delta: { tool_calls: [{ index, function: { arguments: written } }] } }] });
    const written = (data: string): string =>
      (JSON.parse(data) as { choices: [{ delta: { tool_calls: [{ function: { arguments: string } }] } }] }).choices[0]
        .delta.tool_calls[0].function.arguments;
    const first = ['{"city": "Ca', 'nary"}'].map((piece) => [
      piece,
      mask.data(delta(0, piece)),
      mask.data(delta(1, '{"n": 12')),
    ]);
    expect(first.map(([, masked]) => written(masked!)).join("")).toBe('{"city": "••••••"}');
    const responses = new EventMask();
    const pieces = ['{"a": tr', "ue}"].map((piece) =>
      responses.data(JSON.stringify({ type: "response.function_call_arguments.delta", item_id: "fc", delta: piece })),
    );
    expect(pieces.map((data) => (JSON.parse(data) as { delta: string }).delta).join("")).toBe('{"a": null}');
  });

  it("lets no value through, wherever in whichever event", () => {
    const place = fc.constantFrom(
      "content",
      "delta",
      "text",
      "error",
      "message",
      "metadata",
      "user",
      "logprobs",
      "instructions",
      "arguments",
      "tool_choice",
      "stop",
      "name2",
    );
    fc.assert(
      fc.property(fc.array(place, { minLength: 1, maxLength: 5 }), fc.boolean(), (path, inList) => {
        // Blanks and braces: words of protocols have none.
        const secret = `${canary} {x}`;
        const event = path.reduceRight<unknown>((inner, key) => ({ [key]: inList ? [inner] : inner }), secret);
        expect(new EventMask().data(JSON.stringify(event))).not.toContain(canary);
      }),
      { numRuns: 500 },
    );
  });

  it("masks what is no JSON", () => {
    expect(new EventMask().data(`broken ${canary}`)).not.toContain(canary);
    expect(new EventMask().data("[DONE]")).toBe("[DONE]");
    expect(maskBody("")).toBe("");
    expect(() => new EventMask().data("[".repeat(3_000) + "]".repeat(3_000))).not.toThrow();
  });
});

describe("maskHeaders", () => {
  it("keeps ids, limits and types", () => {
    const headers = [
      ["content-type", "text/event-stream"],
      ["x-request-id", "abc-1"],
      ["x-ratelimit-remaining-requests", "9"],
      ["x-note", canary],
      ["Authorization", "Bearer $HADES_KEY"],
    ] as const;
    expect(maskHeaders(headers, ["X-Request-ID"])).toEqual(
      headers.map(([name, value]) => [name, value === canary ? maskText(canary) : value]),
    );
  });
});
