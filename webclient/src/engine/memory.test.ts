// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MemoryWatch, memoryError, memoryNames, memoryOperation, memoryWords } from "./memory";

const hades = { type: "flush", agent_id: "a", ts: 1, details: { message: "Flushing", tokens: 7400, limit: 8192 } };
const letta = {
  type: "system_alert",
  message: "[This is an automated system message hidden from the user] soon",
  time: "2026-11-21",
};

describe("memoryOperation", () => {
  it("knows the tools of HADES and of Letta, and those that are set", () => {
    expect(memoryOperation("store_core", [])).toEqual({ family: "hades", tier: "core", action: "write" });
    expect(memoryOperation("search_archival", [])).toEqual({ family: "hades", tier: "archival", action: "read" });
    expect(memoryOperation("record_heartbeat", [])).toMatchObject({ action: "beat" });
    expect(memoryOperation("core_memory_append", [])).toMatchObject({ family: "letta", tier: "core" });
    expect(memoryOperation("recollect", ["recollect"])).toMatchObject({ family: "custom" });
    for (const name of ["get_weather", "", "constructor", "__proto__"]) expect(memoryOperation(name, [])).toBeNull();
  });

  it("takes only names from a list that is set", () => {
    expect(memoryNames(["a_b", "two words", 7, "", "x".repeat(65)])).toEqual(["a_b"]);
    expect(memoryNames("a")).toEqual([]);
  });
});

describe("memoryWords", () => {
  it.each([
    ["a line", `Before\n${JSON.stringify(hades)}\nAfter`],
    ["a block", `\`\`\`json\n${JSON.stringify(hades, null, 2)}\n\`\`\``],
    ["a line's end", `Event: ${JSON.stringify(hades)}`],
  ])("finds an event in %s", (_, text) => {
    expect(memoryWords(text)).toMatchObject([{ event: "flush", message: "Flushing", tokens: 7400, limit: 8192 }]);
  });

  it("finds Letta's packed messages", () => {
    expect(memoryWords(JSON.stringify(letta))).toMatchObject([
      { event: "warning", message: letta.message, tokens: null },
    ]);
    expect(memoryWords(JSON.stringify({ type: "heartbeat", reason: "again", time: "x" }))).toMatchObject([
      { event: "heartbeat", message: "again" },
    ]);
  });

  it("sees no event in other JSON", () => {
    for (const value of [
      { type: "error" },
      { type: "warning", text: "x" },
      { type: "function", details: {} },
      { message: "x", time: "y" },
      [hades],
    ]) {
      expect(memoryWords(`${JSON.stringify(value)}\n`).filter(({ event }) => event !== "flush")).toEqual([]);
    }
  });

  it("finds the same in any pieces", () => {
    const text = `One\n{ "a": 1 }\n${JSON.stringify(hades)}\n{\n\nTwo ${JSON.stringify(letta)}\n${JSON.stringify(hades, null, 1)}\nend`;
    const whole = memoryWords(text);
    expect(whole.map(({ event }) => event)).toEqual(["flush", "warning", "flush"]);
    fc.assert(
      fc.property(fc.array(fc.nat({ max: text.length }), { maxLength: 12 }), (cuts) => {
        const watch = new MemoryWatch();
        const places = [...new Set(cuts)].sort((a, b) => a - b);
        const found = [0, ...places].flatMap((start, index) =>
          watch.push(text.slice(start, places[index] ?? text.length)),
        );
        expect([...found, ...watch.end()]).toEqual(whole);
      }),
    );
  });

  it("takes any text, and lets go of what never ends", () => {
    fc.assert(fc.property(fc.string(), (text) => void memoryWords(text)));
    expect(memoryWords(`{"${"x".repeat(9_000)}\n${JSON.stringify(hades)}\n`)).toHaveLength(1);
  });
});

describe("memoryError", () => {
  it("knows the executor's errors in a result", () => {
    expect(memoryError('{"error": "TOKEN_BUDGET_EXCEEDED", "required_headroom": 300}')).toMatchObject({
      event: "error",
      message: "TOKEN_BUDGET_EXCEEDED",
      tokens: 300,
    });
    expect(memoryError('{"error": "other"}')).toBeNull();
    expect(memoryError("no json")).toBeNull();
  });
});
