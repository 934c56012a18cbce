import { act, cleanup, render } from "@testing-library/preact";
import fc from "fast-check";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { BenchProvider, new_bench } from "../bench";
import { fixture_engine } from "../fixtures/engine";
import { Markdown } from "./markdown";

const bench = new_bench(fixture_engine());
const page_of = (text: string, done: boolean) => (
  <BenchProvider value={bench}>
    <Markdown text={text} done={done} />
  </BenchProvider>
);

/** What may be made of a model's text: these elements, and no other. */
const ADMITTED = new Set(
  "DIV P H3 H4 H5 H6 UL OL LI BLOCKQUOTE PRE CODE FIGURE FIGCAPTION TABLE THEAD TBODY TR TH TD STRONG EM S BR HR A SPAN BUTTON svg path".split(
    " ",
  ),
);

beforeAll(async () => {
  await import("../../engine/text/blocks");
});

afterEach(cleanup);

describe("a document of the model", () => {
  it("makes of hostile text nothing but text", async () => {
    const { container } = render(
      page_of(
        '<img src=x onerror="alert(1)"> <script>alert(1)</script> [x](javascript:alert(1)) ![y](https://evil.example/p.png)',
        true,
      ),
    );
    await act(() => new Promise((resolve) => setTimeout(resolve, 50)));
    expect(container.querySelector("img, script, iframe, [href^=javascript]")).toBeNull();
    expect(container.textContent).toContain("<img src=x");
  });

  it("makes only elements of the list, of any text", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom(
            "<b>",
            "</script>",
            "# ",
            "- ",
            "1. ",
            "> ",
            "```js\n",
            "\n",
            "\n\n",
            "|a|b|\n|-|-|\n",
            "[l](javascript:1)",
            "![i](data:x)",
            "**",
            "`",
            "<svg onload=1>",
            "word ",
          ),
          { maxLength: 30 },
        ),
        (parts) => {
          const { container, unmount } = render(page_of(parts.join(""), true));
          for (const element of container.querySelectorAll("*")) {
            expect(ADMITTED.has(element.tagName) || element.tagName === "CODE").toBe(true);
            for (const { name } of element.attributes)
              expect(name.startsWith("on") || name === "style" || name === "src").toBe(false);
          }
          unmount();
        },
      ),
      { numRuns: 200 },
    );
  });

  it("leaves settled blocks alone while the text grows, and links out with their host beside them", async () => {
    const text = "First [link](https://example.org/x).\n\nSecond.\n\nThird.\n\nFourth.\n\n";
    const { container, rerender } = render(page_of(text, false));
    await act(() => new Promise((resolve) => setTimeout(resolve, 50)));
    const first = container.querySelector("p");
    expect(first?.textContent).toContain("(example.org)");
    expect(container.querySelector("a")?.rel).toBe("noopener noreferrer");
    rerender(page_of(`${text}Fifth and more.\n\nSixth.`, false));
    expect(container.querySelector("p")).toBe(first);
  });

  it("reads a text anew that was whole and goes on after all", async () => {
    const { container, rerender } = render(page_of("It breaks off he", true));
    await act(() => new Promise((resolve) => setTimeout(resolve, 50)));
    rerender(page_of("It breaks off here.", false));
    rerender(page_of("It breaks off here.", true));
    expect([...container.querySelectorAll("p")].map((p) => p.textContent)).toEqual(["It breaks off here."]);
  });
});
