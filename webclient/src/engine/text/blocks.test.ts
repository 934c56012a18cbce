// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BlockReader, markdown } from "./blocks";
import type { BlockNode, InlineNode } from "./trees";

const nodes = (text: string): BlockNode[] => markdown(text).map((block) => block.node);
const text = (value: string): InlineNode => ({ kind: "text", text: value });

/** Lines that change the meaning of their neighbours. */
const line = fc.constantFrom(
  "",
  "",
  "1",
  "1. one",
  "2. two",
  "- item",
  "- [x] done",
  "  - inner",
  "    indented",
  "> quoted",
  "lazy",
  "===",
  "---",
  "# heading",
  "```",
  "```js",
  "~~~",
  "  ```",
  "| a | b |",
  "|---|--:|",
  "| 1 | 2 |",
  "**bold** `code` <b>tag</b>",
  "[a]: http://example.com",
  "[link](http://example.com/x) [a]",
  "<div>",
  "text & &amp; more",
);
const document = fc
  .array(fc.oneof({ weight: 9, arbitrary: line }, fc.string({ maxLength: 6 })), { maxLength: 14 })
  .map((lines) => lines.join("\n"));

function streamed(whole: string, cuts: readonly number[]): BlockNode[] {
  const reader = new BlockReader();
  const places = [...new Set(cuts.map((cut) => cut % (whole.length + 1)))].sort((a, b) => a - b);
  for (const place of places) reader.read(whole.slice(0, place), false);
  return reader.read(whole, true).map((block) => block.node);
}

describe("BlockReader", () => {
  it("gives the same blocks in any pieces as in one", () => {
    fc.assert(
      fc.property(document, fc.array(fc.nat(), { maxLength: 30 }), (whole, cuts) => {
        expect(streamed(whole, cuts)).toEqual(nodes(whole));
      }),
      { numRuns: 1500 },
    );
  }, 60_000);

  it("never changes a block it has settled, and keeps ids in order", () => {
    fc.assert(
      fc.property(document, (whole) => {
        const reader = new BlockReader();
        const settled = new Map<number, unknown>();
        for (let end = 0; end <= whole.length; end += 1) {
          const blocks = reader.read(whole.slice(0, end), end === whole.length);
          blocks.forEach((block, index) => {
            expect(block.id).toBe(index);
            if (settled.has(block.id)) expect(block).toBe(settled.get(block.id));
            if (block.settled) settled.set(block.id, block);
          });
        }
      }),
      { numRuns: 200 },
    );
  }, 60_000);

  it("shows every letter that has come, at every moment", () => {
    const whole = "# One\n\nalpha *beta*\n\n```\ngamma\ndelta\n```\n\n- epsilon\n- zeta\n\n| eta |\n|---|\n| theta |\n";
    const reader = new BlockReader();
    for (let end = 0; end <= whole.length; end += 1) {
      const shown = JSON.stringify(reader.read(whole.slice(0, end), false));
      for (const word of whole.slice(0, end).match(/[A-Za-z]{2,}/g) ?? []) expect(shown).toContain(word);
    }
  });

  it("reads an open code block line by line and closes it", () => {
    const reader = new BlockReader();
    reader.read("Look:\n\n```py\nx = 1\n", false);
    expect(reader.read("Look:\n\n```py\nx = 1\ny", false).map((block) => block.node)).toEqual([
      { kind: "paragraph", children: [text("Look:")] },
      { kind: "code", language: "py", text: "x = 1\ny", open: true },
    ]);
    expect(reader.read("Look:\n\n```py\nx = 1\ny = 2\n```\n\nSo.", true).map((block) => block.node)).toEqual([
      { kind: "paragraph", children: [text("Look:")] },
      { kind: "code", language: "py", text: "x = 1\ny = 2", open: false },
      { kind: "paragraph", children: [text("So.")] },
    ]);
  });

  it("goes on after its end as if it had not been there", () => {
    const reader = new BlockReader();
    reader.read("```\na", true);
    expect(reader.read("```\na\nb", false).map((block) => block.node)).toEqual([
      { kind: "code", language: "", text: "a\nb", open: true },
    ]);
    expect(reader.read("```\na\nb\n```\nc", true).map((block) => block.node)).toEqual(nodes("```\na\nb\n```\nc"));
  });

  it("costs what a piece costs: 50,000 pieces of a long code block and of a paragraph without end", () => {
    for (const piece of ["some = code\n", "word "]) {
      const reader = new BlockReader();
      let whole = piece === "word " ? "" : "```\n";
      const from = performance.now();
      for (let count = 0; count < 50_000; count += 1) {
        whole += piece;
        if (count % 50 === 0) reader.read(whole, false);
      }
      expect(performance.now() - from).toBeLessThan(10_000);
    }
  }, 30_000);
});

