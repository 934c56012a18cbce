// Unified diffs as tables of lines. A chunk of its own: load it with `import()`.

import { parsePatch } from "diff";
import type { DiffFile, DiffHunk, DiffLine } from "./trees";

/** Longer diffs are shown as text. */
const LONGEST = 1_000_000;

/** The files of a unified diff; null if it is none. */
export function readDiff(text: string): readonly DiffFile[] | null {
  if (text.length > LONGEST) return null;
  try {
    const files = parsePatch(text).filter((file) => file.hunks.some((hunk) => hunk.lines.length > 0));
    return files.length > 0 ? files.map(fileOf) : null;
  } catch {
    return null;
  }
}

type Patch = ReturnType<typeof parsePatch>[number];

function fileOf(file: Patch): DiffFile {
  const hunks = file.hunks.map(hunkOf);
  const count = (kind: DiffLine["kind"]): number =>
    hunks.reduce((sum, hunk) => sum + hunk.lines.filter((line) => line.kind === kind).length, 0);
  return {
    from: bare(file.oldFileName),
    to: bare(file.newFileName),
    added: count("added"),
    removed: count("removed"),
    hunks,
  };
}

/** A name without git's `a/` or `b/`. */
const bare = (name: string | undefined): string => (name ?? "").replace(/^[ab]\//, "");

function hunkOf(hunk: Patch["hunks"][number]): DiffHunk {
  let before = hunk.oldStart;
  let after = hunk.newStart;
  const lines = hunk.lines.map((line): DiffLine => {
    const text = line.slice(1);
    if (line[0] === "+") return { kind: "added", before: null, after: after++, text };
    if (line[0] === "-") return { kind: "removed", before: before++, after: null, text };
    if (line[0] === "\\") return { kind: "note", before: null, after: null, text: text.trim() };
    return { kind: "same", before: before++, after: after++, text };
  });
  const heading = `@@ -${hunk.oldStart},${hunk.oldLines} +${hunk.newStart},${hunk.newLines} @@`;
  return { heading, lines };
}
