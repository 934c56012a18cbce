// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Item } from "../../model";
import { Story } from "./story";

const NOW = 1_795_284_875_000;

interface Message {
  readonly type: string;
  readonly content?: unknown;
  readonly seq?: number;
  readonly code?: string;
}

const status = (state: string) => ({
  type: "session_status",
  content: {
    active: true,
    session_id: "s",
    timestamp: NOW / 1000,
    state,
    workspace: "p",
    engine: "rehearsal",
    model: "m",
  },
});
const input = (text: string, steer = false) => ({
  type: "input_received",
  content: { text, timestamp: NOW / 1000, queued: 1, steer },
});
const output = (content: string) => ({ type: "output", content });
const turn = (turn_id: string, phase: string, how: string | null = null) => ({
  type: "turn",
  content: { turn_id, phase, status: how },
});
const step = (turn_id: string, item_id: string, phase: string, kind: string, body: object) => ({
  type: "item",
  content: { turn_id, item_id, phase, kind, body },
});
const asked = (approval_id: string, turn_id = "t1") => ({
  type: "approval_request",
  content: {
    approval_id,
    turn_id,
    kind: "file_change",
    body: { changes: [{ path: "a.py", kind: "add", diff: "print(1)\n" }], reason: "because" },
    decisions: ["accept", "accept_for_session", "decline", "cancel"],
    expires: NOW / 1000 + 300,
  },
});
const settled = (approval_id: string, decision: string | null, by = "user") => ({
  type: "approval",
  content: { approval_id, decision, by },
});
const prompt = { type: "input_request", content: { prompt: "?" } };

const numbered = (messages: readonly Message[]): Message[] =>
  messages.map((message, at) => ({ ...message, seq: at + 1 }));

/** A session with most of what there is. */
const whole = numbered([
  status("ready"),
  prompt,
  input("make a file"),
  status("in_turn"),
  turn("t1", "began"),
  { type: "plan", content: { turn_id: "t1", steps: [{ step: "Look", status: "in_progress" }] } },
  step("t1", "i0", "started", "reasoning", {}),
  step("t1", "i0", "delta", "reasoning", { text: "hm" }),
  step("t1", "i0", "completed", "reasoning", { text: "hm" }),
  output("I look"),
  output(" first."),
  step("t1", "i1", "completed", "message", { text: "I look first." }),
  output("\n"),
  step("t1", "i2", "started", "command", { command: "ls", cwd: "." }),
  step("t1", "i2", "delta", "command", { text: "a\n" }),
  step("t1", "i2", "delta", "command", { text: "b\n" }),
  step("t1", "i2", "completed", "command", {
    command: "ls",
    cwd: ".",
    output: "a\nb\n",
    exit_code: 0,
    duration_ms: 12,
  }),
  asked("q1"),
  status("waiting_for_approval"),
  input("be quick", true),
  settled("q1", "accept_for_session"),
  status("in_turn"),
  step("t1", "i3", "completed", "file_change", {
    changes: [{ path: "a.py", change: "add", diff: "print(1)\n" }],
    status: "completed",
  }),
  { type: "active_files", content: ["a.py"] },
  {
    type: "token_usage",
    content: { input_tokens: 9, cached_input_tokens: 1, output_tokens: 4, total_tokens: 13, context_tokens: 99 },
  },
  { type: "warning", content: "careful" },
  step("t1", "i4", "completed", "tool_call", { tool: "look", arguments: { a: 1 } }),
  { type: "news", content: { of: "the day" } },
  output("Done."),
  turn("t1", "ended", "completed"),
  status("ready"),
  prompt,
  input("/ls"),
  output("a.py\n"),
  prompt,
  input("long"),
  status("in_turn"),
  turn("t2", "began"),
  input("never"),
  { type: "warning", content: "1 input(s) that waited are dropped" },
  output("abc"),
  turn("t2", "ended", "interrupted"),
  status("ready"),
  prompt,
]);

