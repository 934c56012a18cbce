// One attempt of a turn while it runs: from the head of the answer to its outcome. Bytes go into frames, frames into the
// protocol's reader, the reader into items; times, ids and what went wrong are noted on the way.

import type { Failure, Header, Outcome, Received, TurnState, Usage } from "../model";
import { Answer, type AnswerContext, type ProtocolReader } from "./answer";
import { type AttemptStore, ChunkBatch, echoesOf, headerIn } from "./attempts";
import { ChatReader } from "./chat";
import type { Sink } from "./exchange";
import { baseOf, failureOf } from "./failures";
import { type FrameReader, textOf } from "./frames";
import { parsed } from "./json";
import { ResponsesReader } from "./responses";
import type { TurnStore } from "./turns";

export interface RunContext {
  readonly answer: AnswerContext;
  readonly now: () => number;
  readonly turn: TurnStore;
  readonly attempt: AttemptStore;
  readonly ids: readonly Header[];
  readonly hadKey: boolean;
  readonly bodyLimit: number | null;
  /** What had been received when it is gone on with. */
  readonly before: Received | null;
  readonly online: () => boolean;
  /** There is something to paint. */
  readonly changed: () => void;
  /** It is over; nothing will change any more. */
  readonly over: (failure: Failure | null) => void;
}

export class Run implements Sink {
  readonly chunks: ChunkBatch;
  readonly #context: RunContext;
  readonly #answer: Answer;
  readonly #protocol: ProtocolReader;
  readonly #frames: FrameReader;
  readonly #usageBefore: Usage | null;
  #ended = false;
  #seen: number;

