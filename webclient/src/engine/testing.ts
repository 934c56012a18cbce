// Surroundings for tests: a clock that is moved by hand, storage in memory, and a gateway that answers what it is told to.

import { IDBFactory } from "fake-indexeddb";
import type { Clock, Storage, Surroundings } from "./surroundings";
import type { Message, Tabs } from "./tabs";

export class ManualClock implements Clock {
  #now = Date.UTC(2026, 10, 21, 12);
  #timers: { at: number; call: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  elapsed(): number {
    return this.#now - Date.UTC(2026, 10, 21);
  }

  after(ms: number, call: () => void): () => void {
    const timer = { at: this.#now + ms, call };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Lets time pass; what was to be called in it is called at its moment. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = Math.max(this.#now, next.at);
      next.call();
    }
    this.#now = end;
  }

  get waiting(): number {
    return this.#timers.length;
  }
}

export class MemoryStorage implements Storage {
  readonly values = new Map<string, string>();

  getItem(name: string): string | null {
    return this.values.get(name) ?? null;
  }

  setItem(name: string, value: string): void {
    this.values.set(name, value);
  }

  removeItem(name: string): void {
    this.values.delete(name);
  }
}

/** One request as the gateway got it, and its answer as the test gives it. */
export class Exchange {
  readonly url: string;
  readonly headers: Headers;
  readonly body: string;
  aborted = false;
  #stream: ReadableStreamDefaultController<Uint8Array> | null = null;
  #answer!: (response: Response) => void;
  #fail!: (error: unknown) => void;
  readonly response: Promise<Response>;

  constructor(url: string, init: RequestInit) {
    this.url = url;
    this.headers = new Headers(init.headers);
    this.body = typeof init.body === "string" ? init.body : "";
    this.response = new Promise((resolve, reject) => {
      this.#answer = resolve;
      this.#fail = reject;
    });
    this.response.catch(() => undefined);
    init.signal?.addEventListener("abort", () => {
      this.aborted = true;
      this.lose();
    });
  }

  get json(): { [key: string]: unknown } {
    return JSON.parse(this.body) as { [key: string]: unknown };
  }

  /** Sends the head; ids are echoed unless the test says otherwise. */
  head(status = 200, headers: Record<string, string> = {}): this {
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.#stream = controller) });
    const echoed = Object.fromEntries(
      ["x-request-id", "x-conveyance-session-id"]
        .map((name) => [name, this.headers.get(name) ?? ""])
        .filter(([, value]) => value),
    );
    const all = { "content-type": "text/event-stream; charset=utf-8", ...echoed, ...headers };
    this.#answer(new Response([204, 304].includes(status) ? null : body, { status, headers: all }));
    return this;
  }

  bytes(part: Uint8Array | string): this {
    this.#stream!.enqueue(typeof part === "string" ? new TextEncoder().encode(part) : part);
    return this;
  }

  /** One event of Chat Completions. */
  delta(delta: object, finish: string | null = null): this {
    const chunk = { id: "chatcmpl-1", model: "m", choices: [{ index: 0, delta, finish_reason: finish }] };
    return this.bytes(`data: ${JSON.stringify(chunk)}\n\n`);
  }

  event(name: string, fields: object): this {
    return this.bytes(`event: ${name}\ndata: ${JSON.stringify({ type: name, ...fields })}\n\n`);
  }

  end(): void {
    this.#stream!.close();
  }

  done(): void {
    this.bytes("data: [DONE]\n\n").end();
  }

  /** A whole answer that is no stream. */
  json_answer(status: number, body: unknown, headers: Record<string, string> = {}): void {
    this.head(status, { "content-type": "application/json", ...headers })
      .bytes(typeof body === "string" ? body : JSON.stringify(body))
      .end();
  }

  /** The connection breaks. */
  lose(): void {
    const error = new TypeError("network error");
    this.#fail(error);
    try {
      this.#stream?.error(error);
    } catch {
      // It had ended.
    }
  }
}

/** Answers to the page's own questions; anything else is an exchange for the test. */
export class Gateway {
  readonly exchanges: Exchange[] = [];
  readonly asked: string[] = [];
  alive = true;
  config: object = { limits: { body_bytes: { default: 65_536 } }, default_model: "m" };
  build = { version: "1", hash: "aaaa" };
  models = { status: 200, body: { data: [{ id: "m" }, { id: "n" }] } as unknown };

