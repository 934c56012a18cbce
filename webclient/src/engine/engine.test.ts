// @vitest-environment node
import { IDBFactory, IDBObjectStore } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Item, ToolCall } from "../model";
import type { Engine, ThreadView, TurnView } from "./api";
import { startEngine } from "./engine";
import { settle, type Stage, stage } from "./testing";

let page: Stage;
let engine: Engine;
let pages: Engine[] = [];

async function open(on: Stage): Promise<Engine> {
  const started = startEngine(on);
  pages.push(started);
  await started.boot();
  return started;
}

beforeEach(async () => {
  page = stage();
  engine = await open(page);
});

afterEach(async () => {
  for (const one of pages) await one.close();
  pages = [];
});

const thread = (): ThreadView => engine.sessions.current.value!;
const turn = (): TurnView => thread().turns.value.at(-1)!;
const items = (of: TurnView = turn()): Item[] => of.items.value.map((view) => view.item.value);
const kinds = (of: TurnView = turn()): string[] => items(of).map((item) => item.kind);
const said = (of: TurnView = turn()): string =>
  items(of)
    .map((item) => (item.kind === "agentMessage" ? item.text : ""))
    .join("");
const calls = (): ToolCall[] => items().filter((item) => item.kind === "toolCall");

/** Sends a prompt and gives the request that went out. */
async function ask(prompt: string): Promise<typeof page.gateway.last> {
  thread().send(prompt);
  await settle();
  return page.gateway.last;
}

/** Keeps a database from writing anything else until the function it gives is called. */
async function occupy(factory: IDBFactory): Promise<() => void> {
  const request = factory.open("hadesgw");
  await new Promise((opened) => (request.onsuccess = opened));
  const names = [...request.result.objectStoreNames];
  const store = request.result.transaction(names, "readwrite").objectStore(names[0]!);
  let isOver = false;
  const go = (): void => {
    if (isOver) request.result.close();
    else store.count().onsuccess = go;
  };
  go();
  return () => {
    isOver = true;
  };
}

describe("a long session", () => {
  const answered = async (prompt: string): Promise<string> => {
    const request = await ask(prompt);
    request.head().delta({ content: `Yes, ${prompt}.` }, "stop").done();
    await settle();
    page.frame();
    return request.body;
  };

  it("writes as many records for a late turn as for an early one, and not more of them", async () => {
    const put = vi.spyOn(IDBObjectStore.prototype, "put");
    const written = async (prompt: string): Promise<number[]> => {
      put.mockClear();
      await answered(prompt);
      return [put.mock.calls.length, JSON.stringify(put.mock.calls).length];
    };
    const [records, size] = await written("first");
    for (let at = 0; at < 30; at += 1) await answered(`${at} ${"words ".repeat(100)}`);
    const [later, larger] = await written("later");
    expect(later).toBe(records);
    expect(larger).toBeLessThan(size! + 1500);
  });

  it("reads what is old of it from the shelf when it is looked at", async () => {
    const sent = await answered("first");
    const old = turn().attempts.value[0]!;
    const received = old.body();
    for (let at = 0; at < 8; at += 1) await answered(`next ${at}`);
    expect([old.frames.value, old.attempt.value.request.body]).toEqual([null, ""]);
    await old.load();
    expect(old.attempt.value.request.body).toBe(sent);
    expect(old.body()).toEqual(received);
    expect(old.frames.value).toBeGreaterThan(0);
  });

  it("forgets nothing that could not be kept", async () => {
    const sent = await answered("first");
    const old = turn().attempts.value[0]!;
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(() => {
      throw new DOMException("full", "QuotaExceededError");
    });
    for (let at = 0; at < 9; at += 1) await answered(`next ${at}`);
    expect(old.attempt.value.request.body).toBe(sent);
    expect(engine.sessions.durable.value).toBe(false);
  });

  it("knows the usage that was said last, wherever that was", async () => {
    const request = await ask("first");
    request.head().delta({ content: "Yes." }, "stop");
    request.bytes('data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n').done();
    await settle();
    for (let at = 0; at < 3; at += 1) await answered(`next ${at}`);
    expect(thread().usage.value).toMatchObject({ total: 5 });
  });
});

