import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  CodexClient,
  CodexError,
  CodexSessionManager,
  installEventBridge,
  type ClientOptions,
} from "../../hadesgw/sdk/codex-client.js";

/** A gateway with one session, as docs/sessions.md tells of it: messages numbered and kept, inputs one after the other. */
class Gateway {
  log: { type: string; content: unknown; seq: number }[] = [];
  sockets: Socket[] = [];
  inputs: string[] = [];
  waiting: string[] = [];
  state = "idle";
  id = "session_1";
  asked: { url: string; init: RequestInit }[] = [];
  mute = false;

  tell(type: string, content: unknown): void {
    const message = { type, content, seq: this.log.length + 1 };
    this.log.push(message);
    for (const socket of this.sockets) socket.hear(message);
  }
  status(): object {
    return { active: this.state !== "idle", session_id: this.id, timestamp: 1, state: this.state };
  }
  to(state: string): void {
    this.state = state;
    this.tell("session_status", this.status());
  }
  opened(socket: Socket, query: URLSearchParams): void {
    this.sockets.push(socket);
    socket.hear({ type: "session_status", content: this.status(), seq: this.log.length });
    socket.hear({ type: "active_files", content: ["a.py"], seq: this.log.length });
    const after = query.get("after");
    if (after !== null) for (const message of this.log.slice(Number(after))) socket.hear(message);
  }
  received(socket: Socket, { type, content }: { type: string; content: string }): void {
    if (this.mute) return;
    if (type === "ping") socket.hear({ type: "pong" });
    if (type !== "input") return;
    this.inputs.push(content);
    this.waiting.push(content);
    this.tell("input_received", { text: content, timestamp: 1, queued: this.waiting.length, steer: false });
    this.advance();
  }
  advance(): void {
    if (this.state === "in_turn" || !this.waiting.length) return;
    this.waiting.shift();
    this.to("in_turn");
  }
  reply(...pieces: string[]): void {
    for (const piece of pieces) this.tell("output", piece);
    this.to("ready");
    this.tell("input_request", { prompt: "" });
    this.advance();
  }
  fetch = async (url: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    this.asked.push({ url: String(url), init });
    if (String(url).endsWith("/api/ticket")) return Response.json({ ticket: "T", expires_in: 30 });
    if (String(url).endsWith("/status")) return Response.json({ session_active: this.state !== "idle", session_id: this.id });
    return Response.json({ status: "success", message: "", session_id: this.id });
  };
}

class Socket {
  readyState = 0;
  onopen?: () => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: (event: { code: number; reason: string }) => void;
  sent: string[] = [];
  constructor(
    readonly gateway: Gateway,
    readonly address: string,
    readonly protocols: string[],
  ) {
    queueMicrotask(() => {
      this.readyState = 1;
      this.onopen?.();
      this.gateway.opened(this, new URL(address).searchParams);
    });
  }
  hear(message: object): void {
    if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(message) });
  }
  send(text: string): void {
    this.sent.push(text);
    this.gateway.received(this, JSON.parse(text));
  }
  close(code = 1000): void {
    this.drop(code);
  }
  drop(code = 1006): void {
    if (this.readyState !== 1) return;
    this.readyState = 3;
    this.gateway.sockets = this.gateway.sockets.filter((socket) => socket !== this);
    this.onclose?.({ code, reason: "" });
  }
}

let gateway: Gateway;
let made: Socket[];
const clients: CodexClient[] = [];

function client(options: ClientOptions = {}): CodexClient {
  const WebSocket = class extends Socket {
    constructor(address: string, protocols: string[]) {
      super(gateway, address, protocols);
      made.push(this);
    }
  };
  const one = new CodexClient({
    url: "http://localhost:8082/",
    fetch: gateway.fetch as typeof fetch,
    WebSocket: WebSocket as never,
    throttle: 0,
    ...options,
  });
  clients.push(one);
  return one;
}
const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
  gateway = new Gateway();
  made = [];
});
afterEach(() => {
  for (const one of clients.splice(0)) one.close();
  vi.useRealTimers();
});

test("a reply is its pieces joined, and questions are put one after the other", async () => {
  const codex = client();
  const replies = [codex.ask("one"), codex.ask("two")];
  await settle();
  expect(gateway.inputs).toEqual(["one"]);
  gateway.reply("1", "\n", "!");
  await settle();
  expect(gateway.inputs).toEqual(["one", "two"]);
  gateway.reply("2");
  expect(await Promise.all(replies)).toEqual(["1\n!", "2"]);
});

test("what others ask in the same session is no part of our reply", async () => {
  const codex = client();
  codex.connect();
  await settle();
  const other = { hear() {} } as unknown as Socket;
  gateway.received(other, { type: "input", content: "theirs" });
  gateway.received(other, { type: "input", content: "theirs too" });
  const reply = codex.ask("ours");
  await settle();
  gateway.reply("for them");
  gateway.reply("for them too");
  gateway.reply("for us");
  expect(await reply).toBe("for us");
});

