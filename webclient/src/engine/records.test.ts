// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Thread, Turn } from "../model";
import { type RecordedAttempt, type RecordedSession, readRecord, recordText } from "./records";
import { RecordReplay } from "./replay";
import { stage } from "./testing";

const at = Date.UTC(2026, 10, 21);
const thread: Thread = {
  id: "t",
  engine: "chat",
  sessionId: "s",
  title: "Title",
  named: false,
  created: at,
  updated: at,
  archived: false,
  model: "",
  tip: "u1",
  turns: 1,
  state: "done",
};
const turn: Turn = {
  id: "u1",
  thread: "t",
  parent: null,
  instead: null,
  created: at,
  model: "m",
  state: { kind: "done", finish: null },
  usage: null,
  attempts: ["a1"],
  items: [
    { kind: "userMessage", id: "i1", attempt: null, created: at, text: "Hello" },
    {
      kind: "agentMessage",
      id: "i2",
      attempt: "a1",
      created: at,
      text: "Hi",
      state: "done",
      refusal: "",
      seams: [],
      leaked: false,
      choice: 0,
    },
  ],
};
const stream = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n';
const attempt: RecordedAttempt = {
  id: "a1",
  turn: "u1",
  protocol: "chat",
  retries: null,
  continues: null,
  framing: "events",
  outcome: { kind: "whole" },
  endMs: 50,
  ids: ["X-Request-ID"],
  request: {
    at,
    method: "POST",
    url: "http://127.0.0.1:8082/v1/chat/completions",
    headers: [["X-Request-ID", "a1"]],
    body: '{"stream":true}',
  },
  response: {
    status: 200,
    statusText: "OK",
    headers: [
      ["content-type", "text/event-stream"],
      ["x-request-id", "a1"],
    ],
  },
  chunks: [
    { at_ms: 10, data: btoa(stream.slice(0, 30)) },
    { at_ms: 40, data: btoa(stream.slice(30)) },
  ],
};
const session: RecordedSession = { redacted: false, thread, turns: [turn], attempts: [attempt] };
const text = recordText(session, at);

/** The record with another value at a path such as `attempts.0.chunks`. */
function changed(path: string, value: unknown): string {
  const whole = JSON.parse(text) as Record<string, unknown>;
  const keys = path.split(".");
  const last = keys.pop()!;
  const parent = keys.reduce<Record<string, unknown>>((inner, key) => inner[key] as Record<string, unknown>, whole);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return JSON.stringify(whole);
}

describe("readRecord", () => {
  it("reads what was written", () => {
    const read = readRecord(text);
    if (!("record" in read)) throw new Error(JSON.stringify(read));
    expect(read.record).toEqual(session);
  });

  it.each([
    ["", { kind: "notJson" }],
    ["[]", { kind: "notARecord" }],
    ['{"format": "other"}', { kind: "notARecord" }],
    [changed("version", 2), { kind: "otherVersion", version: "2" }],
    [changed("thread", null), { kind: "badField", path: "thread" }],
    [changed("thread.id", 7), { kind: "badField", path: "thread.id" }],
    [changed("turns", {}), { kind: "badField", path: "turns" }],
    [changed("turns.0.items.0.text", ["x"]), { kind: "badField", path: "turns[0].items[0].text" }],
    [changed("attempts.0.chunks.1.at_ms", -1), { kind: "badField", path: "attempts[0].chunks[1].at_ms" }],
    [changed("attempts.0.chunks.1.data", "***"), { kind: "badField", path: "attempts[0].chunks[1].data" }],
    [changed("attempts.0.request.headers", [["only"]]), { kind: "badField", path: "attempts[0].request.headers[0]" }],
    [changed("attempts.0.endMs", 1e12), { kind: "badField", path: "attempts[0].endMs" }],
    [changed("attempts.0.outcome", { kind: "failed" }), { kind: "badField", path: "attempts[0].outcome.failure" }],
    [changed("attempts.0.protocol", "gopher"), { kind: "badField", path: "attempts[0].protocol" }],
  ] as const)("says what is wrong with a file: %#", (file, problem) => {
    expect(readRecord(file)).toEqual({ problem });
  });

  it("takes any value anywhere, and either plays it or says where it is wrong", () => {
    const paths = (value: unknown, path: string): string[] =>
      typeof value === "object" && value !== null
        ? Object.entries(value).flatMap(([key, inner]) => [
            path ? `${path}.${key}` : key,
            ...paths(inner, path ? `${path}.${key}` : key),
          ])
        : [];
    const everywhere = paths(JSON.parse(text), "");
    fc.assert(
      fc.property(
        fc.constantFrom(...everywhere),
        fc.oneof(fc.jsonValue(), fc.constant(undefined), fc.constantFrom("__proto__", "u1", "a1", 1e308, -1)),
        (path, value) => {
          const read = readRecord(changed(path, value));
          if ("record" in read) new RecordReplay(read.record, stage()).close();
        },
      ),
      { numRuns: 1500 },
    );
  });

  it("is not led by names of the language", () => {
    const file = text.replace('"thread": {', '"__proto__": {"polluted": 1}, "thread": {"__proto__": {"polluted": 1}, ');
    const read = readRecord(file);
    expect("record" in read).toBe(true);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });
});

describe("RecordReplay", () => {
  it("plays at its old pace, and up to fifty times that", () => {
    const page = stage();
    const replay = new RecordReplay(session, page);
    const said = (): string =>
      replay.turns.value
        .flatMap((one) => one.items.value)
        .map((view) => (view.item.value.kind === "agentMessage" ? "agent" : "user"))
        .join();
    expect(replay.durationMs).toBe(50);
    expect(said()).toBe("user,agent");
    replay.seek(0);
    expect(said()).toBe("user");
    replay.play();
    page.clock.advance(32);
    page.frame();
    expect(said()).toBe("user");
    expect(replay.turns.value[0]!.state.value.kind).toBe("queued");
    page.clock.advance(16);
    page.frame();
    expect(said()).toBe("user,agent");
    page.clock.advance(16);
    expect(replay.playing.value).toBe(false);
    expect(replay.positionMs.value).toBe(50);
    replay.setSpeed(50);
    replay.play();
    expect(replay.positionMs.value).toBe(0);
    page.clock.advance(16);
    expect(replay.positionMs.value).toBe(50);
    replay.close();
    expect(page.clock.waiting).toBe(0);
    expect(page.gateway.asked).toEqual([]);
  });

  it("cuts pauses between exchanges short", () => {
    const later = at + 3_600_000;
    const second: Turn = { ...turn, id: "u2", parent: "u1", created: later, attempts: ["a2"], items: [] };
    const two = {
      ...session,
      thread: { ...thread, tip: "u2" },
      turns: [turn, second],
      attempts: [attempt, { ...attempt, id: "a2", turn: "u2", request: { ...attempt.request, at: later } }],
    };
    expect(new RecordReplay(two, stage()).durationMs).toBe(50 + 2_000 + 50);
  });

  it("bears turns that lead in a circle, and attempts without a turn", () => {
    const circle = {
      ...session,
      turns: [{ ...turn, parent: "u1" }],
      attempts: [attempt, { ...attempt, turn: "gone" }],
    };
    expect(new RecordReplay(circle, stage()).turns.value).toHaveLength(1);
    expect(new RecordReplay({ ...session, turns: [], attempts: [] }, stage()).durationMs).toBe(0);
  });
});