describe("two tabs", () => {
  let beside: Stage;
  let other: Engine;
  const there = (): ThreadView => other.sessions.current.value!;
  const granted = (_: string, told: (mine: boolean) => void): (() => void) => {
    queueMicrotask(() => told(true));
    return () => undefined;
  };
  const answer = async (tab: Stage, text: string): Promise<void> => {
    tab.gateway.last.head().delta({ content: text }, "stop").done();
    await settle();
  };
  const pass = async (): Promise<void> => {
    await settle();
    page.clock.advance(300);
    await settle();
  };
  const open_there = async (id: string): Promise<void> => {
    const opening = other.sessions.open(id);
    await pass();
    await opening;
  };

  beforeEach(async () => {
    await ask("Hello");
    await answer(page, "Hi");
    beside = stage(page, true);
    other = await open(beside);
  });

  it("keeps the second from writing in a session that the first shows, and shows there what is said here", async () => {
    const { id } = thread();
    await open_there(id);
    expect(there().elsewhere.value).toBe(true);
    there().send("Over you");
    there().edit(there().turns.value[0]!.id, "Over you");
    expect(await other.sessions.rename(id, "Mine")).toBe(false);
    expect(await other.sessions.remove(id)).toBe(false);
    expect(page.gateway.exchanges.length).toBe(1);
    await ask("More");
    await pass();
    expect(there().turns.value.map((one) => one.state.value.kind)).toEqual(["done", "connecting"]);
    await answer(page, "Much more");
    await pass();
    expect(said(there().turns.value.at(-1))).toBe("Much more");
    await engine.sessions.rename(id, "Named here");
    await pass();
    expect(other.sessions.list.value).toMatchObject([{ id, title: "Named here" }]);
    expect(there().thread.value.title).toBe("Named here");
  });

  it("gives a session to the other tab that asks for it, and not in mid-answer", async () => {
    const { id } = thread();
    await open_there(id);
    await ask("More");
    other.sessions.take(id);
    await pass();
    expect([thread().elsewhere.value, there().elsewhere.value]).toEqual([false, true]);
    await answer(page, "Much more");
    other.sessions.take(id);
    await pass();
    expect([thread().elsewhere.value, there().elsewhere.value]).toEqual([true, false]);
    there().send("From there");
    await settle();
    await answer(beside, "Seen");
    await pass();
    expect(thread().turns.value.map((one) => said(one))).toEqual(["Hi", "Much more", "Seen"]);
    thread().send("Over you");
    expect(page.gateway.exchanges.length).toBe(3);
  });

  it("takes in what the other has written where the browser has no locks", async () => {
    const lockless: Stage = Object.assign(stage(page, true), { tabs: { ...page.neighbours.tab(), claim: granted } });
    other = await open(lockless);
    await open_there(thread().id);
    there().draft.value = "half a";
    await ask("More");
    await answer(page, "Much more");
    await pass();
    expect(there().elsewhere.value).toBe(false);
    expect(said(there().turns.value.at(-1))).toBe("Much more");
    expect(there().draft.value).toBe("half a");
  });

  it("gives up a session that it does not show", async () => {
    const { id } = thread();
    engine.sessions.create();
    await open_there(id);
    expect(there().elsewhere.value).toBe(false);
  });

  it("has a session for itself once the other tab is closed", async () => {
    const { id } = thread();
    await open_there(id);
    await engine.close();
    await pass();
    expect(there().elsewhere.value).toBe(false);
  });

  it("shows another session when the one it looks at is deleted elsewhere", async () => {
    const { id } = thread();
    await open_there(id);
    await engine.sessions.remove(id);
    await pass();
    expect(there().id).not.toBe(id);
    expect(other.sessions.list.value).toEqual([]);
  });
});