  readonly fetch = async (url: string, init: RequestInit): Promise<Response> => {
    const path = new URL(url).pathname;
    this.asked.push(path);
    if (!this.alive) throw new TypeError("Failed to fetch");
    if (path === "/ui/config.json") return Response.json({ ...this.config, build: this.build });
    if (path === "/ui/build.json") return Response.json(this.build);
    if (path === "/healthz") return Response.json({ status: "ok" });
    if (path === "/v1/models") return Response.json(this.models.body, { status: this.models.status });
    const exchange = new Exchange(url, init);
    this.exchanges.push(exchange);
    return exchange.response;
  };

  get last(): Exchange {
    return this.exchanges.at(-1)!;
  }
}

/** What the tabs of one browser share. */
export class Neighbours {
  readonly #claims = new Map<string, { told: (mine: boolean) => void }[]>();
  readonly #ears = new Set<{ readonly call: (message: Message) => void }>();

  tab(): Tabs {
    const mine = new Set<{ readonly call: (message: Message) => void }>();
    return {
      claim: (name, told) => {
        const claim = { told };
        const queue = this.#claims.get(name) ?? [];
        this.#claims.set(name, queue);
        queue.push(claim);
        queueMicrotask(() => claim.told(queue[0] === claim));
        return () => {
          claim.told = () => undefined;
          const wasFirst = queue[0] === claim;
          if (queue.includes(claim)) queue.splice(queue.indexOf(claim), 1);
          if (wasFirst) queueMicrotask(() => queue[0]?.told(true));
        };
      },
      tell: (message) => {
        for (const ear of this.#ears) if (!mine.has(ear)) queueMicrotask(() => ear.call(message));
      },
      hear: (call) => {
        const ear = { call };
        mine.add(ear);
        this.#ears.add(ear);
        return () => void this.#ears.delete(ear);
      },
    };
  }
}

export interface Stage extends Surroundings {
  readonly neighbours: Neighbours;
  readonly clock: ManualClock;
  readonly local: MemoryStorage;
  readonly tab: MemoryStorage;
  readonly gateway: Gateway;
  /** What the page was told to show as its address. */
  shown: string;
  isOnline: boolean;
  tell(what: "online" | "offline" | "shown" | "hidden" | "left"): void;
  readonly reports: string[];
  /** Paints what waits for a frame. */
  frame(): void;
}

/**
 * @param before surroundings of a page that was left: the same storage and gateway.
 * @param beside whether that page is still there, and this is another tab.
 */
export function stage(before?: Stage, beside = false): Stage {
  let count = 0;
  const watchers = new Set<(what: "online" | "offline" | "shown" | "hidden" | "left") => void>();
  let frames: (() => void)[] = [];
  const gateway = before?.gateway ?? new Gateway();
  const clock = before?.clock ?? new ManualClock();
  const prefix = before ? "b" : "a";
  const neighbours = beside ? before!.neighbours : new Neighbours();
  return {
    clock,
    gateway,
    local: before?.local ?? new MemoryStorage(),
    neighbours,
    tabs: neighbours.tab(),
    tab: (beside ? null : before?.tab) ?? new MemoryStorage(),
    indexedDB: before?.indexedDB ?? new IDBFactory(),
    shown: "http://127.0.0.1:8082/",
    isOnline: true,
    reports: [],
    random: () => 0.5,
    uuid: () => `${prefix}${String((count += 1)).padStart(7, "0")}-0000-4000-8000-000000000000`,
    randomBytes: (size) => new Uint8Array(size),
    fetch: gateway.fetch,
    beforeFrame: (call) => void frames.push(call),
    address() {
      return this.shown;
    },
    readdress(address) {
      this.shown = address;
    },
    online() {
      return this.isOnline;
    },
    watch: (call) => {
      watchers.add(call);
      return () => void watchers.delete(call);
    },
    report(line) {
      this.reports.push(line);
    },
    tell: (what) => [...watchers].forEach((watcher) => watcher(what)),
    frame: () => {
      const now = frames;
      frames = [];
      for (const call of now) call();
    },
  };
}

/** Lets everything that waits for nothing but its turn have it. */
export async function settle(): Promise<void> {
  for (let round = 0; round < 12; round += 1) await new Promise((go) => setTimeout(go, 0));
}