test("the key is traded for a ticket and never stands in an address", async () => {
  const codex = client({ key: "hgw_secret", session: "s 1" });
  codex.connect();
  await settle();
  expect(made[0]!.protocols).toEqual(["hades.v1", "hades.ticket.T"]);
  expect(made[0]!.address).toBe("ws://localhost:8082/ws/codex?session_id=s+1");
  expect(JSON.stringify(gateway.asked.map(({ url }) => url))).not.toContain("secret");
  expect(gateway.asked[0]!.init.headers).toMatchObject({ Authorization: "Bearer hgw_secret" });
});

test("a lost connection comes back, and a reply misses and doubles nothing", async () => {
  const codex = client();
  const heard: string[] = [];
  codex.onOutput((piece) => heard.push(piece));
  const reply = codex.ask("one");
  await settle();
  gateway.tell("output", "a");
  made[0]!.drop();
  gateway.tell("output", "b");
  await settle(1000);
  expect(made).toHaveLength(2);
  gateway.tell("output", "c");
  made[1]!.drop();
  gateway.reply("d");
  await settle(3000);
  expect(await reply).toBe("abcd");
  expect(heard.join("")).toBe("abcd");
});

test("exactly one message missed is told, though the greeting has its number", async () => {
  const codex = client();
  const heard: string[] = [];
  codex.onOutput((piece) => heard.push(piece));
  await settle();
  gateway.tell("output", "a");
  made[0]!.drop();
  gateway.tell("output", "b");
  await settle(1000);
  gateway.tell("output", "c");
  expect(heard).toEqual(["a", "b", "c"]);
});

test("an input that the gateway never had is sent again, one that it had is not", async () => {
  const codex = client();
  codex.connect();
  await settle();
  gateway.mute = true;
  const reply = codex.ask("lost");
  await settle();
  made[0]!.drop();
  gateway.mute = false;
  await settle(1000);
  expect(gateway.inputs).toEqual(["lost"]);
  made[1]!.drop();
  await settle(2000);
  expect(gateway.inputs).toEqual(["lost"]);
  gateway.reply("found");
  expect(await reply).toBe("found");
});

test("another session in the old one's place ends what was asked of the old one", async () => {
  const codex = client();
  const reply = codex.ask("one").catch((problem: CodexError) => problem);
  await settle();
  gateway.tell("output", "half");
  made[0]!.drop();
  gateway.id = "session_2";
  gateway.log = [];
  await settle(1000);
  expect(await reply).toMatchObject({ code: "ended", output: "half" });
});

test("a refusal, a failed turn, an interrupt and an end each reject with their word", async () => {
  const codex = client();
  const word = async (happen: () => void): Promise<unknown> => {
    const reply = codex.ask("x").catch((problem: CodexError) => [problem.code, problem.output]);
    await settle();
    happen();
    await settle();
    return reply;
  };
  expect(
    await word(() => {
      gateway.tell("error", "The engine died");
      gateway.reply("part");
    }),
  ).toEqual(["failed", ""]);
  expect(
    await word(() => {
      gateway.tell("output", "part");
      gateway.tell("turn", { turn_id: "1", phase: "ended", status: "interrupted" });
      gateway.reply();
    }),
  ).toEqual(["interrupted", "part"]);
  gateway.mute = true;
  expect(await word(() => made[0]!.hear({ type: "error", content: "Full", code: "queue_full", seq: 1 }))).toEqual(["queue_full", ""]);
  gateway.mute = false;
  expect(await word(() => gateway.to("gone"))).toEqual(["ended", ""]);
});

test("patience ends after its time, and the next question waits for the turn that runs on", async () => {
  const codex = client({ timeout: 30000 });
  const late = codex.ask("slow").catch((problem: CodexError) => problem.code);
  await settle(30000);
  expect(await late).toBe("timeout");
  const next = codex.ask("next");
  await settle();
  gateway.reply("too late");
  gateway.reply("in time");
  expect(await next).toBe("in time");
});

test("a command that is carried out beside a running turn does not wait for its end", async () => {
  const codex = client();
  codex.connect();
  await settle();
  gateway.to("in_turn");
  const focus = codex.ask("/focus a.py");
  await settle();
  expect(await focus).toBe("");
});

test("an empty question, one that is given up, and a client that is closed", async () => {
  const codex = client();
  await expect(codex.ask("  ")).rejects.toMatchObject({ code: "no_input" });
  const giveUp = new AbortController();
  const given = codex.ask("x", { signal: giveUp.signal }).catch((problem: CodexError) => problem.code);
  giveUp.abort();
  expect(await given).toBe("aborted");
  const left = codex.ask("y").catch((problem: CodexError) => problem.code);
  codex.close();
  expect(await left).toBe("closed");
});