function told(messages: readonly Message[], story = new Story("s", () => NOW)): Story {
  for (const message of messages) story.take(JSON.stringify(message));
  story.publish();
  return story;
}

/** What can be seen of it; ids and times are not. */
function seen(story: Story) {
  const bare = (item: Item) => ({ ...item, id: "", created: 0, seq: 0 });
  return story.turns.map((view) => ({
    state: view.state.value,
    items: view.items.value.map((one) => bare(one.item.value)),
  }));
}

const kinds = (story: Story): string[][] => story.turns.map((view) => view.items.value.map((one) => one.kind));

describe("a story", () => {
  it("has a turn for each input, with what came of it", () => {
    const story = told(whole);
    expect(kinds(story)).toEqual([
      ["userMessage", "reasoning", "agentMessage", "commandExecution", "approval", "userMessage", "fileChange"].concat([
        "notice",
        "toolCall",
        "raw",
        "agentMessage",
      ]),
      ["userMessage", "agentMessage"],
      ["userMessage", "notice", "agentMessage"],
      ["userMessage"],
    ]);
    expect(story.turns.map((view) => view.state.value)).toEqual([
      { kind: "done", finish: null },
      { kind: "done", finish: null },
      { kind: "ended", how: "interrupted" },
      { kind: "ended", how: "dropped" },
    ]);
    expect(story.files).toEqual(["a.py"]);
    expect(story.plan).toEqual([{ step: "Look", status: "inProgress" }]);
    expect(story.tokens).toEqual({ input: 9, cached: 1, output: 4, context: 99 });
    const command = story.turns[0]!.list.values.find((item) => item.kind === "commandExecution");
    expect(command).toMatchObject({ output: "a\nb\n", exitCode: 0, tookMs: 12, state: "done" });
    const approval = story.turns[0]!.list.values.find((item) => item.kind === "approval");
    expect(approval).toMatchObject({
      decided: "acceptForSession",
      by: "user",
      decisions: ["accept", "acceptForSession", "decline", "cancel"],
    });
    expect(approval).toMatchObject({
      changes: [{ path: "a.py", diff: "--- /dev/null\n+++ b/a.py\n@@ -0,0 +1,1 @@\n+print(1)\n" }],
    });
  });

  it("is the same however texts are cut", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 5 }), { minLength: 8, maxLength: 8 }), (sizes) => {
        let draw = 0;
        const cut = whole.flatMap((message): Message[] => {
          if (message.type !== "output") return [message];
          const text = String(message.content);
          const at = Math.min(text.length, sizes[draw++ % sizes.length]!);
          return [text.slice(0, at), text.slice(at)].map((content) => ({ ...message, content }));
        });
        expect(seen(told(numbered(cut)))).toEqual(seen(told(whole)));
      }),
    );
  });

  it("is the same over any number of connections, whatever is told twice", () => {
    const approvals = (upto: number): Message[] => {
      const open = new Map<string, Message>();
      for (const message of whole.slice(0, upto)) {
        const id = (message.content as { approval_id?: string } | null)?.approval_id;
        if (message.type === "approval_request") open.set(id!, message);
        if (message.type === "approval") open.delete(id!);
      }
      return [...open.values()].map((message) => ({ ...message, seq: upto }));
    };
    const breaks = fc.array(fc.tuple(fc.nat({ max: whole.length }), fc.nat({ max: 6 })), { maxLength: 5 });
    fc.assert(
      fc.property(breaks, (cuts) => {
        const story = new Story("s", () => NOW);
        let heard = 0;
        for (const [gone, again] of [...cuts.sort((a, b) => a[0] - b[0]), [whole.length, 0] as const]) {
          // A connection: how things stand by now, all that was missed and a little before it, then what comes live.
          story.connected();
          const stands = Math.max(heard, gone - again);
          const greeting = [
            { ...status("ready"), seq: stands },
            { type: "active_files", content: [], seq: stands },
          ];
          told([...greeting, ...approvals(stands)], story);
          told(whole.slice(Math.max(0, heard - again), stands), story);
          story.reconciled();
          told(whole.slice(stands, gone), story);
          heard = Math.max(heard, gone);
        }
        story.publish();
        expect(seen(story)).toEqual(seen(told(whole)));
      }),
      { numRuns: 300 },
    );
  });

  it("shows an approval that waits, and takes away one that does not wait any more", () => {
    const began = [status("ready"), input("x"), status("in_turn"), turn("t1", "began"), asked("q1")];
    const story = told(numbered(began));
    expect(story.asking).toHaveLength(1);
    expect(story.turns[0]!.state.value.kind).toBe("approval");
    story.connected();
    told([{ ...status("waiting_for_approval"), seq: 9 }, { ...asked("q2"), seq: 9 }, { type: "pong" }], story);
    story.reconciled();
    story.publish();
    expect(story.asking).toHaveLength(1);
    const [first, second] = story.turns[0]!.list.values.filter((item) => item.kind === "approval");
    expect([first, second]).toMatchObject([
      { request: "q1", decided: "" },
      { request: "q2", decided: null },
    ]);
  });

  it("says what is not kept, and heals a message by its end", () => {
    const story = told(
      numbered([status("ready"), input("x"), status("in_turn"), turn("t1", "began"), output("One, ")]),
    );
    told(
      [
        { type: "gap", content: { after: 5, next: 9 }, seq: 8 },
        { ...output("three."), seq: 9 },
        { ...step("t1", "i1", "completed", "message", { text: "One, two, three." }), seq: 10 },
      ],
      story,
    );
    const said = story.turns[0]!.list.values.filter((item) => item.kind === "agentMessage");
    expect(said.map((item) => item.text)).toEqual(["One, two, three."]);
    expect(kinds(story)[0]).toContain("notice");
    expect(told([{ type: "gap", content: { after: 0, next: 9 }, seq: 8 }]).trimmed).toBe(true);
  });

  it("ends what runs when the session is lost, and keeps what was said", () => {
    const story = told(numbered([status("ready"), input("x"), status("in_turn"), turn("t1", "began"), output("One")]));
    story.over("lost");
    story.publish();
    expect(story.turns[0]!.state.value).toEqual({ kind: "ended", how: "lost" });
    expect(story.turns[0]!.list.values.at(-1)).toMatchObject({ text: "One", state: "broken" });
  });

  it("takes whatever it is told", () => {
    const types = [
      "session_status",
      "output",
      "item",
      "turn",
      "approval_request",
      "approval",
      "gap",
      "plan",
      "active_files",
      "input_received",
      "diff",
      "token_usage",
      "__proto__",
    ];
    const content = fc.oneof(
      fc.json().map((text) => JSON.parse(text) as unknown),
      fc.record({
        turn_id: fc.constantFrom("t1", "__proto__", "constructor", 7),
        item_id: fc.constantFrom("a", "__proto__", null),
        phase: fc.constantFrom("began", "started", "delta", "completed", "ended", "toString"),
        kind: fc.constantFrom(
          "message",
          "command",
          "file_change",
          "tool_call",
          "constructor",
          "<img src=x onerror=alert(1)>",
        ),
        body: fc.jsonValue(),
        steps: fc.jsonValue(),
        decisions: fc.jsonValue(),
        text: fc.string({ unit: "binary" }),
      }),
    );
    const message = fc.record({
      type: fc.constantFrom(...types),
      content,
      seq: fc.oneof(fc.nat(), fc.constant(-1), fc.constant(null)),
    });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 30 }), fc.string(), (messages, rubbish) => {
        const story = new Story("s", () => NOW);
        story.connected();
        for (const one of messages) story.take(JSON.stringify(one));
        story.take(rubbish);
        story.reconciled();
        story.publish();
        story.over("lost");
        story.publish();
        expect(story.turns.every((view) => view.list.values[0]!.kind === "userMessage")).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
