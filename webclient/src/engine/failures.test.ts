// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { budgetOf, failureOf, retryTime, wordsOf } from "./failures";

const now = Date.UTC(2026, 10, 21, 12);

describe("wordsOf", () => {
  it.each([
    [{ error: { message: "m", type: "t", param: "p", code: "c" } }, { message: "m", type: "t", param: "p", code: "c" }],
    [
      { error: { message: "m", type: "BadRequestError", param: null, code: 400 } },
      { message: "m", type: "BadRequestError", param: "", code: "400" },
    ],
    [{ error: "Unauthorized" }, { message: "Unauthorized", type: "", param: "", code: "Unauthorized" }],
    [
      { object: "error", message: "m", type: "t", code: 404 },
      { message: "m", type: "t", param: "", code: "404" },
    ],
    [
      { type: "error", error: { type: "t", message: "m" } },
      { message: "m", type: "t", param: "", code: "" },
    ],
    [{ detail: "Not Found" }, { message: "Not Found", type: "", param: "", code: "" }],
    ["text", { message: "", type: "", param: "", code: "" }],
    [null, { message: "", type: "", param: "", code: "" }],
  ])("reads %j", (body, words) => {
    expect(wordsOf(body)).toEqual(words);
  });
});

describe("retryTime", () => {
  it.each([
    ["3", now + 3_000],
    [" 0 ", now],
    ["Sat, 21 Nov 2026 12:00:09 GMT", now + 9_000],
    ["Sat, 21 Nov 2026 11:00:00 GMT", now],
    ["1.5", null],
    ["-1", null],
    ["soon", null],
    ["99999999999999", null],
    [null, null],
  ])("reads %j", (value, until) => {
    expect(retryTime(value, now)).toBe(until);
  });
});

describe("budgetOf", () => {
  it("reads the numbers of the gateway's field, and says null to those that are not there", () => {
    expect(budgetOf("prompt=7001; counted=exact; output=2048; context_tokens=8192; output_tokens=2048")).toEqual({
      prompt: 7001,
      counted: "exact",
      output: 2048,
      contextTokens: 8192,
      outputTokens: 2048,
    });
    expect(budgetOf("output=9000; output_tokens=2048")).toMatchObject({
      prompt: null,
      output: 9000,
      contextTokens: null,
    });
    expect(budgetOf(null)).toMatchObject({ prompt: null, counted: "" });
  });

  it("takes any text", () => {
    fc.assert(fc.property(fc.string(), (text) => void budgetOf(text)));
  });
});

describe("failureOf", () => {
  const refusal = { header: () => null, body: "", requestId: "r", sentBytes: 9, hadKey: true };

  it("has a kind for every status", () => {
    const kinds = [400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504].map(
      (status) => failureOf({ ...refusal, status }, now, 5).kind,
    );
    expect(kinds).toEqual([
      "refused",
      "badKey",
      "forbidden",
      "refused",
      "refused",
      "tooLarge",
      "refused",
      "rateLimited",
      "server",
      "server",
      "server",
      "server",
    ]);
  });

  it("knows the budget's refusal by its body, and a missing key by what was sent", () => {
    expect(failureOf({ ...refusal, status: 400, body: '{"error": "TOKEN_BUDGET_EXCEEDED"}' }, now, null).kind).toBe(
      "overBudget",
    );
    expect(failureOf({ ...refusal, status: 401, hadKey: false }, now, null).kind).toBe("noKey");
  });
});
