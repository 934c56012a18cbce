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
        fc.constantFrom("js", "python", "html", "yaml", "diff", "bash", "toml", "json", "rust", "css", "sql"),
        (code, language) => {
          expect(plain(highlight(code, language)!)).toBe(code);
        },
      ),
    );
  });

  it("tells comments from texts, and texts from code", () => {
    const kinds = (code: string, language: string): string[] =>
      highlight(code, language)!.flatMap((node) => (typeof node === "string" ? [] : node.classes));
    expect(kinds("x = '#' # '", "python")).toEqual(["hljs-string", "hljs-comment"]);
    expect(kinds("f('//') // '", "ts")).toEqual(["hljs-title", "hljs-string", "hljs-comment"]);
    expect(kinds('{"a": "b", "c": 1}', "json")).toEqual(["attr", "string", "attr", "number"].map((k) => `hljs-${k}`));
    expect(kinds("echo $HOME --all", "sh")).toEqual(["hljs-keyword", "hljs-attr", "hljs-attr"]);
    expect(kinds("SELECT 1 -- one", "sql")).toEqual(["hljs-keyword", "hljs-number", "hljs-comment"]);
  });

  it("takes its time from the length alone", () => {
    const traps = [
      "a",
      "-",
      " ",
      "\n",
      '"',
      "'",
      "`",
      "\\",
      "<!",
      "${",
      "a:",
      "a=",
      "/*",
      '"""',
      "1.",
      "a\n\n",
      "<a ",
      "[",
      "- ",
    ];
    const began = performance.now();
    for (const trap of traps)
      for (const language of ["js", "python", "html", "yaml", "diff", "bash", "toml", "json", "rust", "css", "sql"])
        highlight(trap.repeat(20_000 / trap.length), language);
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  it("leaves unknown languages and very long code plain", () => {
    expect(highlight("x", "klingon")).toBeNull();
    expect(highlight("x", "constructor")).toBeNull();
    expect(highlight("x".repeat(50_001), "js")).toBeNull();
  });
});
