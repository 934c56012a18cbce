// The body of an answer, byte for byte, and where its events lie in it. Bytes are kept in the chunks they came in; an event
// is two offsets into them, so that what is shown and exported is what was received, however it was cut on the way.

import { createParser, type EventSourceParser } from "eventsource-parser";
import type { Frame } from "../model";

const LF = 0x0a;
const CR = 0x0d;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Bytes as text; nothing is taken away from them, and what is no UTF-8 becomes U+FFFD. */
export const textOf = (bytes: Uint8Array): string => decoder.decode(bytes);

/** Chunks with their times of arrival, readable as one. */
export class ByteLog {
  readonly chunks: { readonly start: number; readonly bytes: Uint8Array; readonly atMs: number }[] = [];
  length = 0;

  append(bytes: Uint8Array, atMs: number): void {
    if (bytes.length === 0) return;
    this.chunks.push({ start: this.length, bytes, atMs });
    this.length += bytes.length;
  }

  /** A copy of the bytes from `start` up to `end`. */
  slice(start = 0, end = this.length): Uint8Array {
    const found = new Uint8Array(Math.max(0, end - start));
    for (let index = this.#chunkAt(start); index < this.chunks.length; index += 1) {
      const chunk = this.chunks[index]!;
      if (chunk.start >= end) break;
      const part = chunk.bytes.subarray(Math.max(0, start - chunk.start), end - chunk.start);
      found.set(part, Math.max(chunk.start, start) - start);
    }
    return found;
  }

  #chunkAt(offset: number): number {
    let low = 0;
    let high = this.chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.chunks[middle]!.start <= offset) low = middle;
      else high = middle - 1;
    }
    return Math.max(low, 0);
  }
}

/** An event as the reducers take it. */
export interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

/** Reads an event stream (WHATWG HTML 9.2) from bytes, in any chunks, and remembers each frame. */
export class FrameReader {
  readonly log = new ByteLog();
  readonly frames: Frame[] = [];
  readonly #onEvent: (event: ServerEvent, frame: Frame) => void;
  readonly #parser: EventSourceParser;
  #start = 0;
  /** Whether the byte before was the end of a line, or the frame has none yet. */
  #lineEnded = true;
  #afterCR = false;
  /** A frame ended with CR; if LF is next, it belongs to that frame. */
  #frameEndedByCR = false;
  #found: ServerEvent | null = null;

  constructor(onEvent: (event: ServerEvent, frame: Frame) => void) {
    this.#onEvent = onEvent;
    this.#parser = createParser({
      onEvent: (event) => {
        this.#found = { name: event.event ?? "", data: event.data };
      },
    });
  }

  push(bytes: Uint8Array, atMs: number): void {
    const base = this.log.length;
    this.log.append(bytes, atMs);
    for (let index = 0; index < bytes.length; index += 1) {
      const byte = bytes[index]!;
      const offset = base + index;
      if (byte === LF && this.#afterCR) {
        this.#afterCR = false;
        if (this.#frameEndedByCR) this.#stretchLastFrame(offset + 1);
        continue;
      }
      this.#frameEndedByCR = false;
      this.#afterCR = byte === CR;
      if (byte !== LF && byte !== CR) this.#lineEnded = false;
      else if (this.#lineEnded) this.#endFrame(offset + 1, atMs);
      else this.#lineEnded = true;
    }
  }

  /** The stream is over: bytes after the last blank line are no event, and are kept as what they are. */
  end(atMs: number): void {
    if (this.#start >= this.log.length) return;
    this.frames.push({
      index: this.frames.length,
      kind: "rest",
      start: this.#start,
      end: this.log.length,
      atMs,
      event: "",
    });
    this.#start = this.log.length;
  }

  bytesOf(frame: Frame): Uint8Array {
    return this.log.slice(frame.start, frame.end);
  }

  #stretchLastFrame(end: number): void {
    const last = this.frames.length - 1;
    this.frames[last] = { ...this.frames[last]!, end };
    this.#start = end;
    this.#frameEndedByCR = false;
  }

  #endFrame(end: number, atMs: number): void {
    let text = textOf(this.log.slice(this.#start, end));
    if (this.frames.length === 0 && text.startsWith("\uFEFF")) text = text.slice(1);
    // The parser would wait for what follows a CR at the end; in here nothing follows.
    if (text.includes("\r")) text = text.replace(/\r\n?/g, "\n");
    this.#found = null;
    this.#parser.feed(text);
    const found = this.#found as ServerEvent | null;
    const frame: Frame = {
      index: this.frames.length,
      kind: found ? "event" : "comment",
      start: this.#start,
      end,
      atMs,
      event: found?.name ?? "",
    };
    this.frames.push(frame);
    this.#start = end;
    this.#lineEnded = true;
    this.#frameEndedByCR = this.#afterCR;
    if (found) this.#onEvent(found, frame);
  }
}
