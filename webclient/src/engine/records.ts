// Records: a session as one file, with every byte that came and its time. Out of the page, masked unless told otherwise;
// and into it, where nothing of the file is trusted. A chunk of its own: load it with `import()`.

import type { Attempt, Failure, Header, Item, Outcome, Thread, ToolCall, ToolFlag, Turn, TurnState } from "../model";
import type { ExportedFile, RecordProblem, Replay } from "./api";
import type { AttemptStore } from "./attempts";
import { type FrameReader, textOf } from "./frames";
import { fromBase64, toBase64 } from "./journal";
import { fieldsOf, judge, parsed } from "./json";
import { EventMask, maskBody, maskHeaders, maskPayload, maskText } from "./mask";
import { memoryOperation } from "./memory";
import { RecordReplay } from "./replay";
import type { Surroundings } from "./surroundings";
import type { ThreadStore } from "./threads";

const FORMAT = "hadesgw-record";
const VERSION = 1;
/** A larger file is not read. */
const LARGEST = 128 * 1024 * 1024;

/** A chunk of an answer's body: when it came, and its bytes in base64. */
export interface RecordedChunk {
  readonly at_ms: number;
  readonly data: string;
}

export type RecordedAttempt = Pick<
  Attempt,
  "id" | "turn" | "protocol" | "retries" | "continues" | "request" | "response" | "framing" | "outcome"
> & { readonly endMs: number; readonly ids: readonly string[]; readonly chunks: readonly RecordedChunk[] };

/** A record that was read and found sound. */
export interface RecordedSession {
  readonly redacted: boolean;
  readonly thread: Thread;
  readonly turns: readonly Turn[];
  readonly attempts: readonly RecordedAttempt[];
}

/** A session as a file. */
export async function exportRecord(session: ThreadStore, redacted: boolean, now: number): Promise<ExportedFile> {
  const { thread, turns, attempts } = session.contents();
  const inOrder = [...attempts].sort((a, b) => a.now.request.at - b.now.request.at);
  const recorded: RecordedAttempt[] = [];
  for (const attempt of inOrder) {
    await attempt.load();
    recorded.push(recordedAttempt(attempt, redacted));
  }
  const text = recordText({ redacted, thread, turns, attempts: recorded }, now);
  const name = `hadesgw-${new Date(thread.created).toISOString().slice(0, 16).replace(/[:T]/g, "-")}${redacted ? "-masked" : ""}.json`;
  return { name, type: "application/json", text };
}

/** Reads a file, and makes ready to play it. */
export function openRecord(
  text: string,
  surroundings: Surroundings,
): { readonly replay: Replay } | { readonly problem: RecordProblem } {
  const read = readRecord(text);
  return "problem" in read ? read : { replay: new RecordReplay(read.record, surroundings) };
}

// -------------------------------------------------------------------------------------------------------------- out

export function recordText(record: RecordedSession, at: number): string {
  const { redacted } = record;
  const thread = redacted ? { ...record.thread, title: maskText(record.thread.title) } : record.thread;
  const turns = redacted ? record.turns.map(maskedTurn) : record.turns;
  const whole = { format: FORMAT, version: VERSION, exported: at, redacted, thread, turns, attempts: record.attempts };
  return JSON.stringify(whole, null, 1);
}

function recordedAttempt(attempt: AttemptStore, redacted: boolean): RecordedAttempt {
  const { id, turn, protocol, retries, continues, request, response, framing, outcome, timings, echo } = attempt.now;
  const ids = echo.map(({ header }) => header);
  const base = {
    id,
    turn,
    protocol,
    retries,
    continues,
    framing,
    ids,
    endMs: timings.endMs ?? timings.lastDeltaMs ?? 0,
  };
  const received = attempt.received;
  if (!redacted) {
    const chunks = (received?.log.chunks ?? []).map(({ bytes, atMs }) => ({ at_ms: atMs, data: toBase64(bytes) }));
    return { ...base, request, response, outcome, chunks };
  }
  return {
    ...base,
    request: { ...request, headers: maskHeaders(request.headers, ids), body: maskBody(request.body) },
    response: response && {
      ...response,
      statusText: maskText(response.statusText),
      headers: maskHeaders(response.headers, ids),
    },
    outcome: maskedOutcome(outcome),
    chunks: received ? maskedChunks(received, framing) : [],
  };
}

