// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkTools, fits } from "./tools";

const tool = (fields: object): string => JSON.stringify([{ type: "function", function: fields }]);

describe("checkTools", () => {
  it("reads both forms of a definition into one", () => {
    const inner = { name: "look", description: "Looks", parameters: { type: "object", properties: {} }, strict: true };
    const chat = checkTools(tool(inner));
    expect(chat).toEqual({ tools: [{ type: "function", function: inner }], problem: null });
    expect(checkTools(JSON.stringify([{ type: "function", ...inner }]))).toEqual(chat);
    expect(checkTools(" \n")).toEqual({ tools: [], problem: null });
  });

  it.each([
    ["[{", { kind: "notJson", at: 2 }],
    ["[1,]", { kind: "notJson", at: 3 }],
    ["{}", { kind: "notAList" }],
    ["[7]", { kind: "badTool", index: 0, fault: "notAnObject" }],
    ['[{"type": "web_search"}]', { kind: "badTool", index: 0, fault: "notAFunction" }],
    ['[{"type": "function", "function": 1}]', { kind: "badTool", index: 0, fault: "notAFunction" }],
    [tool({ name: "two words" }), { kind: "badTool", index: 0, fault: "badName" }],
    [tool({ name: "a", description: 1 }), { kind: "badTool", index: 0, fault: "badDescription" }],
    [tool({ name: "a", parameters: [] }), { kind: "badTool", index: 0, fault: "badParameters" }],
    [tool({ name: "a", parameters: { type: "string" } }), { kind: "badTool", index: 0, fault: "badParameters" }],
    [
      JSON.stringify([0, 1].map(() => ({ type: "function", name: "a" }))),
      { kind: "badTool", index: 1, fault: "duplicateName" },
    ],
    [JSON.stringify(Array(129).fill({})), { kind: "tooMany", most: 128 }],
  ])("says what is wrong with %s", (text, problem) => {
    expect(checkTools(text)).toEqual({ tools: [], problem });
  });

  it("takes any text", () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => void checkTools(text)));
  });
});

describe("fits", () => {
  const schema = {
    type: "object",
    properties: {
      city: { type: "string" },
      days: { type: "integer" },
      unit: { enum: ["C", "F"] },
      tags: { type: "array", items: { type: "string" } },
    },
    required: ["city"],
    additionalProperties: false,
  };

  it.each([
    [{ city: "Rome" }, true],
    [{ city: "Rome", days: 3, unit: "C", tags: ["a"] }, true],
    [{}, false],
    [{ city: 1 }, false],
    [{ city: "Rome", days: 1.5 }, false],
    [{ city: "Rome", unit: "K" }, false],
    [{ city: "Rome", tags: [1] }, false],
    [{ city: "Rome", more: 1 }, false],
    ["Rome", false],
  ])("judges %j", (value, verdict) => {
    expect(fits(value, schema)).toBe(verdict);
  });

  it("lets pass what it does not understand", () => {
    for (const unknown of [
      { $ref: "#/x" },
      { anyOf: [{ type: "string" }] },
      { type: "decimal" },
      undefined,
      true,
      { type: ["string", "null"], enum: [null] },
    ]) {
      expect(fits(null, unknown)).toBe(true);
    }
    fc.assert(fc.property(fc.jsonValue(), fc.jsonValue(), (value, any) => void fits(value, any)));
  });
});
