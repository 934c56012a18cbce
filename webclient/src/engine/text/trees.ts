// What text becomes on its way to the page: trees of plain values, which the page turns into elements. No markup, so
// nothing to sanitize: whatever a model writes can only become one of these.

/** A block of a document. `id` is stable while the document grows, and `settled` blocks never change again. */
export interface Block {
  readonly id: number;
  readonly settled: boolean;
  readonly node: BlockNode;
}

export type BlockNode =
  | { readonly kind: "paragraph"; readonly children: readonly InlineNode[] }
  | { readonly kind: "heading"; readonly depth: 1 | 2 | 3 | 4 | 5 | 6; readonly children: readonly InlineNode[] }
  /** `open` while its closing fence has not come. */
  | { readonly kind: "code"; readonly language: string; readonly text: string; readonly open: boolean }
  | { readonly kind: "quote"; readonly children: readonly BlockNode[] }
  | {
      readonly kind: "list";
      readonly ordered: boolean;
      readonly start: number;
      readonly entries: readonly ListEntry[];
    }
  | {
      readonly kind: "table";
      readonly align: readonly ("left" | "center" | "right" | null)[];
      readonly head: readonly (readonly InlineNode[])[];
      readonly rows: readonly (readonly (readonly InlineNode[])[])[];
    }
  | { readonly kind: "rule" }
  /** Too long or too strange to be read: shown as it was written. */
  | { readonly kind: "literal"; readonly text: string };

export interface ListEntry {
  /** Null if it is no task. */
  readonly checked: boolean | null;
  readonly children: readonly BlockNode[];
}

export type InlineNode =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "strong" | "emphasis" | "strike"; readonly children: readonly InlineNode[] }
  | { readonly kind: "code"; readonly text: string }
  | { readonly kind: "break" }
  /** `href` is http(s), mailto or a fragment; `host` is where it leads, "" for the last two. */
  | { readonly kind: "link"; readonly href: string; readonly host: string; readonly children: readonly InlineNode[] }
  /** Never loaded: its description and address as text. */
  | { readonly kind: "image"; readonly alt: string; readonly address: string };

/** Highlighted code: text, or text in classes of highlight.js (`hljs-keyword`). */
export type Highlighted = string | { readonly classes: readonly string[]; readonly children: readonly Highlighted[] };

export interface DiffFile {
  readonly from: string;
  readonly to: string;
  readonly added: number;
  readonly removed: number;
  readonly hunks: readonly DiffHunk[];
}

export interface DiffHunk {
  readonly heading: string;
  readonly lines: readonly DiffLine[];
}

/** `before` and `after` are line numbers, null on the side where the line is not. */
export interface DiffLine {
  readonly kind: "same" | "added" | "removed" | "note";
  readonly before: number | null;
  readonly after: number | null;
  readonly text: string;
}
