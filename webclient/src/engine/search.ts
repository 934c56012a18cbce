// Finding words in what was said. A payload that the transcript shows as a shape is found by its words too, and shown as
// dots: what is masked there is not to be read here.

import type { Item, Turn } from "../model";
import type { SearchHit } from "./api";
import { maskPayload, maskText } from "./mask";

const AROUND_A_HIT = 60;

type Excerpt = Pick<SearchHit, "before" | "match" | "after">;

/** A text beside the form in which it may be shown; both have the same length. */
interface Said {
  readonly text: string;
  readonly shown: string;
}

/** The first place where it stands, in lower case; null if it does not. */
export function excerpt(text: string, wanted: string, shown = text): Excerpt | null {
  const at = text.toLowerCase().indexOf(wanted);
  if (at < 0) return null;
  const end = at + wanted.length;
  const start = Math.max(0, at - AROUND_A_HIT);
  return {
    before: (start > 0 ? "…" : "") + shown.slice(start, at),
    match: shown.slice(at, end),
    after: shown.slice(end, end + AROUND_A_HIT) + (end + AROUND_A_HIT < shown.length ? "…" : ""),
  };
}

/** The first place in a turn where it stands. @param redacted whether payloads are masked. */
export function foundIn(turn: Turn, wanted: string, redacted: boolean): Excerpt | null {
  for (const { text, shown } of turn.items.flatMap((item) => textsOf(item, redacted))) {
    const found = excerpt(text, wanted, shown);
    if (found) return found;
  }
  return null;
}

const open = (text: string): Said => ({ text, shown: text });

function textsOf(item: Item, redacted: boolean): Said[] {
  const payload = (text: string): Said => (redacted ? { text, shown: maskPayload(text) } : open(text));
  if (item.kind === "toolCall") return [open(item.name), payload(item.arguments), payload(item.result?.text ?? "")];
  if (item.kind === "memory") return [redacted ? { text: item.message, shown: maskText(item.message) } : open(item.message)];
  return "text" in item ? [open(item.text)] : [];
}