describe("markdown", () => {
  it("shows markup as text", () => {
    expect(nodes("<script>alert(1)</script>\n\na <img src=x onerror=alert(1)> b")).toEqual([
      { kind: "paragraph", children: [text("<script>alert(1)</script>")] },
      { kind: "paragraph", children: [text("a <img src=x onerror=alert(1)> b")] },
    ]);
  });

  it.each([
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#115;cript:alert(1))",
    "[x](\u0001javascript:alert(1))",
    "[x](data:text/html,x)",
    "[x](vbscript:x)",
    "[x](file:///etc/passwd)",
    "[x](//example.com)",
    "[x](/v1/models)",
    "[x](relative)",
    "[x](http:\\\\example.com)",
    "[x](#key=hgw_0)",
  ])("makes no link of %j", (source) => {
    expect(JSON.stringify(nodes(source))).not.toContain('"link"');
  });

  it("makes links with the host they lead to", () => {
    expect(nodes("[bank](https://bank.example@evil.example/)")).toEqual([
      {
        kind: "paragraph",
        children: [
          { kind: "link", href: "https://bank.example@evil.example/", host: "evil.example", children: [text("bank")] },
        ],
      },
    ]);
    expect(nodes("<https://example.com/a>")[0]).toMatchObject({ children: [{ kind: "link", host: "example.com" }] });
    expect(nodes("[top](#top)")[0]).toMatchObject({ children: [{ kind: "link", href: "#top", host: "" }] });
  });

  it("never loads a picture", () => {
    expect(nodes("![a cat](https://example.com/cat.png)")[0]).toEqual({
      kind: "paragraph",
      children: [{ kind: "image", alt: "a cat", address: "https://example.com/cat.png" }],
    });
  });

  it("reads lists, tasks, tables, quotes and rules", () => {
    expect(nodes("3. a\n4. b\n\n---\n\n> q\n\n- [x] t\n\n|a|\n|:-|\n|b|").map((node) => node.kind)).toEqual([
      "list",
      "rule",
      "quote",
      "list",
      "table",
    ]);
    expect(nodes("- [x] t")[0]).toEqual({
      kind: "list",
      ordered: false,
      start: 1,
      entries: [{ checked: true, children: [{ kind: "paragraph", children: [text("t")] }] }],
    });
  });

  it("turns common character references into characters, and leaves others", () => {
    expect(nodes("&lt;b&gt; &#65;&#x1F600; &#0; &bogus; &constructor;")[0]).toEqual({
      kind: "paragraph",
      children: [text("<b> A😀 \ufffd &bogus; &constructor;")],
    });
  });

  it.each([
    ["quotes", ">".repeat(20_000)],
    ["list marks", "- ".repeat(20_000)],
    ["brackets", "[".repeat(20_000)],
    ["links", "[a](".repeat(5_000)],
    ["stars", "*a ".repeat(20_000)],
    ["mixed emphasis", "*_".repeat(10_000)],
    ["backticks", "`a ``".repeat(5_000)],
    ["images", "![".repeat(10_000)],
    ["table pipes", "|".repeat(20_000) + "\n|-|"],
    ["less-than", "<".repeat(20_000)],
    ["backslashes", "\\".repeat(20_000)],
    ["blank lines", " \n".repeat(20_000)],
  ])("survives a flood of %s", (_, flood) => {
    const from = performance.now();
    expect(() => nodes(flood)).not.toThrow();
    expect(performance.now() - from).toBeLessThan(3_000);
  });

  it("takes any text whatever", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 300 }), (any) => void nodes(any)),
      { numRuns: 500 },
    );
  });
});