function maskedChunks(received: FrameReader, framing: Attempt["framing"]): RecordedChunk[] {
  const chunk = (at_ms: number, text: string): RecordedChunk => ({
    at_ms,
    data: toBase64(new TextEncoder().encode(text)),
  });
  if (framing !== "events") {
    const last = received.log.chunks.at(-1);
    return last ? [chunk(last.atMs, maskBody(textOf(received.log.slice())))] : [];
  }
  const mask = new EventMask();
  return received.frames.map((frame) => {
    if (frame.kind !== "event")
      return chunk(frame.atMs, frame.kind === "rest" ? `: ${frame.end - frame.start} bytes` : ":\n\n");
    // The reader's own rules: several lines of data are one text.
    const lines = textOf(received.bytesOf(frame)).split(/\r\n|\r|\n/);
    const data = lines
      .filter((line) => /^data(?::|$)/.test(line))
      .map((line) => line.replace(/^data:? ?/, ""))
      .join("\n");
    const name = /^[\w.-]{1,64}$/.test(frame.event) ? `event: ${frame.event}\n` : "";
    const masked = mask
      .data(data)
      .split("\n")
      .map((line) => `data: ${line}\n`)
      .join("");
    return chunk(frame.atMs, `${name}${masked}\n`);
  });
}

const maskedFailure = (failure: Failure): Failure => ({
  ...failure,
  message: maskText(failure.message),
  param: maskText(failure.param),
});

const maskedOutcome = (outcome: Outcome): Outcome =>
  outcome.kind === "failed" ? { kind: "failed", failure: maskedFailure(outcome.failure) } : outcome;

function maskedTurn(turn: Turn): Turn {
  const { state } = turn;
  return {
    ...turn,
    state: "failure" in state ? { ...state, failure: maskedFailure(state.failure) } : state,
    items: turn.items.map(maskedItem),
  };
}

function maskedItem(item: Item): Item {
  switch (item.kind) {
    case "userMessage":
      return { ...item, text: maskText(item.text) };
    case "agentMessage":
      return { ...item, text: maskText(item.text), refusal: maskText(item.refusal) };
    case "reasoning":
      return { ...item, text: maskText(item.text), summary: maskText(item.summary) };
    case "toolCall": {
      const masked = maskPayload(item.arguments);
      return {
        ...item,
        arguments: masked,
        result: item.result && { ...item.result, text: maskPayload(item.result.text) },
      };
    }
    case "memory":
      return { ...item, message: maskText(item.message), raw: maskPayload(item.raw) };
    case "raw":
      return { ...item, data: maskText(item.data) };
    case "commandExecution":
      return { ...item, command: maskText(item.command), cwd: maskText(item.cwd), output: maskText(item.output) };
    case "fileChange":
      return {
        ...item,
        changes: item.changes.map(({ path, change, diff }) => ({ path: maskText(path), change, diff: maskText(diff) })),
      };
    case "plan":
      return {
        ...item,
        explanation: maskText(item.explanation),
        steps: item.steps.map((step) => ({ ...step, step: maskText(step.step) })),
      };
    case "diff":
      return { ...item, diff: maskText(item.diff) };
    case "notice":
      return { ...item, text: maskText(item.text) };
    case "approval":
      return { ...item, text: maskText(item.text), changes: [] };
  }
}

// --------------------------------------------------------------------------------------------------------------- in

/** What is wrong, and where in the file. */
class BadField extends Error {
  constructor(readonly path: string) {
    super(path);
  }
}

export function readRecord(text: string): { readonly record: RecordedSession } | { readonly problem: RecordProblem } {
  if (text.length > LARGEST) return { problem: { kind: "tooLarge", bytes: text.length, limit: LARGEST } };
  const value = parsed(text);
  if (value === undefined) return { problem: { kind: "notJson" } };
  const file = fieldsOf(value);
  if (file?.format !== FORMAT) return { problem: { kind: "notARecord" } };
  if (file.version !== VERSION)
    return { problem: { kind: "otherVersion", version: String(file.version).slice(0, 20) } };
  try {
    return { record: sessionIn(new Place(file, "")) };
  } catch (error) {
    if (error instanceof BadField) return { problem: { kind: "badField", path: error.path } };
    throw error;
  }
}

/** A value of the file and the way to it; whatever is taken out of it is checked. */
class Place {
  constructor(
    readonly value: unknown,
    readonly path: string,
  ) {}

  in(key: string): Place {
    const fields = fieldsOf(this.value);
    if (!fields) throw new BadField(this.path);
    return new Place(Object.hasOwn(fields, key) ? fields[key] : undefined, this.path ? `${this.path}.${key}` : key);
  }

  get isNull(): boolean {
    return this.value === null || this.value === undefined;
  }

  text(most = 4_000_000): string {
    if (typeof this.value !== "string" || this.value.length > most) throw new BadField(this.path);
    return this.value;
  }