describe("sending", () => {
  it("streams an answer into the turn and shows both ids as sent and echoed", async () => {
    engine.key.keep("hgw_secret", "browser");
    const request = await ask("Hello");
    expect(turn().state.value.kind).toBe("connecting");
    expect(thread().busy.value).toBe(true);
    expect(request.url).toBe("http://127.0.0.1:8082/v1/chat/completions");
    expect(request.headers.get("authorization")).toBe("Bearer hgw_secret");
    expect(request.json).toEqual({
      model: "m",
      messages: [{ role: "user", content: "Hello" }],
      stream: true,
      stream_options: { include_usage: true },
    });
    request.head();
    await settle();
    page.frame();
    expect(turn().state.value.kind).toBe("queued");
    request.delta({ role: "assistant", content: "" }).delta({ content: "Good " });
    await settle();
    expect(said()).toBe("");
    page.frame();
    expect(said()).toBe("Good ");
    expect(turn().state.value).toMatchObject({ kind: "streaming", what: "text" });
    request.delta({ content: "day" }).delta({}, "stop");
    request.bytes('data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n').done();
    await settle();
    expect(said()).toBe("Good day");
    expect(turn().state.value).toEqual({ kind: "done", finish: "stop" });
    expect(turn().usage.value).toMatchObject({ prompt: 3, completion: 2, total: 5 });
    expect(thread().busy.value).toBe(false);
    const attempt = turn().attempts.value[0]!;
    expect(attempt.attempt.value.echo.map(({ verdict }) => verdict)).toEqual(["same", "same"]);
    expect(attempt.id).toBe(request.headers.get("x-request-id"));
    expect(request.headers.get("x-conveyance-session-id")).toBe(thread().thread.value.sessionId);
    expect(JSON.stringify(attempt.attempt.value)).not.toContain("hgw_secret");
    expect(attempt.frames.value).toBe(6);
    expect(attempt.frameText(5)).toBe("data: [DONE]\n\n");
  });

  it("says so when an id comes back changed or not at all", async () => {
    const request = await ask("Hello");
    request
      .head(200, { "x-request-id": "another", "x-conveyance-session-id": "" })
      .delta({ content: "x" }, "stop")
      .done();
    await settle();
    const verdicts = turn().attempts.value[0]!.attempt.value.echo.map(({ verdict, received }) => [verdict, received]);
    expect(verdicts).toEqual([
      ["changed", "another"],
      ["changed", ""],
    ]);
  });

  it("paints once a frame however many deltas came, and at once when it is flushed", async () => {
    const request = await ask("Hello");
    request.head();
    await settle();
    page.frame();
    let painted = 0;
    for (const piece of "abcdefgh") request.delta({ content: piece });
    await settle();
    page.frame();
    const end = items().find((item) => item.kind === "agentMessage");
    expect(end).toMatchObject({ text: "abcdefgh" });
    const stop = turn().items.value[1]!.item.subscribe(() => (painted += 1));
    for (const piece of "ijkl") request.delta({ content: piece });
    await settle();
    expect(painted).toBe(1);
    engine.flush();
    expect(painted).toBe(2);
    expect(said()).toBe("abcdefghijkl");
    stop();
    request.lose();
  });

  it("sends the conversation so far with the next prompt, and leaves out what came to nothing", async () => {
    (await ask("One")).head().delta({ content: "Eins" }, "stop").done();
    await settle();
    (await ask("Two")).json_answer(500, { error: { message: "no", type: "x", code: "internal_error" } });
    await settle();
    expect(turn().state.value).toMatchObject({
      kind: "failed",
      failure: { kind: "server", code: "internal_error", status: 500 },
    });
    const third = await ask("Three");
    expect(third.json.messages).toEqual([
      { role: "user", content: "One" },
      { role: "assistant", content: "Eins" },
      { role: "user", content: "Three" },
    ]);
    third.lose();
  });

  it("reads an answer that is no stream", async () => {
    engine.settings.change({ stream: false });
    const request = await ask("Hello");
    expect(request.json.stream).toBe(false);
    request.json_answer(200, {
      id: "c",
      model: "m",
      choices: [{ index: 0, message: { role: "assistant", content: "Whole", reasoning: "Hm" }, finish_reason: "stop" }],
    });
    await settle();
    expect(kinds()).toEqual(["userMessage", "reasoning", "agentMessage"]);
    expect(said()).toBe("Whole");
    expect(turn().state.value).toEqual({ kind: "done", finish: "stop" });
  });

  it("speaks Responses", async () => {
    thread().useEngine("responses");
    const request = await ask("Hello");
    expect(request.url).toContain("/v1/responses");
    expect(request.json.input).toEqual([
      { type: "message", role: "user", content: [{ type: "input_text", text: "Hello" }] },
    ]);
    request.head();
    request.event("response.created", { response: { id: "resp_1", model: "m" } });
    request.event("response.output_item.added", { item: { id: "msg_1", type: "message" }, output_index: 0 });
    request.event("response.output_text.delta", { item_id: "msg_1", delta: "Hi" });
    request.event("response.output_text.done", { item_id: "msg_1", text: "Hi you" });
    request.event("response.something.new", { secret: 1 });
    request.event("response.completed", {
      response: { id: "resp_1", status: "completed", usage: { input_tokens: 4, output_tokens: 2 } },
    });
    request.end();
    await settle();
    expect(said()).toBe("Hi you");
    expect(turn().state.value).toEqual({ kind: "done", finish: "stop" });
    expect(items().at(-1)).toMatchObject({ kind: "raw", name: "response.something.new" });
    expect(turn().usage.value).toMatchObject({ prompt: 4, completion: 2 });
  });
});

describe("stopping and losing", () => {
  it("keeps what came when it is stopped, and closes the connection", async () => {
    const request = await ask("Hello");
    request.head().delta({ content: "Half a" });
    await settle();
    thread().stop();
    expect(request.aborted).toBe(true);
    expect(said()).toBe("Half a");
    expect(turn().state.value).toEqual({ kind: "stopped", received: { deltas: 1, characters: 6, tokens: null } });
    await settle();
    expect(turn().state.value.kind).toBe("stopped");
  });

  it("says cut after so much when the connection breaks, and goes on from there", async () => {
    const request = await ask("Hello");
    request.head().delta({ content: "Half " }).delta({ content: "a " });
    await settle();
    request.lose();
    await settle();
    expect(turn().state.value).toMatchObject({
      kind: "cut",
      received: { deltas: 2, characters: 7 },
      failure: { kind: "broken" },
    });
    expect(thread().canProceed(turn().id)).toBe(true);
    thread().proceed(turn().id);
    await settle();
    const second = page.gateway.last;
    expect(second.json).toMatchObject({
      messages: [
        { role: "user", content: "Hello" },
        { role: "assistant", content: "Half a " },
      ],
      continue_final_message: true,
      add_generation_prompt: false,
    });
    second.head().delta({ content: "loaf" }, "stop").done();
    await settle();
    expect(said()).toBe("Half a loaf");
    expect(items().filter((item) => item.kind === "agentMessage")).toMatchObject([{ seams: [7], state: "done" }]);
    expect(turn().attempts.value.map((view) => view.attempt.value.continues)).toEqual([
      null,
      request.headers.get("x-request-id"),
    ]);
  });

  it("keeps the text if going on fails too", async () => {
    (await ask("Hello")).head().delta({ content: "Half" });
    await settle();
    page.gateway.last.lose();
    await settle();
    thread().proceed(turn().id);
    await settle();
    page.gateway.last.lose();
    await settle();
    expect(said()).toBe("Half");
    expect(turn().state.value).toMatchObject({
      kind: "cut",
      received: { characters: 4 },
      failure: { kind: "unreachable" },
    });
    expect(thread().canProceed(turn().id)).toBe(true);
  });

  it("tells an error event in the stream from an end, even if [DONE] follows", async () => {
    const request = await ask("Hello");
    request.head().delta({ content: "Oh" });
    request
      .bytes(
        'data: {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}\n\n',
      )
      .done();
    await settle();
    expect(turn().state.value).toMatchObject({
      kind: "cut",
      failure: { kind: "inStream", message: "EngineCore encountered an issue.", code: "500" },
    });
  });

  it("calls a stream that ends without its last word broken", async () => {
    (await ask("Hello")).head().delta({ content: "Oh" }).end();
    await settle();
    expect(turn().state.value).toMatchObject({ kind: "cut", failure: { kind: "broken" } });
  });
});

