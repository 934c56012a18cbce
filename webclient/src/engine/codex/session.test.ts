// @vitest-environment node
import { describe, expect, it } from "vitest";
import { Painter } from "../painter";
import { type Stage, stage } from "../testing";
import type { Answer } from "./api";
import type { Fields } from "../json";
import { CodingSession } from "./session";

class FakeSocket {
  readyState = 0;
  readonly sent: { type: string; content?: unknown; id?: string }[] = [];
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;

  constructor(
    readonly address: string,
    readonly protocols: readonly string[],
  ) {}

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(code: number): void {
    this.lose(code);
  }
  open(): void {
    this.readyState = 1;
    this.onopen!();
  }
  tell(...messages: object[]): void {
    for (const message of messages) this.onmessage!({ data: JSON.stringify(message) });
  }
  lose(code = 1006, reason = ""): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose!({ code, reason });
  }
}

const settle = () => new Promise((go) => setTimeout(go));
const status = (state: string, seq: number) => ({
  type: "session_status",
  content: { session_id: "s", state, workspace: "p", engine: "e", model: "m", timestamp: 1 },
  seq,
});

/** A session with a gateway that answers calls as `answers` says, and sockets in the order in which they were opened. */
function watched() {
  const around: Stage = stage();
  const sockets: FakeSocket[] = [];
  const answers: Record<string, Answer<Fields>> = {
    "sessions/s": { ok: true, value: {} },
    "../ticket": { ok: true, value: { ticket: "t1" } },
  };
  const session = new CodingSession("s", {
    surroundings: around,
    painter: new Painter(around.beforeFrame, () => around.clock.elapsed()),
    gateway: () => "http://gateway/base",
    authorization: () => "Bearer key",
    socket: (address, protocols) => {
      sockets.push(new FakeSocket(address, protocols));
      return sockets.at(-1) as unknown as WebSocket;
    },
    call: async (_, path) => answers[path]!,
    closed: () => undefined,
  });
  return { around, sockets, answers, session };
}

async function connected() {
  const all = watched();
  await settle();
  const [socket] = all.sockets;
  socket!.open();
  socket!.tell(status("ready", 3), { type: "active_files", content: ["a.py"], seq: 3 }, { type: "pong" });
  all.around.frame();
  return { ...all, socket: socket! };
}

describe("a coding session", () => {
  it("comes in by a ticket, asks for all there is, and is open when that has been told", async () => {
    const { sockets, session } = watched();
    await settle();
    const [socket] = sockets;
    expect(socket!.address).toBe("ws://gateway/base/ws/codex?session_id=s&after=0");
    expect(socket!.protocols).toEqual(["hades.v1", "hades.ticket.t1"]);
    socket!.open();
    expect(session.link.value.kind).toBe("connecting");
    socket!.tell(status("ready", 3), { type: "pong" });
    expect(session.link.value.kind).toBe("open");
    expect(session.standing.value).toMatchObject({ state: "ready", workspace: "p" });
  });

  it("comes back after a break where it was, and says again what nobody has acknowledged, under the same key", async () => {
    const { socket, sockets, session, around } = await connected();
    socket.tell({ type: "input_received", content: { text: "one", timestamp: 1 }, seq: 4 });
    session.say("two");
    const [said] = socket.sent.filter(({ type }) => type === "input");
    socket.lose();
    session.say("three");
    expect(session.unheard.value).toEqual(["two", "three"]);
    expect(session.link.value).toMatchObject({ kind: "waiting", attempt: 1 });
    around.clock.advance(250);
    await settle();
    const next = sockets[1]!;
    expect(next.address).toContain("after=4");
    next.open();
    next.tell(status("ready", 4));
    expect(next.sent.map(({ type }) => type)).toEqual(["ping"]);
    next.tell({ type: "pong" });
    expect(next.sent.slice(1).map(({ content }) => content)).toEqual(["two", "three"]);
    expect(next.sent[1]).toMatchObject({ id: said!.id, idempotency_key: said!.id });
    // The gateway had it, and says so to us alone: nothing to be told to the user.
    next.tell({ type: "warning", content: "again", code: "duplicate", id: said!.id, seq: 4 });
    expect(session.problem.value).toBe("");
    next.tell({ type: "input_received", content: { text: "three", timestamp: 1 }, seq: 5 });
    expect(session.unheard.value).toEqual([]);
  });

  it("waits longer from try to try, and a little by chance", async () => {
    const { socket, answers, session, around } = await connected();
    answers["sessions/s"] = { ok: false, code: "unreachable", problem: "" };
    socket.lose();
    const waits: number[] = [];
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const link = session.link.value;
      if (link.kind !== "waiting") throw new Error(link.kind);
      waits.push(link.next - around.clock.now());
      around.clock.advance(link.next - around.clock.now());
      await settle();
    }
    expect(waits).toEqual([187.5, 375, 750, 1500, 3000, 3750, 3750, 3750]);
    around.tell("online");
    expect(session.link.value.kind).toBe("connecting");
  });

  it("says that a session is gone only when the gateway says so, and keeps what was said", async () => {
    const { socket, answers, session, around } = await connected();
    socket.tell({ type: "input_received", content: { text: "one", timestamp: 1 }, seq: 4 }, status("in_turn", 5));
    answers["sessions/s"] = { ok: false, code: "unknown_session", problem: "no" };
    socket.lose();
    expect(session.link.value.kind).toBe("waiting");
    around.clock.advance(1000);
    await settle();
    around.frame();
    expect(session.link.value).toEqual({ kind: "gone", reason: "" });
    expect(session.turns.value.map((turn) => turn.state.value)).toEqual([{ kind: "ended", how: "lost" }]);
    expect(session.busy.value).toBe(false);
  });

  it("tells why a session has ended, and connects no more", async () => {
    const { socket, sockets, session, around } = await connected();
    const over = status("gone", 4);
    socket.tell({ ...over, content: { ...over.content, reason: "idle" } });
    expect(session.link.value).toEqual({ kind: "gone", reason: "idle" });
    around.clock.advance(60_000);
    await settle();
    expect(sockets).toHaveLength(1);
  });

  it("does not knock again where it is not let in", async () => {
    const { socket, answers, session, around } = await connected();
    socket.lose(1008, "This client may not come in any more.");
    expect(session.link.value).toEqual({ kind: "refused", problem: "This client may not come in any more." });
    answers["../ticket"] = { ok: false, code: "invalid_key", problem: "The key is not good." };
    session.retry();
    await settle();
    expect(session.link.value).toEqual({ kind: "refused", problem: "The key is not good." });
    expect(around.clock.waiting).toBe(0);
  });

  it("sends decisions in the gateway's words, and shows what it will not do", async () => {
    const { socket, session } = await connected();
    expect(session.decide("q1", "acceptForSession")).toBe(true);
    expect(socket.sent.at(-1)).toMatchObject({
      type: "approval",
      content: { approval_id: "q1", decision: "accept_for_session" },
    });
    socket.tell({
      type: "error",
      content: "that request for approval is settled already",
      code: "unknown_approval",
      seq: 3,
    });
    expect(session.problem.value).toBe("that request for approval is settled already");
    session.close();
    expect(session.steer("more")).toBe(false);
  });
});
