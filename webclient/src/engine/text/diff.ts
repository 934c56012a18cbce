// Unified diffs as tables of lines. A chunk of its own: load it with `import()`.

import type { DiffFile, DiffHunk, DiffLine } from "./trees";

/** Longer diffs are shown as text. */
const LONGEST = 1_000_000;
const HUNK = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/;

interface Hunk extends DiffHunk {
  readonly lines: DiffLine[];
}

interface File {
  from: string;
  to: string;
  readonly hunks: Hunk[];
}

/** The files of a unified diff; null if it is none. */
export function readDiff(text: string): readonly DiffFile[] | null {
  if (text.length > LONGEST) return null;
  const files: File[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; ) {
    const line = lines[at]!;
    const next = lines[at + 1] ?? "";
    const hunk = HUNK.exec(line);
    if (hunk) {
      // Hunks may come without the names of their file.
      if (files.length === 0) files.push({ from: "", to: "", hunks: [] });
      at = readHunk(lines, at + 1, hunk, files.at(-1)!.hunks);
    } else if (line.startsWith("--- ") && next.startsWith("+++ ")) {
      files.push({ from: nameIn(line), to: nameIn(next), hunks: [] });
      at += 2;
    } else at += 1;
  }
  const changed = files.filter((file) => file.hunks.length > 0);
  return changed.length > 0 ? changed.map(counted) : null;
}

/** Reads as many lines as the hunk's heading says it has; returns the index of the first line after it. */
function readHunk(lines: readonly string[], from: number, heading: RegExpExecArray, hunks: Hunk[]): number {
  let before = Number(heading[1]);
  let after = Number(heading[3]);
  let old = Number(heading[2] ?? 1);
  let fresh = Number(heading[4] ?? 1);
  const read: DiffLine[] = [];
  let at = from;
  for (; at < lines.length && (old > 0 || fresh > 0 || lines[at]!.startsWith("\\")); at += 1) {
    const line = lines[at]!;
    const text = line.slice(1);
    if (line[0] === "+") read.push({ kind: "added", before: null, after: after++, text });
    else if (line[0] === "-") read.push({ kind: "removed", before: before++, after: null, text });
    else if (line[0] === "\\") read.push({ kind: "note", before: null, after: null, text: text.trim() });
    // Some tools cut blanks off at the end, and with them the mark of an empty line.
    else if (line[0] === " " || line === "") read.push({ kind: "same", before: before++, after: after++, text });
    else break;
    if (line[0] !== "+" && line[0] !== "\\") old -= 1;
    if (line[0] !== "-" && line[0] !== "\\") fresh -= 1;
  }
  if (read.length > 0) hunks.push({ heading: heading[0], lines: read });
  return at;
}

/** The name in a heading, without git's `a/` or `b/`, and without a time; "" for a file that is not there. */
const nameIn = (line: string): string =>
  line
    .slice(4)
    .split("\t", 1)[0]!
    .trim()
    .replace(/^"(.*)"$/, "$1")
    .replace(/^[ab]\//, "")
    .replace(/^\/dev\/null$/, "");

function counted(file: File): DiffFile {
  const count = (kind: DiffLine["kind"]): number =>
    file.hunks.reduce((sum, hunk) => sum + hunk.lines.filter((line) => line.kind === kind).length, 0);
  return { ...file, added: count("added"), removed: count("removed") };
}
