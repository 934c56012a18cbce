// @vitest-environment node
import { createTwoFilesPatch } from "diff";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readDiff } from "./diff";

describe("readDiff", () => {
  it("numbers the lines of both sides and counts what changed", () => {
    const files = readDiff(
      "--- a/app.py\n+++ b/app.py\n@@ -1,2 +1,2 @@\n same\n-old\n+new\n\\ No newline at end of file\n",
    );
    expect(files).toEqual([
      {
        from: "app.py",
        to: "app.py",
        added: 1,
        removed: 1,
        hunks: [
          {
            heading: "@@ -1,2 +1,2 @@",
            lines: [
              { kind: "same", before: 1, after: 1, text: "same" },
              { kind: "removed", before: 2, after: null, text: "old" },
              { kind: "added", before: null, after: 2, text: "new" },
              { kind: "note", before: null, after: null, text: "No newline at end of file" },
            ],
          },
        ],
      },
    ]);
  });

  it("knows a file that is new, one that is gone, and hunks without a name", () => {
    const names = (text: string) => readDiff(text)!.map(({ from, to }) => [from, to]);
    const added = "diff --git a/n b/n\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+one\n";
    expect(names(`${added}--- a/o\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n`)).toEqual([
      ["", "n"],
      ["o", ""],
    ]);
    expect(names("@@ -1 +1 @@\n-one\n+two\n")).toEqual([["", ""]]);
  });

  it("gives back both texts of any patch", () => {
    const text = fc
      .array(fc.stringMatching(/^[a-z<>&+ -]*$/), { maxLength: 8 })
      .map((lines) => lines.map((line) => `${line}\n`).join(""));
    fc.assert(
      fc.property(text, text, (before, after) => {
        fc.pre(before !== after);
        const files = readDiff(createTwoFilesPatch("a/f", "b/f", before, after, "", "", { context: 99 }))!;
        const lines = files[0]!.hunks.flatMap((hunk) => hunk.lines);
        const side = (not: string): string =>
          lines
            .filter((line) => line.kind !== not && line.kind !== "note")
            .map((line) => `${line.text}\n`)
            .join("");
        expect(side("added")).toBe(before);
        expect(side("removed")).toBe(after);
      }),
    );
  });

  it("says null to what is no diff", () => {
    for (const text of ["", "hello", "--- a\n+++ b\n", "x".repeat(1_000_001)]) expect(readDiff(text)).toBeNull();
    fc.assert(fc.property(fc.string(), (text) => void readDiff(text)));
  });
});