  name(): string {
    return this.text(256);
  }

  number(): number {
    if (typeof this.value !== "number" || !Number.isFinite(this.value)) throw new BadField(this.path);
    return this.value;
  }

  yes(): boolean {
    if (typeof this.value !== "boolean") throw new BadField(this.path);
    return this.value;
  }

  among<T extends string>(...words: readonly T[]): T {
    if (!words.includes(this.value as T)) throw new BadField(this.path);
    return this.value as T;
  }

  or<T>(read: (place: Place) => T): T | null {
    return this.isNull ? null : read(this);
  }

  list<T>(read: (place: Place) => T, most: number): T[] {
    if (!Array.isArray(this.value) || this.value.length > most) throw new BadField(this.path);
    return this.value.map((entry, index) => read(new Place(entry, `${this.path}[${index}]`)));
  }
}

function sessionIn(file: Place): RecordedSession {
  const thread = file.in("thread");
  const id = thread.in("id").name();
  const turns = file.in("turns").list((turn) => turnIn(turn, id), 100_000);
  return {
    redacted: file.in("redacted").yes(),
    thread: {
      id,
      engine: thread.in("engine").among("chat", "responses", "codex"),
      sessionId: thread.in("sessionId").name(),
      title: thread.in("title").text(1_000),
      named: thread.in("named").yes(),
      created: thread.in("created").number(),
      updated: thread.in("updated").number(),
      archived: false,
      model: thread.in("model").name(),
      tip: thread.in("tip").or((tip) => tip.name()),
      turns: turns.length,
      state: "done",
    },
    turns,
    attempts: file.in("attempts").list(attemptIn, 100_000),
  };
}

function turnIn(turn: Place, thread: string): Turn {
  return {
    id: turn.in("id").name(),
    thread,
    parent: turn.in("parent").or((parent) => parent.name()),
    instead: turn.in("instead").or((instead) => instead.name()),
    created: turn.in("created").number(),
    model: turn.in("model").name(),
    state: stateIn(turn.in("state")),
    items: turn
      .in("items")
      .list(itemIn, 100_000)
      .filter((item) => item !== null),
    attempts: turn.in("attempts").list((attempt) => attempt.name(), 10_000),
    usage: null,
  };
}

/** A turn that no attempt tells of stands as it stood; of others the bytes say how they stand. */
function stateIn(state: Place): TurnState {
  const kind = state.in("kind").name();
  if (kind === "failed") return { kind, failure: failureIn(state.in("failure")) };
  return { kind: "done", finish: null };
}

/** Null for kinds that this page cannot play. */
function itemIn(item: Place): Item | null {
  const kind = item.in("kind").name();
  const base = {
    id: item.in("id").name(),
    attempt: item.in("attempt").or((attempt) => attempt.name()),
    created: item.in("created").number(),
  };
  const state = (): "done" | "broken" =>
    item.in("state").among("open", "done", "broken") === "done" ? "done" : "broken";
  const choice = (): number => item.in("choice").number();
  switch (kind) {
    case "userMessage":
      return { ...base, kind, text: item.in("text").text() };
    case "agentMessage": {
      const seams = item.in("seams").list((seam) => seam.number(), 1_000);
      const texts = { text: item.in("text").text(), refusal: item.in("refusal").text() };
      return { ...base, kind, ...texts, state: state(), seams, leaked: item.in("leaked").yes(), choice: choice() };
    }
    case "reasoning": {
      const texts = { text: item.in("text").text(), summary: item.in("summary").text() };
      return { ...base, kind, ...texts, state: state(), tookMs: item.in("tookMs").number(), choice: choice() };
    }
    case "toolCall":
      return { ...base, kind, ...callIn(item), state: state(), choice: choice() };
    case "memory": {
      const texts = { message: item.in("message").text(), raw: item.in("raw").text() };
      const event = item.in("event").among("warning", "flush", "summarize", "heartbeat", "error");
      const fill = (name: string): number | null => item.in(name).or((count) => count.number());
      const source = item.in("source").or((id) => id.name());
      return { ...base, kind, event, ...texts, tokens: fill("tokens"), limit: fill("limit"), source };
    }
    case "raw":
      return { ...base, kind, name: item.in("name").name(), data: item.in("data").text() };
    case "diff":
      return { ...base, kind, diff: item.in("diff").text(), source: item.in("source").or((id) => id.name()) };
    case "plan": {
      const steps = item.in("steps").list((step) => {
        return { step: step.in("step").text(), status: step.in("status").among("pending", "inProgress", "completed") };
      }, 1_000);
      return { ...base, kind, explanation: item.in("explanation").text(), steps };
    }
    default:
      return null;
  }
}

