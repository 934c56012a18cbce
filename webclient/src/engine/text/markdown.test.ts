// @vitest-environment node
import { effect } from "@preact/signals-core";
import { expect, it } from "vitest";
import { loadMarkdown, MarkdownReader } from "./markdown";

it("shows text as it stands until the reader is loaded, and tells whoever has read", async () => {
  const reader = new MarkdownReader();
  const kinds: string[][] = [];
  const end = effect(() => void kinds.push(reader.read("# Title\n\ntext", true).map((block) => block.node.kind)));
  expect(kinds).toEqual([["paragraph"]]);
  await loadMarkdown();
  expect(kinds).toEqual([["paragraph"], ["heading", "paragraph"]]);
  end();
});