  constructor(context: RunContext) {
    this.#context = context;
    const { turn, attempt, before } = context;
    this.#answer = new Answer(turn.list, context.answer);
    this.#answer.deltas = before?.deltas ?? 0;
    this.#answer.characters = before?.characters ?? 0;
    this.#seen = this.#answer.deltas;
    this.#protocol = attempt.now.protocol === "chat" ? new ChatReader(this.#answer) : new ResponsesReader(this.#answer);
    this.#frames = attempt.receive((event, frame) => {
      this.#answer.atMs = frame.atMs;
      this.#protocol.event(event);
    });
    this.#usageBefore = turn.usageNow;
    this.chunks = new ChunkBatch(attempt.id, attempt.now.thread);
  }

  head(status: number, statusText: string, headers: readonly Header[], atMs: number): void {
    if (this.#ended) return;
    const { attempt, turn, ids, now } = this.#context;
    const framing = /^text\/event-stream\b/i.test(headerIn(headers, "content-type") ?? "") ? "events" : "plain";
    attempt.change({
      response: { status, statusText, headers },
      echo: echoesOf(ids, headers),
      framing,
      timings: { ...attempt.now.timings, headMs: atMs },
    });
    if (status < 400) turn.now = { kind: "queued", since: now() };
    this.#context.changed();
  }

  bytes(bytes: Uint8Array, atMs: number): void {
    if (this.#ended) return;
    const { attempt } = this.#context;
    this.chunks.add(bytes, atMs);
    if (attempt.now.framing === "events") this.#frames.push(bytes, atMs);
    else this.#frames.log.append(bytes, atMs);
    this.#note(bytes.length, atMs);
    this.#context.changed();
  }

  ended(atMs: number): void {
    if (this.#ended) return;
    const { attempt, now } = this.#context;
    const status = attempt.now.response?.status ?? 0;
    if (status >= 400) this.#conclude({ kind: "failed", failure: this.#refusal(status) }, atMs);
    else if (attempt.now.framing === "events") {
      this.#frames.end(atMs);
      this.#conclude(this.#streamsEnd(), atMs);
    } else {
      this.#answer.atMs = atMs;
      this.#protocol.whole(parsed(textOf(this.#frames.log.slice())));
      this.#note(0, atMs);
      const unreadable: Failure = { ...baseOf(now(), attempt.id, status), kind: "unreadable" };
      const isKnown = this.#answer.complete || this.#answer.error;
      this.#conclude(isKnown ? this.#streamsEnd() : { kind: "failed", failure: unreadable }, atMs);
    }
  }

  broken(atMs: number): void {
    if (this.#ended) return;
    if (this.#context.attempt.now.framing === "events") this.#frames.end(atMs);
    this.#conclude({ kind: "failed", failure: this.#answer.error ? this.#inStream() : this.#loss() }, atMs);
  }

  /** Why there is no answer, or no more of it, as far as a page can know. */
  #loss(): Failure {
    const { attempt, now, online, bodyLimit } = this.#context;
    const base = baseOf(now(), attempt.id, attempt.now.response?.status ?? null);
    if (attempt.now.response) return { ...base, kind: "broken" };
    if (!online()) return { ...base, kind: "offline" };
    const bytes = this.#sentBytes();
    // A body too large may be refused by a closed connection.
    return bodyLimit !== null && bytes > bodyLimit
      ? { ...base, kind: "tooLarge", bytes, limit: bodyLimit }
      : { ...base, kind: "unreachable" };
  }

  #sentBytes(): number {
    return new TextEncoder().encode(this.#context.attempt.now.request.body).length;
  }

  /** The user stopped it. */
  stop(atMs: number): void {
    if (this.#ended) return;
    if (this.#context.attempt.now.framing === "events") this.#frames.end(atMs);
    this.#conclude({ kind: "stopped" }, atMs);
  }

  /** It ended as a record says. */
  fail(failure: Failure, atMs: number): void {
    if (this.#ended) return;
    if (this.#context.attempt.now.framing === "events") this.#frames.end(atMs);
    this.#conclude({ kind: "failed", failure }, atMs);
  }

  /** It was running when the page was left. */
  abandoned(atMs: number): void {
    if (this.#ended) return;
    const { attempt, now } = this.#context;
    if (attempt.now.framing === "events") this.#frames.end(atMs);
    const status = attempt.now.response?.status ?? null;
    this.#conclude({ kind: "failed", failure: { ...baseOf(now(), attempt.id, status), kind: "reloaded" } }, atMs);
  }

  #streamsEnd(): Outcome {
    const { attempt, now } = this.#context;
    if (this.#answer.error) return { kind: "failed", failure: this.#inStream() };
    if (this.#answer.complete) return { kind: "whole" };
    return {
      kind: "failed",
      failure: { ...baseOf(now(), attempt.id, attempt.now.response?.status ?? null), kind: "broken" },
    };
  }

  #inStream(): Failure {
    const { attempt, now } = this.#context;
    const status = attempt.now.response?.status ?? null;
    return { ...baseOf(now(), attempt.id, status, this.#answer.error!), kind: "inStream" };
  }

  #refusal(status: number): Failure {
    const { attempt, now, hadKey, bodyLimit } = this.#context;
    const { headers } = attempt.now.response!;
    return failureOf(
      {
        status,
        header: (name) => headerIn(headers, name),
        body: textOf(this.#frames.log.slice(0, Math.min(this.#frames.log.length, 65_536))),
        requestId: attempt.now.echo[0]?.received ?? attempt.id,
        sentBytes: this.#sentBytes(),
        hadKey,
      },
      now(),
      bodyLimit,
    );
  }

  /** Notes what came with these bytes. */
  #note(bytes: number, atMs: number): void {
    const { attempt, turn, now } = this.#context;
    const answer = this.#answer;
    const { timings } = attempt.now;
    const news = answer.deltas - this.#seen;
    this.#seen = answer.deltas;
    const gap = news > 0 && timings.lastDeltaMs !== null ? atMs - timings.lastDeltaMs : 0;
    attempt.change({
      bytes: attempt.now.bytes + bytes,
      responseId: answer.responseId,
      model: answer.model,
      finish: answer.finish,
      usage: answer.usage,
      timings: {
        ...timings,
        firstByteMs: timings.firstByteMs ?? atMs,
        firstDeltaMs: timings.firstDeltaMs ?? (news > 0 ? atMs : null),
        lastDeltaMs: news > 0 ? atMs : timings.lastDeltaMs,
        deltas: timings.deltas + news,
        largestGapMs: Math.max(timings.largestGapMs, gap),
      },
    });
    turn.usageNow = sum(this.#usageBefore, answer.usage);
    if (answer.what && news > 0 && !(turn.now.kind === "streaming" && turn.now.what === answer.what)) {
      turn.now = { kind: "streaming", what: answer.what, since: now() };
    }
  }

  #conclude(outcome: Outcome, atMs: number): void {
    this.#ended = true;
    const { attempt, turn } = this.#context;
    this.#answer.end(outcome.kind === "whole" ? "done" : "broken");
    attempt.change({
      outcome,
      usage: this.#answer.usage,
      finish: this.#answer.finish,
      timings: { ...attempt.now.timings, endMs: atMs },
    });
    turn.now = this.#stateAfter(outcome);
    this.#context.over(outcome.kind === "failed" ? outcome.failure : null);
  }

  #stateAfter(outcome: Outcome): TurnState {
    const { turn } = this.#context;
    const { received, finish } = this.#answer;
    if (outcome.kind === "stopped") return { kind: "stopped", received };
    if (outcome.kind === "failed") {
      const { failure } = outcome;
      return received.deltas > 0 ? { kind: "cut", received, failure } : { kind: "failed", failure };
    }
    const waiting = turn.openCalls().filter((call) => call.attempt === this.#context.attempt.id);
    if (waiting.length > 0 && finish !== "length") return { kind: "tools", waiting: waiting.map(({ id }) => id) };
    return { kind: "done", finish };
  }
}

function sum(before: Usage | null, now: Usage | null): Usage | null {
  if (!before || !now) return now ?? before;
  const both = (a: number | null, b: number | null): number | null =>
    a === null && b === null ? null : (a ?? 0) + (b ?? 0);
  return {
    prompt: before.prompt + now.prompt,
    completion: before.completion + now.completion,
    total: before.total + now.total,
    cached: both(before.cached, now.cached),
    reasoning: both(before.reasoning, now.reasoning),
  };
}