const FLAGS: readonly ToolFlag[] = [
  "missingId",
  "missingName",
  "duplicateId",
  "wrongIndex",
  "doubleEncoded",
  "oneLump",
  "unknownTool",
  "schemaMismatch",
];

function callIn(
  item: Place,
): Pick<ToolCall, "callId" | "name" | "arguments" | "verdict" | "flags" | "memory" | "result" | "tookMs"> {
  const name = item.in("name").name();
  const written = item.in("arguments").text();
  return {
    callId: item.in("callId").name(),
    name,
    arguments: written,
    verdict: judge(written),
    flags: item.in("flags").list((flag) => flag.among(...FLAGS), FLAGS.length),
    memory: memoryOperation(name, []),
    result: item.in("result").or((result) => ({
      text: result.in("text").text(),
      at: result.in("at").number(),
      by: result.in("by").among("user", "session"),
      failed: result.in("failed").yes(),
    })),
    tookMs: item.in("tookMs").number(),
  };
}

function attemptIn(attempt: Place): RecordedAttempt {
  const request = attempt.in("request");
  return {
    id: attempt.in("id").name(),
    turn: attempt.in("turn").name(),
    protocol: attempt.in("protocol").among("chat", "responses"),
    retries: attempt.in("retries").or((id) => id.name()),
    continues: attempt.in("continues").or((id) => id.name()),
    request: {
      at: request.in("at").number(),
      method: "POST",
      url: request.in("url").text(4_000),
      headers: headersIn(request.in("headers")),
      body: request.in("body").text(64_000_000),
    },
    response: attempt.in("response").or((response) => ({
      status: response.in("status").number(),
      statusText: response.in("statusText").name(),
      headers: headersIn(response.in("headers")),
    })),
    framing: attempt.in("framing").or((framing) => framing.among("events", "plain")),
    outcome: outcomeIn(attempt.in("outcome")),
    endMs: spanIn(attempt.in("endMs")),
    ids: attempt.in("ids").list((header) => header.name(), 10),
    chunks: attempt.in("chunks").list(chunkIn, 1_000_000),
  };
}

const headersIn = (headers: Place): Header[] =>
  headers.list((header) => {
    const [name, value, ...more] = header.list((part) => part.text(65_536), 2);
    if (name === undefined || value === undefined || more.length > 0) throw new BadField(header.path);
    return [name, value];
  }, 1_000);

/** Milliseconds of an exchange: not negative, and no longer than a day. */
function spanIn(span: Place): number {
  const ms = span.number();
  if (ms < 0 || ms > 86_400_000) throw new BadField(span.path);
  return ms;
}

function chunkIn(chunk: Place): RecordedChunk {
  const data = chunk.in("data");
  if (fromBase64(data.text(64_000_000)) === null) throw new BadField(data.path);
  return { at_ms: spanIn(chunk.in("at_ms")), data: data.value as string };
}

function outcomeIn(outcome: Place): Outcome {
  const kind = outcome.in("kind").among("running", "whole", "stopped", "failed");
  return kind === "failed" ? { kind, failure: failureIn(outcome.in("failure")) } : { kind };
}

function failureIn(failure: Place): Failure {
  const kind = failure
    .in("kind")
    .among(
      "offline",
      "unreachable",
      "noKey",
      "badKey",
      "forbidden",
      "tooLarge",
      "rateLimited",
      "overBudget",
      "refused",
      "server",
      "inStream",
      "broken",
      "reloaded",
      "unreadable",
    );
  const count = (place: Place): number | null => place.or((number) => number.number());
  const base = {
    at: failure.in("at").number(),
    requestId: failure.in("requestId").name(),
    status: count(failure.in("status")),
    code: failure.in("code").name(),
    type: failure.in("type").name(),
    message: failure.in("message").text(8_000),
    param: failure.in("param").name(),
  };
  if (kind === "tooLarge")
    return { ...base, kind, bytes: failure.in("bytes").number(), limit: count(failure.in("limit")) };
  // The time at which it might have been tried again is long past.
  if (kind === "rateLimited" || kind === "server")
    return { ...base, kind, retryAfter: count(failure.in("retryAfter")), until: null };
  if (kind !== "overBudget") return { ...base, kind };
  const budget = failure.in("budget");
  return {
    ...base,
    kind,
    budget: {
      prompt: count(budget.in("prompt")),
      counted: budget.in("counted").name(),
      output: count(budget.in("output")),
      contextTokens: count(budget.in("contextTokens")),
      outputTokens: count(budget.in("outputTokens")),
    },
  };
}
