// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pieces_of } from "./ansi";

const text_of = (text: string): string =>
  pieces_of(text)
    .map((piece) => piece.text)
    .join("");

describe("a terminal's output", () => {
  it("has its colours as classes", () => {
    expect(pieces_of("\x1b[32m12 passed\x1b[0m in \x1b[1;91;44m3 s\x1b[22;39m!")).toEqual([
      { text: "12 passed", classes: "ansi-green" },
      { text: " in ", classes: "" },
      { text: "3 s", classes: "ansi-bright-red ansi-blue-bg bold" },
      { text: "!", classes: "ansi-blue-bg" },
    ]);
  });

  it("reads past what it does not paint", () => {
    expect(text_of("\x1b]0;title\x07a\x1b[2J\x1b[10;3Hb\x1b[38;5;200mc\x1b[38;2;1;2;3md\x1b(Be\r\nf\x07")).toBe(
      "abcde\nf",
    );
    expect(pieces_of("\x1b[38;5;31mx")).toEqual([{ text: "x", classes: "" }]);
  });

  it("loses no word, and lets no control character through", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.array(fc.nat(120), { maxLength: 5 }), (text, codes) => {
        const bare = text.replace(/[\x00-\x1f\x7f]/g, "");
        expect(text_of(`\x1b[${codes.join(";")}m${bare}`)).toBe(bare);
        expect(text_of(`\x1b${text}`)).not.toMatch(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/);
      }),
    );
  });
});