test("while nobody can approve, nothing is approved; a listener decides itself", async () => {
  const codex = client();
  codex.connect();
  await settle();
  const request = { approval_id: "a1", turn_id: null, kind: "command", body: {}, decisions: ["accept", "decline"], expires: 9 };
  gateway.tell("approval_request", request);
  expect(made[0]!.sent.map((text) => JSON.parse(text))).toContainEqual({
    type: "approval",
    content: { approval_id: "a1", decision: "decline" },
  });
  codex.on("approval_request", ({ approval_id }) => codex.approve(approval_id, "accept"));
  gateway.tell("approval_request", { ...request, approval_id: "a2" });
  const told = made[0]!.sent.map((text) => JSON.parse(text)).filter(({ content }) => content.approval_id === "a2");
  expect(told).toEqual([{ type: "approval", content: { approval_id: "a2", decision: "accept" } }]);
});

test("a thousand requests of five sources each have exactly one answer", async () => {
  const target = new EventTarget();
  const codex = client();
  const answers = new Map<string, string[]>();
  target.addEventListener("codex-response", (event) => {
    const { output, requestId, source } = (event as CustomEvent).detail;
    const name = `${source}/${requestId}`;
    answers.set(name, [...(answers.get(name) ?? []), output]);
  });
  installEventBridge(codex, { target, timeout: 0 });
  const wanted = new Map<string, string[]>();
  for (let number = 0; number < 1000; number++) {
    const source = ["terma", "athena", "prometheus", "hermes", "engram"][number % 5]!;
    const requestId = `${Math.floor(number / 5)}`; // sources choose their ids by themselves
    const detail = { text: `${source} ${requestId}`, source, requestId };
    target.dispatchEvent(new CustomEvent("codex-code-request", { detail }));
    if (number % 7 === 0) target.dispatchEvent(new CustomEvent("codex-code-request", { detail })); // said twice
    wanted.set(`${source}/${requestId}`, [`re: ${source} ${requestId}`]);
  }
  await settle();
  for (let turn = 0; turn < 1000; turn++) {
    if (turn % 100 === 50) {
      made.at(-1)!.drop();
      gateway.reply(`re: ${gateway.inputs.at(-1)}`);
      await settle(20000);
    } else gateway.reply("re: ", `${gateway.inputs.at(-1)}`);
    await settle();
  }
  expect(answers).toEqual(wanted);
});

test("a request without text, and those open when the bridge goes, are answered with what went wrong", async () => {
  const target = new EventTarget();
  const answers: unknown[] = [];
  target.addEventListener("codex-response", (event) => answers.push((event as CustomEvent).detail));
  const remove = installEventBridge(client(), { target });
  target.dispatchEvent(new CustomEvent("codex-code-request", { detail: { source: "a", requestId: "1" } }));
  target.dispatchEvent(new CustomEvent("codex-code-request", { detail: { text: "x", source: "a", requestId: "2" } }));
  await settle();
  remove();
  await settle();
  expect(answers).toEqual([
    { output: "", requestId: "1", source: "a", error: "No input text provided" },
    { output: "", requestId: "2", source: "a", error: "Given up" },
  ]);
});

test("the session manager starts one session, and stops none while a request is on its way", async () => {
  const manager = new CodexSessionManager({ url: "http://localhost:8082", fetch: gateway.fetch as typeof fetch });
  const sending = manager.sendRequest("x");
  expect(await manager.releaseSession()).toBe(false);
  expect(await sending).toMatchObject({ status: "success", session_id: "session_1" });
  expect(await manager.releaseSession()).toBe(true);
  expect(gateway.asked.map(({ url }) => url.split("/").pop())).toEqual(["status", "start", "input", "stop"]);
});

test("a gateway that is down rejects with what fetch says, for a fallback to take over", async () => {
  const down = new CodexClient({ url: "http://localhost:1", fetch: async () => Promise.reject(new TypeError("refused")) });
  await expect(down.getStatus()).rejects.toMatchObject({ code: "unreachable" });
});

test("a gateway that starts anew behind another server is waited for, and a refusal is not", async () => {
  const statuses = [502, 503, 429, 200, 401];
  const fetch = async (url: string | URL | Request, init?: RequestInit) => {
    const status = statuses.shift()!;
    return status === 200 ? gateway.fetch(url, init) : new Response("<p>", { status });
  };
  const codex = client({ key: "k", fetch: fetch as typeof globalThis.fetch });
  const reply = codex.ask("x", { timeout: 0 });
  await settle(60000);
  gateway.reply("done");
  await expect(reply).resolves.toBe("done");
  const refused = codex.ask("y", { timeout: 0 });
  const word = expect(refused).rejects.toMatchObject({ code: "401" });
  made[0]!.drop();
  await settle(60000);
  await word;
  expect(statuses).toEqual([]);
});

test("a connection that was closed says nothing to the one that follows it", async () => {
  const codex = client({ key: "k" });
  const heard: unknown[] = [];
  codex.on("output", (text) => heard.push(text));
  codex.close(); // while it fetches its ticket
  codex.connect();
  await settle();
  expect(made.length).toBe(1);
  const first = made[0]!;
  first.close = () => undefined; // as a real one, which takes a while
  codex.close();
  codex.connect();
  await settle();
  gateway.tell("output", "once");
  first.drop(1000);
  await settle(60000);
  expect([heard, made.length]).toEqual([["once"], 2]);
});
