// How the gateway is: asked at the start, now and then, and at once when an exchange failed. What could not be reached is
// asked again after pauses of chance, so that many pages do not come back at the same moment.

import { computed, effect, type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { Build, ConnectionState, Failure, GatewayConfig, Settings } from "../model";
import type { Connection } from "./api";
import { wordsOf } from "./failures";
import { countIn, type Fields, fieldsOf, listIn, parsed, textIn } from "./json";
import { memoryNames } from "./memory";
import { gatewayAddress, isFieldName } from "./settings";
import type { Surroundings } from "./surroundings";

/** What the page's host tells it, and of that what only the engine needs. */
export interface PageConfig extends GatewayConfig {
  /** Where the gateway is, if it is not the page's host. */
  readonly baseUrl: string;
  readonly memoryTools: readonly string[];
}

const NO_CONFIG: PageConfig = {
  requestIdHeader: "X-Request-ID",
  sessionIdHeader: "X-Conveyance-Session-ID",
  defaultModel: "",
  bodyBytes: {},
  contextTokens: null,
  outputTokens: null,
  requestsPerSecond: null,
  maxInFlight: null,
  connect: [],
  baseUrl: "",
  memoryTools: [],
};

/** A gateway that is gone is asked at the latest after so long, and after a while less often. */
const SOON_MS = 900;
const LATER_MS = 5_000;
const MANY = 200;
const FIRST_MS = 100;
const ANSWER_MS = 3_000;
const LOOK_EVERY_MS = 15_000;

export function configFrom(value: unknown): PageConfig {
  const fields = fieldsOf(value) ?? {};
  const headers = fieldsOf(fields.headers) ?? {};
  const limits = fieldsOf(fields.limits) ?? {};
  const name = (given: unknown, usual: string): string =>
    typeof given === "string" && isFieldName(given) ? given : usual;
  return {
    requestIdHeader: name(headers.request_id, NO_CONFIG.requestIdHeader),
    sessionIdHeader: name(headers.session_id, NO_CONFIG.sessionIdHeader),
    defaultModel: textIn(fields.default_model),
    bodyBytes: sizes(fieldsOf(limits.body_bytes) ?? {}),
    contextTokens: countIn(limits.context_tokens),
    outputTokens: countIn(limits.output_tokens),
    requestsPerSecond: countIn(limits.requests_per_second),
    maxInFlight: countIn(limits.max_in_flight),
    connect: listIn(fields.connect).filter((origin) => typeof origin === "string"),
    baseUrl: textIn(fields.base_url),
    memoryTools: memoryNames(fields.memory_tools),
  };
}

/** Which client the page's host serves; null if it does not say. */
function buildIn(value: unknown): Build | null {
  const fields = fieldsOf(value);
  const hash = textIn(fields?.hash);
  return hash === "" ? null : { version: textIn(fields?.version), hash };
}

/** By path; that of every other path is under "". */
function sizes(fields: Fields): Record<string, number> {
  const known = Object.entries(fields).filter((field): field is [string, number] => countIn(field[1]) !== null);
  return Object.fromEntries(known.map(([path, bytes]) => [path === "default" ? "" : path, bytes]));
}

/** The limit of the longest path that covers this one; null if none is known. */
export function limitFor(bodyBytes: GatewayConfig["bodyBytes"], path: string): number | null {
  const covering = Object.keys(bodyBytes).filter(
    (known) => known !== "" && (path === known || path.startsWith(`${known.replace(/\/$/, "")}/`)),
  );
  const longest = covering.sort((a, b) => b.length - a.length)[0] ?? "";
  return bodyBytes[longest] ?? null;
}

export class GatewayConnection implements Connection {
  readonly #surroundings: Surroundings;
  readonly #authorization: () => string | null;
  readonly #state: Signal<ConnectionState> = signal({ kind: "unknown" });
  readonly #config: Signal<PageConfig> = signal(NO_CONFIG);
  readonly #models: Signal<readonly string[]> = signal([]);
  readonly #outdated = signal(false);
  readonly reachable: ReadonlySignal<boolean>;
  /** Where requests go: an origin, perhaps with a path. */
  readonly gateway: ReadonlySignal<string>;
  #build: Build | null = null;
  #tries = 0;
  /** Whether the models, and with them the key, have to be asked about. */
  #doubtful = true;
  #checking = 0;
  #cancel: (() => void) | null = null;
  #closed = false;

  constructor(surroundings: Surroundings, settings: () => Settings, authorization: () => string | null) {
    this.#surroundings = surroundings;
    this.#authorization = authorization;
    this.gateway = computed(
      () => gatewayAddress(settings().baseUrl || this.#config.value.baseUrl, this.#page) ?? this.#origin,
    );
    this.reachable = computed(() => {
      const { origin } = new URL(this.gateway.value);
      return origin === this.#origin || this.#config.value.connect.includes(origin);
    });
  }

  get state(): ReadonlySignal<ConnectionState> {
    return this.#state;
  }

  get config(): ReadonlySignal<PageConfig> {
    return this.#config;
  }

  get models(): ReadonlySignal<readonly string[]> {
    return this.#models;
  }

  get outdated(): ReadonlySignal<boolean> {
    return this.#outdated;
  }

  get #page(): string {
    return this.#surroundings.address();
  }

  get #origin(): string {
    return new URL(this.#page).origin;
  }

  /** Learns what the page's host tells, then how the gateway is. */
  async start(): Promise<void> {
    this.#state.value = { kind: "checking" };
    const config = await this.#ask("ui/config.json");
    if (config) this.#config.value = configFrom(config);
    this.#build = buildIn(fieldsOf(config)?.build);
    if (config && !this.#build) void this.#lookAtBuild();
    await this.#check();
  }

  tryNow(): void {
    this.#doubtful = true;
    void this.#check();
  }

  /** An exchange failed: perhaps the gateway is gone, or the key is not good any more. */
  suspect(failure: Failure): void {
    if (failure.kind === "unreachable" || failure.kind === "offline" || failure.kind === "broken") void this.#check();
    else if (failure.kind === "badKey")
      this.#state.value = { kind: "badKey", code: failure.code, message: failure.message };
    else if (failure.kind === "noKey") this.#state.value = { kind: "noKey" };
  }

  /** The network came or went, or the page is shown again. */
  stir(): void {
    void this.#check();
  }

  /** Asks anew whenever one of these changes, from the first answer on; returns what ends that. */
  follow(...signals: readonly ReadonlySignal<unknown>[]): () => void {
    return effect(() => {
      for (const one of signals) void one.value;
      if (this.#state.peek().kind !== "unknown" && this.#state.peek().kind !== "checking") this.tryNow();
    });
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  // ---------------------------------------------------------------------------------------------------- asking

  async #check(): Promise<void> {
    if (this.#closed) return;
    this.#cancel?.();
    const mine = ++this.#checking;
    // Who has to be asked about the key anyway need not be asked for a sign of life before; who was away is asked gently.
    const returned = this.#tries > 0;
    let state = returned || !this.#doubtful ? await this.#ping() : await this.#identify();
    if (state && returned) {
      void this.#lookAtBuild();
      state = await this.#identify();
    }
    if (mine !== this.#checking || this.#closed) return;
    if (!state) {
      this.#gone();
      return;
    }
    const identified = returned || this.#doubtful;
    if (identified || this.#state.value.kind === "connected") this.#state.value = state;
    if (identified) this.#doubtful = state.kind === "unready";
    this.#tries = 0;
    this.#later(LOOK_EVERY_MS);
  }

  #gone(): void {
    const { clock } = this.#surroundings;
    this.#tries += 1;
    this.#doubtful = true;
    const longest = this.#tries > MANY ? LATER_MS : SOON_MS;
    const wait =
      Math.min(longest, FIRST_MS * 2 ** Math.min(this.#tries - 1, 10)) * (0.5 + this.#surroundings.random() / 2);
    this.#state.value = this.#surroundings.online()
      ? { kind: "reconnecting", attempt: this.#tries, next: clock.now() + wait }
      : { kind: "offline" };
    this.#later(wait);
  }

  #later(ms: number): void {
    this.#cancel?.();
    this.#cancel = this.#surroundings.clock.after(ms, () => void this.#check());
  }

  /** Whether the gateway answers, whatever it says; null if it does not. */
  async #ping(): Promise<ConnectionState | null> {
    const began = this.#surroundings.clock.elapsed();
    const isOurs = new URL(this.gateway.value).origin === this.#origin;
    const answer = await this.#get(`${this.gateway.value}/healthz`, { mode: isOurs ? "same-origin" : "no-cors" });
    void answer?.body?.cancel().catch(() => undefined);
    return answer && { kind: "connected", latencyMs: this.#surroundings.clock.elapsed() - began };
  }

  /** Who we are to the gateway, and its models; null if it does not answer. */
  async #identify(): Promise<ConnectionState | null> {
    const began = this.#surroundings.clock.elapsed();
    const authorization = this.#authorization();
    const headers: Record<string, string> = authorization === null ? {} : { Authorization: authorization };
    const answer = await this.#get(`${this.gateway.value}/v1/models`, { headers });
    if (!answer) return null;
    const latencyMs = this.#surroundings.clock.elapsed() - began;
    const body = parsed(await answer.text().catch(() => ""));
    const { code, message } = wordsOf(body);
    if (answer.ok)
      this.#models.value = listIn(fieldsOf(body)?.data)
        .map((model) => textIn(fieldsOf(model)?.id))
        .filter(Boolean);
    if (answer.status === 401 && authorization === null) return { kind: "noKey" };
    if (answer.status === 401 || answer.status === 403) return { kind: "badKey", code, message };
    if (answer.status >= 500) return { kind: "unready", status: answer.status, message };
    return { kind: "connected", latencyMs };
  }

  /** Which page the host serves now: another one than ours is a newer one. */
  async #lookAtBuild(): Promise<void> {
    const build = buildIn(await this.#ask("ui/build.json"));
    if (build === null) return;
    this.#build ??= build;
    this.#outdated.value = this.#build.hash !== build.hash;
  }

  /** A file of the page's host; null if there is none. */
  async #ask(path: string): Promise<unknown> {
    const page = new URL(this.#page);
    page.hash = "";
    page.search = "";
    const answer = await this.#get(new URL(path, page).href, { mode: "same-origin" });
    const text = answer?.ok ? await answer.text().catch(() => "") : "";
    return text ? parsed(text) : null;
  }

  /** Null if there is no answer, or none in time. */
  async #get(url: string, init: RequestInit): Promise<Response | null> {
    const { clock } = this.#surroundings;
    const patience = new AbortController();
    const cancel = clock.after(ANSWER_MS, () => patience.abort());
    try {
      return await this.#surroundings.fetch(url, {
        ...init,
        cache: "no-store",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: patience.signal,
      });
    } catch {
      return null;
    } finally {
      cancel();
    }
  }
}