describe("refusals", () => {
  it.each([
    [401, { error: { message: "No", code: "invalid_api_key" } }, {}, { kind: "noKey", code: "invalid_api_key" }],
    [403, { error: { message: "No", code: "client_suspended" } }, {}, { kind: "forbidden" }],
    [413, { error: { message: "No", code: "body_too_large" } }, {}, { kind: "tooLarge", limit: 65_536 }],
    [
      400,
      { error: "TOKEN_BUDGET_EXCEEDED" },
      { "x-hades-token-budget": "prompt=7001; counted=exact; output=2048; context_tokens=8192; output_tokens=2048" },
      {
        kind: "overBudget",
        budget: { prompt: 7001, counted: "exact", output: 2048, contextTokens: 8192, outputTokens: 2048 },
      },
    ],
    [
      404,
      { error: { message: "No", code: "model_not_found", param: "model" } },
      {},
      { kind: "refused", param: "model" },
    ],
    [
      503,
      { error: { message: "No", code: "server_is_overloaded" } },
      { "retry-after": "4" },
      { kind: "server", retryAfter: 4 },
    ],
    [502, "<html>", {}, { kind: "server", code: "" }],
    [200, "not json", {}, { kind: "unreadable" }],
  ] as const)("makes a state of its own of %i", async (status, body, headers, failure) => {
    (await ask("Hello")).json_answer(status, body, headers);
    await settle();
    expect(turn().state.value).toMatchObject({ kind: "failed", failure: { status, ...failure } });
    expect(turn().state.value).toMatchObject({ failure: { requestId: page.gateway.last.headers.get("x-request-id") } });
  });

  it("counts down to what Retry-After says, and sends by itself only if told to", async () => {
    (await ask("Hello")).json_answer(
      429,
      { error: { message: "Slow", code: "rate_limit_exceeded" } },
      { "retry-after": "3" },
    );
    await settle();
    expect(thread().countdown.value).toMatchObject({ turn: turn().id, automatic: false });
    page.clock.advance(10_000);
    await settle();
    expect(thread().countdown.value).toBeNull();
    expect(page.gateway.exchanges).toHaveLength(1);
    engine.settings.change({ autoRetry: true });
    thread().retry(turn().id);
    await settle();
    page.gateway.last.json_answer(429, {}, { "retry-after": "3" });
    await settle();
    const { until } = thread().countdown.value!;
    expect(until - page.clock.now()).toBe(3125);
    page.clock.advance(3000);
    expect(page.gateway.exchanges).toHaveLength(2);
    page.clock.advance(125);
    await settle();
    expect(page.gateway.exchanges).toHaveLength(3);
    page.gateway.last.head().delta({ content: "Now" }, "stop").done();
    await settle();
    expect(thread().turns.value).toHaveLength(1);
    expect(turn().siblings.value.ids).toHaveLength(1);
    expect(turn().attempts.value.map((view) => view.attempt.value.retries !== null)).toEqual([false, true, true]);
  });

  it("names the attempt that a retry repeats, in the turn and in a sibling", async () => {
    (await ask("Hello")).head().delta({ content: "First" }, "stop").done();
    await settle();
    const first = turn().attempts.value[0]!.id;
    thread().retry(turn().id);
    await settle();
    expect(turn().attempts.value[0]!.attempt.value.retries).toBe(first);
    page.gateway.last.lose();
    await settle();
    thread().retry(turn().id);
    await settle();
    expect(turn().attempts.value.map((view) => view.attempt.value.retries)).toEqual([
      first,
      turn().attempts.value[0]!.id,
    ]);
    page.gateway.last.lose();
  });

  it("gives up a countdown that is cancelled, and stops after five tries", async () => {
    engine.settings.change({ autoRetry: true });
    (await ask("Hello")).json_answer(429, {}, { "retry-after": "1" });
    await settle();
    for (let round = 0; round < 10; round += 1) {
      page.clock.advance(5_000);
      await settle();
      if (round < 5) page.gateway.last.json_answer(429, {}, { "retry-after": "1" });
      await settle();
    }
    expect(page.gateway.exchanges).toHaveLength(6);
    thread().retry(turn().id);
    await settle();
    page.gateway.last.json_answer(429, {}, { "retry-after": "1" });
    await settle();
    thread().cancelCountdown();
    page.clock.advance(5_000);
    await settle();
    expect(page.gateway.exchanges).toHaveLength(7);
  });
});

