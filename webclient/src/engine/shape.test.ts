// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { keyedHash, Shaper } from "./shape";

const shaper = new Shaper(new Uint8Array(8));

describe("keyedHash", () => {
  it("is HalfSipHash-2-4, by the first of its authors' test vectors", () => {
    // key 00 01 .. 07; inputs "", 00, 00 01, 00 01 02
    const key = [0x03020100, 0x07060504] as const;
    const hash = (length: number): string => {
      const word = keyedHash(
        key,
        Uint8Array.from({ length }, (_, index) => index),
      );
      return [0, 8, 16, 24].map((bits) => ((word >>> bits) & 255).toString(16).padStart(2, "0")).join("");
    };
    expect([0, 1, 2, 3].map(hash)).toEqual(["a9359f5b", "27475ab8", "fa62a603", "8afee704"]);
  });
});

describe("Shaper", () => {
  it("tells keys, types and lengths, and equal values by equal hashes", () => {
    const shape = shaper.ofText('{"a": "Oslo", "b": ["Oslo", 1, true, null]}');
    const oslo = { kind: "string", length: 4, hash: shaper.hash("Oslo") };
    expect(shape).toEqual({
      kind: "object",
      fields: [
        ["a", oslo],
        [
          "b",
          {
            kind: "list",
            length: 4,
            entries: [oslo, { kind: "number", hash: shaper.hash("1") }, { kind: "boolean" }, { kind: "null" }],
          },
        ],
      ],
    });
  });

  it("never has a value in it", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string({ maxLength: 20 }), (value, extra) => {
        const canary = `canary-${extra}`;
        const shape = JSON.stringify(shaper.ofText(JSON.stringify({ value: [value, canary], deep: { canary } })));
        expect(shape).not.toContain(JSON.stringify(canary).slice(1, -1));
      }),
    );
  });

  it("calls what is no JSON a text, and stops at depth", () => {
    expect(shaper.ofText("{oops")).toMatchObject({ kind: "text", length: 5 });
    expect(JSON.stringify(shaper.ofText("[".repeat(900) + "]".repeat(900)))).toContain("deep");
  });

  it("gives other hashes for another key", () => {
    const other = new Shaper(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    expect(other.hash("Oslo")).not.toBe(shaper.hash("Oslo"));
  });
});
