// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { JsonProgress, judge } from "./json";

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

/** The text in pieces, cut at these places. */
const pieces = (text: string, cuts: readonly number[]): string[] => {
  const places = [...new Set(cuts.map((cut) => cut % (text.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((start, index) => text.slice(start, places[index] ?? text.length));
};

describe("JsonProgress", () => {
  it("calls every JSON value complete, and each beginning of one a prefix", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(), (value, cut) => {
        const text = JSON.stringify(value);
        expect(judge(text).kind).toBe("complete");
        const beginning = text.slice(0, cut % text.length);
        expect(["empty", "prefix", "complete"]).toContain(judge(beginning).kind);
      }),
    );
  });

  it("says of any text what JSON.parse says of it", () => {
    const near = fc.stringMatching(/^[[\]{}":,0-9.eE+\-truefalsn \\]*$/);
    fc.assert(
      fc.property(fc.oneof(near, fc.string(), fc.json()), (text) => {
        expect(judge(text).kind === "complete").toBe(isJson(text));
      }),
      { numRuns: 2000 },
    );
  });

  it("comes to the same verdict however the text is cut", () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), fc.array(fc.nat(), { maxLength: 8 }), (text, cuts) => {
        const progress = new JsonProgress();
        for (const piece of pieces(text, cuts)) progress.push(piece);
        expect(progress.verdict).toEqual(judge(text));
      }),
    );
  });

  it.each([
    ['{"city": "Oslo"}', { kind: "complete", object: true }],
    ['"{}"', { kind: "complete", object: false }],
    ['{"city": "Os', { kind: "prefix", depth: 1 }],
    ['{"a": [1, {', { kind: "prefix", depth: 3 }],
    ["  ", { kind: "empty" }],
    ["{'city': 1}", { kind: "broken", at: 1 }],
    ['{"a": 01}', { kind: "broken", at: 7 }],
    ['{"a": 1,}', { kind: "broken", at: 8 }],
    ["{} {}", { kind: "broken", at: 3 }],
    ['{"a": "\n"}', { kind: "broken", at: 7 }],
    ['{"a": NaN}', { kind: "broken", at: 6 }],
  ])("judges %s", (text, verdict) => {
    expect(judge(text)).toEqual(verdict);
  });
});