describe("siblings", () => {
  it("keeps the old answer beside the new one, and shows either", async () => {
    (await ask("Hello")).head().delta({ content: "First" }, "stop").done();
    await settle();
    const first = turn().id;
    thread().retry(first);
    await settle();
    expect(page.gateway.last.json.messages).toEqual([{ role: "user", content: "Hello" }]);
    page.gateway.last.head().delta({ content: "Second" }, "stop").done();
    await settle();
    expect(said()).toBe("Second");
    expect(turn().siblings.value).toEqual({ ids: [first, turn().id], place: 1 });
    thread().show(first);
    expect(said()).toBe("First");
    expect(turn().siblings.value.place).toBe(0);
  });

  it("edits a prompt into a branch of its own, and comes back to the end of the old one", async () => {
    (await ask("One")).head().delta({ content: "1" }, "stop").done();
    await settle();
    const first = turn().id;
    (await ask("Two")).head().delta({ content: "2" }, "stop").done();
    await settle();
    const second = turn().id;
    thread().edit(first, "Uno");
    await settle();
    page.gateway.last.head().delta({ content: "I" }, "stop").done();
    await settle();
    expect(thread().turns.value.map((one) => said(one))).toEqual(["I"]);
    thread().show(first);
    expect(thread().turns.value.map((one) => one.id)).toEqual([first, second]);
  });
});

describe("going on at the length limit", () => {
  it("keeps the text and the count if that fails", async () => {
    (await ask("Hello")).head().delta({ content: "Long" }, "length").done();
    await settle();
    expect(turn().state.value).toEqual({ kind: "done", finish: "length" });
    expect(thread().canProceed(turn().id)).toBe(true);
    thread().proceed(turn().id);
    await settle();
    page.gateway.last.json_answer(503, {});
    await settle();
    expect(turn().state.value).toMatchObject({
      kind: "cut",
      received: { deltas: 1, characters: 4 },
      failure: { kind: "server" },
    });
    expect(thread().canProceed(turn().id)).toBe(true);
  });
});

