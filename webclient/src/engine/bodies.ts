// Bodies of requests as they are kept. Each says all that was said before it: of a conversation of a thousand turns the
// last bodies are nearly alike, so that only what is new of a body is written, and how much of an earlier one it begins with.

import type { RequestRow } from "./shelf";

/** So many bodies may have to be read to put one together. */
const LONGEST_CHAIN = 32;
/** A beginning shorter than this is not worth another reading. */
const LEAST_SHARED = 1024;

export class Bodies {
  #last: { readonly attempt: string; readonly body: string; readonly links: number } | null = null;

  /** @param thread the one thread that all bodies are of. */
  constructor(private readonly thread: string) {}

  /** A body as it is to be kept, after those that were asked for before. */
  row(attempt: string, body: string): RequestRow {
    const last = this.#last;
    const length = last && last.links < LONGEST_CHAIN ? sharedLength(last.body, body) : 0;
    const isShared = length >= LEAST_SHARED;
    this.#last = { attempt, body, links: isShared ? last!.links + 1 : 0 };
    const row = { attempt, thread: this.thread };
    return isShared ? { ...row, body: body.slice(length), begins: { like: last!.attempt, length } } : { ...row, body };
  }
}

function sharedLength(one: string, other: string): number {
  const most = Math.min(one.length, other.length);
  let length = 0;
  while (length < most && one.charCodeAt(length) === other.charCodeAt(length)) length += 1;
  return length;
}
