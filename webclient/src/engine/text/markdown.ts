// Markdown for the page, whose reader is a chunk of its own: until it is there, text is shown as it stands. Whoever reads
// while it is loading is told by a signal, so that the page is painted anew by itself.

import { signal } from "@preact/signals-core";
import type { BlockReader } from "./blocks";
import type { Block } from "./trees";

const chunk = signal<typeof import("./blocks") | null>(null);
let loading: Promise<void> | null = null;

/** Fetches the chunk, once; a fetch that failed is tried again by the next call. */
export function loadMarkdown(): Promise<void> {
  loading ??= import("./blocks").then(
    (loaded) => {
      chunk.value = loaded;
    },
    () => {
      loading = null;
    },
  );
  return loading;
}

/** Reads one document, which only grows. */
export class MarkdownReader {
  #reader: BlockReader | null = null;

  /** The blocks of `text`, which begins with what was read before. `done`: it is whole. The same block is the same object. */
  read(text: string, done: boolean): readonly Block[] {
    const { value } = chunk;
    if (value) {
      this.#reader ??= new value.BlockReader();
      return this.#reader.read(text, done);
    }
    void loadMarkdown();
    return text === ""
      ? []
      : [{ id: 0, settled: false, node: { kind: "paragraph", children: [{ kind: "text", text }] } }];
  }
}