describe("tools", () => {
  const tools = JSON.stringify([
    {
      type: "function",
      function: {
        name: "get_weather",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    },
  ]);

  it("waits for results by hand and goes on when the last one is there", async () => {
    engine.settings.change({ tools: true, toolDefinitions: tools });
    const request = await ask("Weather?");
    expect(request.json).toMatchObject({ tools: JSON.parse(tools) as unknown, tool_choice: "auto" });
    request.head().delta({ content: "I look." });
    request.delta({
      tool_calls: [{ index: 0, id: "call_a", type: "function", function: { name: "get_weather", arguments: "" } }],
    });
    await settle();
    page.frame();
    request.delta({ tool_calls: [{ index: 0, function: { arguments: '{"city"' } }] });
    await settle();
    page.frame();
    expect(calls()[0]).toMatchObject({ verdict: { kind: "prefix", depth: 1 }, state: "open" });
    request.delta({ tool_calls: [{ index: 0, function: { arguments: ': "Rome"}' } }] });
    request.delta({
      tool_calls: [
        { index: 1, id: "call_b", type: "function", function: { name: "get_weather", arguments: '{"city": 7}' } },
      ],
    });
    request.delta({}, "tool_calls").done();
    await settle();
    expect(calls().map(({ callId, verdict, flags }) => [callId, verdict.kind, flags])).toEqual([
      ["call_a", "complete", []],
      ["call_b", "complete", ["schemaMismatch"]],
    ]);
    expect(turn().state.value).toEqual({ kind: "tools", waiting: calls().map(({ id }) => id) });
    thread().answer(calls()[0]!.id, '{"sky": "blue"}');
    expect(turn().state.value).toEqual({ kind: "tools", waiting: [calls()[1]!.id] });
    expect(page.gateway.exchanges).toHaveLength(1);
    thread().answer(calls()[1]!.id, "No such city.", true);
    await settle();
    expect(page.gateway.last.json.messages).toEqual([
      { role: "user", content: "Weather?" },
      {
        role: "assistant",
        content: "I look.",
        tool_calls: [
          { id: "call_a", type: "function", function: { name: "get_weather", arguments: '{"city": "Rome"}' } },
          { id: "call_b", type: "function", function: { name: "get_weather", arguments: '{"city": 7}' } },
        ],
      },
      { role: "tool", tool_call_id: "call_a", content: '{"sky": "blue"}' },
      { role: "tool", tool_call_id: "call_b", content: "No such city." },
    ]);
    page.gateway.last.head().delta({ content: "Blue." }, "stop").done();
    await settle();
    expect(kinds()).toEqual(["userMessage", "agentMessage", "toolCall", "toolCall", "agentMessage"]);
    expect(turn().state.value.kind).toBe("done");
    expect(turn().attempts.value).toHaveLength(2);
  });

  it("keeps the steps that were done when the last one is asked for again", async () => {
    const request = await ask("Weather?");
    request
      .head()
      .delta({ tool_calls: [{ index: 0, id: "c", function: { name: "t", arguments: "{}" } }] }, "tool_calls")
      .done();
    await settle();
    thread().answer(calls()[0]!.id, "ok");
    await settle();
    page.gateway.last.head().delta({ content: "Ha" });
    await settle();
    page.gateway.last.lose();
    await settle();
    expect(turn().state.value.kind).toBe("cut");
    thread().retry(turn().id);
    await settle();
    expect((page.gateway.last.json.messages as { role: string }[]).map(({ role }) => role)).toEqual([
      "user",
      "assistant",
      "tool",
    ]);
    page.gateway.last.head().delta({ content: "Half" }, "stop").done();
    await settle();
    expect(kinds()).toEqual(["userMessage", "toolCall", "agentMessage"]);
    expect(turn().siblings.value.ids).toHaveLength(2);
  });

  it("marks memory tools, and finds warnings in what is said and in results", async () => {
    const event = {
      type: "warning",
      agent_id: "a",
      details: { message: "Memory pressure", tokens: 6000, limit: 8192 },
    };
    const request = await ask("Hello");
    request.head().delta({ content: `Look:\n\n\`\`\`json\n${JSON.stringify(event)}\n\`\`\`\n` });
    request
      .delta({ tool_calls: [{ index: 0, id: "c", function: { name: "evict_fifo", arguments: "{}" } }] }, "tool_calls")
      .done();
    await settle();
    expect(items().find((item) => item.kind === "memory")).toMatchObject({
      event: "warning",
      message: "Memory pressure",
      tokens: 6000,
      limit: 8192,
    });
    expect(calls()[0]!.memory).toEqual({ family: "hades", tier: "fifo", action: "evict" });
    thread().answer(calls()[0]!.id, '{"error": "PIN_LIMIT_EXCEEDED", "required_headroom": 12}');
    expect(items().filter((item) => item.kind === "memory")).toHaveLength(2);
    await settle();
    page.gateway.last.lose();
  });
});

describe("keeping", () => {
  it("shows the session again after a reload", async () => {
    (await ask("Remember this")).head().delta({ content: "Yes" }, "stop").done();
    await settle();
    thread().draft.value = "unsent";
    page.tell("left");
    engine = await open(stage(page));
    expect(thread().thread.value.title).toBe("Remember this");
    expect(said()).toBe("Yes");
    expect(thread().draft.value).toBe("unsent");
    const attempt = turn().attempts.value[0]!;
    expect(attempt.frames.value).toBeNull();
    await attempt.load();
    expect(attempt.frames.value).toBe(2);
    expect(attempt.attempt.value.request.body).toContain("Remember this");
    expect(attempt.frameText(1)).toBe("data: [DONE]\n\n");
  });

  it("keeps what the database has not begun to write when the page goes", async () => {
    const release = await occupy(page.indexedDB!);
    (await ask("Remember this")).head().delta({ content: "Yes" }, "stop").done();
    await settle();
    (await ask("And this")).head().delta({ content: "Too" }, "stop").done();
    await settle();
    page.tell("left");
    engine = await open({ ...stage(page), indexedDB: new IDBFactory() });
    expect(thread().turns.value.map((one) => said(one))).toEqual(["Yes", "Too"]);
    await turn().attempts.value[0]!.load();
    expect(turn().attempts.value[0]!.frames.value).toBe(2);
    release();
  });

  it("keeps every character that was painted when the page is reloaded in mid-answer", async () => {
    const request = await ask("Tell");
    request.head().delta({ content: "Once " });
    await settle();
    page.clock.advance(300);
    await settle();
    request.delta({ content: "upon 😀" });
    await settle();
    page.frame();
    expect(said()).toBe("Once upon 😀");
    page.tell("left");
    engine = await open(stage(page));
    expect(engine.sessions.list.value[0]).toMatchObject({ state: "cut" });
    expect(said()).toBe("Once upon 😀");
    expect(turn().state.value).toMatchObject({ kind: "cut", failure: { kind: "reloaded" }, received: { deltas: 2 } });
    expect(thread().canProceed(turn().id)).toBe(true);
    await turn().attempts.value[0]!.load();
    expect(turn().attempts.value[0]!.attempt.value.request.body).toContain("Tell");
    thread().proceed(turn().id);
    await settle();
    page.gateway.last.head().delta({ content: " a time" }, "stop").done();
    await settle();
    expect(said()).toBe("Once upon 😀 a time");
    engine = await open(stage(page));
    expect(said()).toBe("Once upon 😀 a time");
    expect(turn().state.value.kind).toBe("done");
  });

  it("loses nothing to what it left behind if it stays after all", async () => {
    const request = await ask("Tell");
    request.head().delta({ content: "Once " });
    await settle();
    page.tell("left");
    page.tell("shown");
    request.delta({ content: "upon" });
    await settle();
    page.tell("hidden");
    await settle();
    request.delta({ content: " a time" });
    await settle();
    page.tell("left");
    engine = await open(stage(page));
    expect(said()).toBe("Once upon a time");
  });

  it("finds, renames, archives and removes sessions", async () => {
    (await ask("The quick brown fox")).head().delta({ content: "jumps over the Lazy dog" }, "stop").done();
    await settle();
    const id = thread().id;
    expect(await engine.sessions.search("lazy")).toEqual([
      {
        thread: id,
        title: "The quick brown fox",
        turn: turn().id,
        before: "jumps over the ",
        match: "Lazy",
        after: " dog",
      },
    ]);
    expect((await engine.sessions.search("quick")).map((hit) => hit.turn)).toContain(null);
    expect(await engine.sessions.search("  ")).toEqual([]);
    await engine.sessions.rename(id, "Fox");
    await engine.sessions.archive(id, true);
    expect(engine.sessions.list.value).toMatchObject([{ id, title: "Fox", named: true, archived: true }]);
    await engine.sessions.remove(id);
    expect(engine.sessions.list.value).toEqual([]);
    expect(thread().id).not.toBe(id);
    engine = await open(stage(page));
    expect(engine.sessions.list.value).toEqual([]);
  });

  it("finds what is masked, and shows of it what the transcript shows", async () => {
    const arguments_ = JSON.stringify({ city: "Rome", depth: 12 });
    const call = { index: 0, id: "c", type: "function", function: { name: "lookup", arguments: arguments_ } };
    (await ask("Weather?")).head().delta({ tool_calls: [call] }, "tool_calls").done();
    await settle();
    thread().answer(calls()[0]!.id, "It pours over Rome");
    await settle();
    page.gateway.last.head().delta({ content: "Rain" }, "stop").done();
    await settle();
    const found = async (query: string): Promise<string[]> =>
      (await engine.sessions.search(query)).map(({ before, match, after }) => `${before}[${match}]${after}`);
    expect(await found("rome")).toEqual(['{"city":"[••••]","depth":11}']);
    expect(await found("pours")).toEqual(["•••[•••••]••••••••••"]);
    expect(await found("lookup")).toEqual(["[lookup]"]);
    engine.settings.change({ redaction: false });
    expect(await found("pours")).toEqual(["It [pours] over Rome"]);
  });

  it("holds five sessions in memory and reads others again", async () => {
    const ids: string[] = [];
    for (let count = 0; count < 7; count += 1) {
      engine.sessions.create();
      (await ask(`Session ${count}`))
        .head()
        .delta({ content: `${count}` }, "stop")
        .done();
      await settle();
      ids.push(thread().id);
    }
    const before = thread();
    const again = await engine.sessions.open(ids[0]!);
    expect(again!.turns.value).toHaveLength(1);
    expect(said()).toBe("0");
    expect(await engine.sessions.open(before.id)).toBe(before);
  });

  it("says that nothing lasts where the browser has no database", async () => {
    engine = await open({ ...stage(), indexedDB: null });
    expect(engine.sessions.durable.value).toBe(false);
  });
});

describe("the connection", () => {
  it("is connected with a good key and lists the models", () => {
    expect(engine.connection.state.value.kind).toBe("connected");
    expect(engine.connection.models.value).toEqual(["m", "n"]);
  });

  it("asks for two things at first: what it must know, and who it is", async () => {
    expect(page.gateway.asked).toEqual(["/ui/config.json", "/v1/models"]);
    page.clock.advance(15_000);
    await settle();
    expect(page.gateway.asked.slice(2)).toEqual(["/healthz"]);
  });

  it("notices when the gateway is gone in mid-answer, and is live again within a second of its return", async () => {
    const request = await ask("Hello");
    request.head().delta({ content: "Half" });
    await settle();
    page.gateway.alive = false;
    request.lose();
    await settle();
    expect(engine.connection.state.value).toMatchObject({ kind: "reconnecting", attempt: 1 });
    for (let count = 0; count < 20; count += 1) {
      page.clock.advance(900);
      await settle();
    }
    page.gateway.alive = true;
    page.gateway.build = { version: "2", hash: "bbbb" };
    page.clock.advance(900);
    await settle();
    expect(engine.connection.state.value.kind).toBe("connected");
    expect(engine.connection.outdated.value).toBe(true);
    expect(said()).toBe("Half");
  });

  it("tells no key from a bad one", async () => {
    page.gateway.models = { status: 401, body: { error: { message: "Give one", code: "missing_api_key" } } };
    engine.connection.tryNow();
    await settle();
    expect(engine.connection.state.value).toEqual({ kind: "noKey" });
    engine.key.keep("hgw_wrong", "tab");
    await settle();
    expect(engine.connection.state.value).toEqual({ kind: "badKey", code: "missing_api_key", message: "Give one" });
  });

  it("says offline only if the browser says so and the gateway is silent", async () => {
    page.isOnline = false;
    page.tell("offline");
    await settle();
    expect(engine.connection.state.value.kind).toBe("connected");
    page.gateway.alive = false;
    page.tell("offline");
    await settle();
    expect(engine.connection.state.value).toEqual({ kind: "offline" });
  });
});

describe("the key", () => {
  it("comes from a link, which is cleaned at once", async () => {
    const fresh = stage();
    fresh.shown = "http://127.0.0.1:8082/#key=hgw_linked&view=x";
    engine = await open(fresh);
    expect(fresh.shown).toBe("http://127.0.0.1:8082/#view=x");
    expect(engine.key.place.value).toBe("browser");
    page = fresh;
    expect((await ask("Hi")).headers.get("authorization")).toBe("Bearer hgw_linked");
    fresh.gateway.last.lose();
  });

  it("is kept where it is told to be, and forgotten in one step", async () => {
    expect(engine.key.keep("two words", "tab")).toBe(false);
    engine.key.keep("hgw_1", "tab");
    expect([...page.tab.values.values()].join()).toContain("hgw_1");
    expect([...page.local.values.values()].join()).not.toContain("hgw_1");
    engine.key.move("browser");
    expect([...page.tab.values.values()].join()).not.toContain("hgw_1");
    expect([...page.local.values.values()].join()).toContain("hgw_1");
    engine.key.forget();
    expect(JSON.stringify([...page.local.values, ...page.tab.values])).not.toContain("hgw_1");
    expect(engine.key.place.value).toBe("none");
  });
});

describe("records", () => {
  async function session(): Promise<void> {
    engine.key.keep("hgw_secret", "browser");
    engine.settings.change({
      tools: true,
      toolDefinitions: '[{"type":"function","function":{"name":"look","description":"canary-0"}}]',
      systemPrompt: "canary-1",
    });
    const request = await ask("canary-2 asks");
    request.head().delta({ reasoning: "canary-3 thinks" }).delta({ content: "canary-4 says" });
    request.delta({ tool_calls: [{ index: 0, id: "c", function: { name: "look", arguments: '{"at": "can' } }] });
    request.delta({ tool_calls: [{ index: 0, function: { arguments: 'ary-5", "n": 12, "b": false}' } }] });
    request.bytes('event: odd\ndata: {"canary": "canary-6", "token_ids": [1, 2]}\n\n: canary-7\n\n');
    request.delta({}, "tool_calls").done();
    await settle();
    thread().answer(calls()[0]!.id, '{"found": "canary-8"}');
    await settle();
    page.clock.advance(100);
    page.gateway.last.head().delta({ content: "canary-9" });
    await settle();
    page.gateway.last.bytes('data: {"error": {"message": "canary-10", "code": 500}}\n\n').end();
    await settle();
  }

  it("export every byte as it came, and never the key", async () => {
    await session();
    const file = await engine.records.export(thread().id, { redacted: false });
    const record = JSON.parse(file.text) as { attempts: { chunks: { data: string }[] }[] };
    const bytes = record.attempts[0]!.chunks.map(({ data }) => atob(data)).join("");
    expect(bytes).toContain("canary-7");
    expect(bytes).toBe(new TextDecoder("latin1").decode(turn().attempts.value[0]!.body()));
    expect(file.text).not.toContain("hgw_secret");
  });

  it("masked, have no value in them, and can still be played", async () => {
    await session();
    const { text } = await engine.records.export(thread().id, { redacted: true });
    const everything =
      text +
      (JSON.parse(text) as { attempts: { chunks: { data: string }[] }[] }).attempts
        .flatMap(({ chunks }) => chunks.map(({ data }) => atob(data)))
        .join("");
    expect(everything).not.toMatch(/canary-\d/);
    expect(everything).not.toContain("hgw_secret");
    const opened = await engine.records.open(text);
    if (!("replay" in opened)) throw new Error(JSON.stringify(opened));
    const { replay } = opened;
    expect(replay.redacted).toBe(true);
    const played = items(replay.turns.value[0]);
    expect(played.map((item) => item.kind)).toEqual(kinds());
    const call = played.find((item) => item.kind === "toolCall")!;
    expect(call).toMatchObject({
      name: "look",
      arguments: '{"at": "••••••••", "n": 11, "b": null }',
      verdict: { kind: "complete" },
    });
    expect(played.find((item) => item.kind === "agentMessage")).toMatchObject({
      text: "•".repeat("canary-4 says".length),
    });
    expect(replay.turns.value[0]!.state.value).toMatchObject({ kind: "cut", failure: { kind: "inStream" } });
  });

  it("play as it was: the same items, states, frames and times", async () => {
    await session();
    const { text } = await engine.records.export(thread().id, { redacted: false });
    const opened = await engine.records.open(text);
    if (!("replay" in opened)) throw new Error(JSON.stringify(opened));
    const { replay } = opened;
    const bare = (list: readonly Item[]): unknown =>
      list.map((item) => ({ ...item, id: "", created: 0, ...("source" in item ? { source: "" } : {}) }));
    expect(bare(items(replay.turns.value[0]))).toEqual(bare(items()));
    const frames = (view: TurnView): unknown =>
      view.attempts.value.map((one) =>
        Array.from({ length: one.frames.value! }, (_, index) => [one.frame(index), one.frameText(index)]),
      );
    expect(frames(replay.turns.value[0]!)).toEqual(frames(turn()));
    replay.seek(0);
    expect(replay.positionMs.value).toBe(0);
    replay.setSpeed(1000);
    expect(replay.speed.value).toBe(50);
    replay.play();
    for (let count = 0; count < 200 && replay.playing.value; count += 1) page.clock.advance(16);
    page.frame();
    expect(replay.playing.value).toBe(false);
    expect(bare(items(replay.turns.value[0]))).toEqual(bare(items()));
    expect(page.gateway.exchanges).toHaveLength(2);
  });
});
