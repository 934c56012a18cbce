// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { highlight } from "./highlight";
import type { Highlighted } from "./trees";

const plain = (tree: readonly Highlighted[]): string =>
  tree.map((node) => (typeof node === "string" ? node : plain(node.children))).join("");

describe("highlight", () => {
  it("marks words in classes", () => {
    expect(highlight("def f(): pass", "py")).toContainEqual({ classes: ["hljs-keyword"], children: ["def"] });
  });

  it("keeps every character, whatever the code is", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 80 }),
        fc.constantFrom("js", "python", "html", "yaml", "diff"),
        (code, language) => {
          expect(plain(highlight(code, language)!)).toBe(code);
        },
      ),
    );
  });

  it("leaves unknown languages and very long code plain", () => {
    expect(highlight("x", "klingon")).toBeNull();
    expect(highlight("x", "constructor")).toBeNull();
    expect(highlight("x".repeat(50_001), "js")).toBeNull();
  });
});
