// What a page that is being left still has to say. A database may not be asked to wait then; the tab's storage answers at
// once. The next page of this tab puts it on the shelf.

import type { ChunkRow, Writing } from "./shelf";
import { fieldsOf, listIn, parsed } from "./json";
import { read, write } from "./settings";
import type { Storage } from "./surroundings";

const KEPT_AS = "hadesgw.unkept";

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192)
    text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  return btoa(text);
}

/** Null if it is no base64. */
export function fromBase64(text: string): Uint8Array | null {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}

export function leaveBehind(storage: Storage | null, writings: readonly Writing[]): void {
  if (writings.length === 0) return;
  const plain = writings.map((writing) => ({
    ...writing,
    chunks: (writing.chunks ?? []).map((row) => ({ ...row, bytes: toBase64(row.bytes) })),
  }));
  // Where there is no room for all of it, the newest counts most: the rest may still get there by itself.
  for (let from = 0; from < plain.length; from += Math.ceil((plain.length - from) / 2))
    if (write(storage, KEPT_AS, JSON.stringify(plain.slice(from)))) return;
}

/** What the page before left behind, once. */
export function takeUp(storage: Storage | null): Writing[] {
  const kept = read(storage, KEPT_AS);
  if (kept === null) return [];
  write(storage, KEPT_AS, null);
  return listIn(parsed(kept)).map((one) => {
    // Only pages of ours write here.
    const writing = fieldsOf(one) as unknown as Omit<Writing, "chunks">;
    const rows = listIn(fieldsOf(one)?.chunks) as readonly (Omit<ChunkRow, "bytes"> & { readonly bytes: string })[];
    return { ...writing, chunks: rows.map((row) => ({ ...row, bytes: fromBase64(row.bytes) ?? new Uint8Array() })) };
  });
}
