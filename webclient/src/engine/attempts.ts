// An attempt: one exchange with the gateway, live or of the past, and what is known of it.

import { type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { Attempt, Echo, Frame, Header, Timings } from "../model";
import type { AttemptView } from "./api";
import { FrameReader, type ServerEvent, textOf } from "./frames";
import type { ChunkRow } from "./shelf";

const NO_TIMINGS: Timings = {
  headMs: null,
  firstByteMs: null,
  firstDeltaMs: null,
  lastDeltaMs: null,
  endMs: null,
  deltas: 0,
  largestGapMs: 0,
};

type Beginning = Pick<Attempt, "id" | "thread" | "turn" | "protocol" | "retries" | "continues" | "request">;

/** An attempt of which nothing is known but what is sent. @param ids the headers that have to come back. */
export function freshAttempt(beginning: Beginning, ids: readonly Header[]): Attempt {
  return {
    ...beginning,
    response: null,
    echo: echoesOf(ids, null),
    framing: null,
    timings: NO_TIMINGS,
    outcome: { kind: "running" },
    usage: null,
    responseId: "",
    model: "",
    finish: null,
    bytes: 0,
  };
}

/** A header's value, whatever the case of its name. */
export function headerIn(headers: readonly Header[], name: string): string | null {
  const lower = name.toLowerCase();
  return headers.find(([other]) => other.toLowerCase() === lower)?.[1] ?? null;
}

/** Ids as sent, beside those of the answer; `headers` is null before there is one. */
export function echoesOf(sent: readonly Header[], headers: readonly Header[] | null): Echo[] {
  return sent.map(([header, value]) => {
    if (!headers) return { header, sent: value, received: null, verdict: "pending" };
    const received = headerIn(headers, header);
    return {
      header,
      sent: value,
      received,
      verdict: received === null ? "missing" : received === value ? "same" : "changed",
    };
  });
}

/** Where the bytes of a past attempt come from. */
export interface Past {
  chunks(attempt: string): Promise<ChunkRow[]>;
  request(attempt: string): Promise<string>;
}

export class AttemptStore implements AttemptView {
  readonly id: string;
  /** Present values; the signal has those last published. */
  now: Attempt;
  readonly #attempt: Signal<Attempt>;
  readonly #frames: Signal<number | null>;
  #past: Past | null;
  #reader: FrameReader | null = null;
  #loading: Promise<void> | null = null;

  /** @param past where to load it from; null for one that is made now. */
  constructor(attempt: Attempt, past: Past | null) {
    this.id = attempt.id;
    this.now = attempt;
    this.#attempt = signal(attempt);
    this.#frames = signal(past ? null : 0);
    this.#past = past;
  }

  get attempt(): ReadonlySignal<Attempt> {
    return this.#attempt;
  }

  get frames(): ReadonlySignal<number | null> {
    return this.#frames;
  }

  change(fields: Partial<Attempt>): void {
    this.now = { ...this.now, ...fields };
  }

  publish(): void {
    this.#attempt.value = this.now;
    if (this.#reader) this.#frames.value = this.#reader.frames.length;
  }

  /** Begins to receive; what comes is told to `onEvent`. */
  receive(onEvent: (event: ServerEvent, frame: Frame) => void): FrameReader {
    this.#reader = new FrameReader(onEvent);
    return this.#reader;
  }

  /** What is on the shelf takes no room here: frames and bodies come back when somebody looks. */
  forget(past: Past): void {
    this.#past = past;
    this.#reader = null;
    this.#loading = null;
    this.change({ request: { ...this.now.request, body: "" } });
    this.#attempt.value = this.now;
    this.#frames.value = null;
  }

  load(): Promise<void> {
    if (this.#past) this.#loading ??= this.#load(this.#past);
    return this.#loading ?? Promise.resolve();
  }

  async #load(past: Past): Promise<void> {
    const [rows, body] = await Promise.all([past.chunks(this.id), past.request(this.id)]);
    if (!this.#reader) {
      this.#reader = new FrameReader(() => undefined);
      replay(rows, this.#reader, this.now.framing === "events");
    }
    this.change({ request: { ...this.now.request, body } });
    this.publish();
  }

  frame(index: number): Frame {
    const frame = this.#reader?.frames[index];
    if (!frame) throw new RangeError(`there is no frame ${index}`);
    return frame;
  }

  frameBytes(index: number): Uint8Array {
    return this.#reader!.bytesOf(this.frame(index));
  }

  frameText(index: number): string {
    return textOf(this.frameBytes(index));
  }

  body(): Uint8Array {
    return this.#reader?.log.slice() ?? new Uint8Array();
  }

  get received(): FrameReader | null {
    return this.#reader;
  }
}

/** Kept chunks as they came. */
export function* chunksOf(rows: readonly ChunkRow[]): Generator<{ readonly bytes: Uint8Array; readonly atMs: number }> {
  for (const row of rows) {
    let offset = 0;
    for (let index = 0; index + 1 < row.marks.length; index += 2) {
      const bytes = row.bytes.subarray(offset, offset + row.marks[index + 1]!);
      offset += bytes.length;
      yield { bytes, atMs: row.marks[index]! };
    }
  }
}

function replay(rows: readonly ChunkRow[], reader: FrameReader, asEvents: boolean): void {
  let lastMs = 0;
  for (const { bytes, atMs } of chunksOf(rows)) {
    lastMs = atMs;
    if (asEvents) reader.push(bytes, atMs);
    else reader.log.append(bytes, atMs);
  }
  if (asEvents) reader.end(lastMs);
}

/** Chunks that are not kept yet, as they are put on the shelf. */
export class ChunkBatch {
  readonly #attempt: string;
  readonly #thread: string;
  #chunks: Uint8Array[] = [];
  #marks: number[] = [];
  #place = 0;

  constructor(attempt: string, thread: string) {
    this.#attempt = attempt;
    this.#thread = thread;
  }

  add(bytes: Uint8Array, atMs: number): void {
    if (bytes.length === 0) return;
    this.#chunks.push(bytes);
    this.#marks.push(atMs, bytes.length);
  }

  /** Everything since the last time, as one row; none if nothing came. */
  take(): ChunkRow[] {
    const row = this.peek();
    this.#chunks = [];
    this.#marks = [];
    if (row) this.#place += 1;
    return row ? [row] : [];
  }

  /** The same without taking it. */
  peek(): ChunkRow | null {
    if (this.#chunks.length === 0) return null;
    const bytes = new Uint8Array(this.#chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let offset = 0;
    for (const chunk of this.#chunks) {
      bytes.set(chunk, offset);
      offset += chunk.length;
    }
    return { attempt: this.#attempt, thread: this.#thread, place: this.#place, bytes, marks: this.#marks };
  }
}
