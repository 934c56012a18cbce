// The real programs of a test: the gateway as `twistd` runs it, and behind it the rehearsal model, or an actor that says
// exactly the bytes it is given. All of them listen on loopback or on sockets of a folder that is theirs alone, and end
// with us.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer as http_server, type Server } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const project = fileURLToPath(new URL("../..", import.meta.url));
export const build = join(project, "build", "webclient");
export const model_name = "qwen3-coder-30b-a3b-instruct";

const own_python = join(project, ".venv", "bin", "python");
const python = process.env.HADESGW_PYTHON ?? (existsSync(own_python) ? own_python : "python3");
const start_ms = 60_000;

export async function until<T>(what: string, found: () => T | Promise<T>, ms = start_ms): Promise<NonNullable<T>> {
  const end = performance.now() + ms;
  for (;;) {
    const value = await found();
    if (value) return value;
    if (performance.now() > end) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await new Promise((go) => setTimeout(go, 20));
  }
}

/** A port that nobody has at this moment. */
export async function free_port(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** A child that dies with us, its words in a file. */
class Program {
  private child: ChildProcess | null = null;

  constructor(private readonly command: readonly string[], private readonly log: string, private readonly cwd: string) {}

  start(): void {
    const output = openSync(this.log, "a");
    const dying = existsSync("/usr/bin/setpriv") ? ["/usr/bin/setpriv", "--pdeathsig", "KILL"] : [];
    const [program, ...rest] = [...dying, ...this.command] as [string, ...string[]];
    this.child = spawn(program, rest, {
      cwd: this.cwd,
      env: { ...process.env, PYTHONPATH: project },
      stdio: ["ignore", output, output],
    });
  }

  get alive(): boolean {
    return this.child !== null && this.child.exitCode === null && this.child.signalCode === null;
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const { child } = this;
    if (!child || !this.alive) return;
    const gone = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    const impatient = setTimeout(() => child.kill("SIGKILL"), 10_000);
    await gone;
    clearTimeout(impatient);
  }

  words(): string {
    return existsSync(this.log) ? readFileSync(this.log, "utf8") : "";
  }
}

/** What stands behind the gateway's socket. */
export interface Model {
  readonly socket: string;
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** The rehearsal model: docs/rehearsal.md tells what it plays. */
export class Rehearsal implements Model {
  readonly socket: string;
  private readonly program: Program;

  constructor(folder: string, tokens_per_second = 200) {
    this.socket = join(folder, "model.sock");
    const pace = ["--tokens-per-second", String(tokens_per_second), "--context-tokens", "32768"];
    const command = [python, "-m", "hadesgw.demo", "--socket", this.socket, "--model", model_name, ...pace];
    this.program = new Program(command, join(folder, "model.log"), project);
  }

  async start(): Promise<void> {
    this.program.start();
    await until("the rehearsal model is ready", () => {
      if (!this.program.alive) throw new Error(`the rehearsal model has ended; it said:\n${this.program.words()}`);
      return this.program.words().includes("READY");
    });
  }

  stop(): Promise<void> {
    return this.program.end("SIGTERM");
  }
}

/** One answer of the actor: bytes, in the pieces in which they are to be written. */
export interface Line {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly pieces: readonly (Uint8Array | string)[];
  /** Between two pieces. */
  readonly pause_ms?: number;
  /** Break the connection after the last piece instead of ending the answer. */
  readonly cut?: boolean;
  /** Wait for ever: before the head of the answer, or after the last piece. */
  readonly hang?: "head" | "end";
}

/** A model server that says what it is told to, once each, in turn; and remembers what it was asked. */
export class Actor implements Model {
  readonly socket: string;
  readonly lines: Line[] = [];
  readonly asked: { readonly path: string; readonly headers: NodeJS.Dict<string | string[]>; readonly body: string }[] = [];
  private server: Server | null = null;

  constructor(folder: string) {
    this.socket = join(folder, "actor.sock");
  }

  async start(): Promise<void> {
    const server = http_server((request, response) => {
      const body: Buffer[] = [];
      request.on("data", (piece: Buffer) => body.push(piece));
      request.on("end", () => void this.play(request.url ?? "", request.headers, Buffer.concat(body).toString(), response));
    });
    server.keepAliveTimeout = 60_000;
    this.server = server;
    await new Promise<void>((done) => server.listen(this.socket, done));
  }

  private async play(
    path: string,
    headers: NodeJS.Dict<string | string[]>,
    body: string,
    response: import("node:http").ServerResponse,
  ): Promise<void> {
    if (path === "/health") return void response.end();
    const known: Readonly<Record<string, unknown>> = {
      "/tokenize": { count: 10, max_model_len: 32768, tokens: [] },
      "/v1/models": { object: "list", data: [{ id: model_name, object: "model", max_model_len: 32768 }] },
    };
    if (known[path]) return void response.setHeader("content-type", "application/json").end(JSON.stringify(known[path]));
    this.asked.push({ path, headers, body });
    const line = this.lines.shift() ?? { status: 500, pieces: ["the actor has no line"] };
    if (line.hang === "head") return;
    response.writeHead(line.status ?? 200, { "content-type": "text/event-stream; charset=utf-8", ...line.headers });
    response.flushHeaders();
    let gone = false;
    response.on("close", () => { gone = true; });
    for (const piece of line.pieces) {
      if (gone) return;
      if (!response.write(piece)) await new Promise<void>((on) => { response.once("drain", on); response.once("close", on); });
      await new Promise((on) => (line.pause_ms ? setTimeout(on, line.pause_ms) : setImmediate(on)));
    }
    if (line.cut) response.destroy();
    else if (line.hang !== "end") response.end();
  }

  async stop(): Promise<void> {
    const { server } = this;
    server?.closeAllConnections();
    await new Promise((done) => (server ? server.close(done) : done(null)));
  }
}

/** A line of the gateway's log. */
export type LogLine = Readonly<Record<string, unknown>>;

export interface ClientEntry {
  readonly name: string;
  readonly key: string;
  /** Further TOML lines of its entry. */
  readonly allowance?: string;
}

const generous = "requests_per_second = 1000\nburst = 1000\nmax_in_flight = 100";

/** How a gateway differs from what most tests want. */
export interface Shape {
  /** Whoever can connect is let in. */
  readonly anonymous?: boolean;
  readonly two_ports?: boolean;
  /** The tree of the defaults, coding sessions and all. */
  readonly whole_tree?: boolean;
}

/** The gateway, with a configuration of its own, on a port that it keeps when it is started again. */
export class Gateway {
  readonly key = `hgw_${randomBytes(32).toString("base64url")}`;
  /** A client that may send one request and then must wait long. */
  readonly slow_key = `hgw_${randomBytes(32).toString("base64url")}`;
  readonly log: string;
  port = 0;
  private program: Program | null = null;

  /** A second port, where a shape asks for one. */
  second_port = 0;

  constructor(
    private readonly folder: string,
    private readonly model: Model,
    private readonly more = "",
    private readonly shape: Shape = {},
  ) {
    this.log = join(folder, "gateway.log");
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    this.port ||= await free_port();
    if (this.shape.two_ports) this.second_port ||= await free_port();
    const ports = [this.port, ...(this.second_port ? [this.second_port] : [])];
    this.write("clients.toml", [
      { name: "tester", key: this.key },
      { name: "slow", key: this.slow_key, allowance: "requests_per_second = 0.05\nburst = 1" },
    ].map(({ name, key, allowance }) => {
      const digest = createHash("sha256").update(key).digest("hex");
      return `[[client]]\nname = "${name}"\nroles = ["user"]\ntokens = [{ sha256 = "${digest}" }]\n${allowance ?? generous}\n`;
    }).join("\n"));
    this.write("hadesgw.toml", [
      `[server]\nlisten = [${ports.map((port) => `"tcp:${port}:interface=127.0.0.1"`).join(", ")}]\ncontrol = "control.sock"`,
      `[[upstream]]\nname = "vllm"\nsocket = "${this.model.socket}"\nmodels = ["${model_name}"]\ncontext_tokens = 32768\noutput_tokens = 16384`,
      `[clients]\nfile = "clients.toml"\nanonymous = "${this.shape.anonymous ? "user" : ""}"`,
      this.shape.whole_tree ? "" : `[tree]\n"/v1" = ["metered", "cors", "guard", "limiter", "validation", "proxy"]\n"/metrics" = ["guard", "metrics"]\n"/healthz" = ["health"]\n"/readyz" = ["readiness"]\n"/" = ["webclient"]`,
      this.more,
    ].join("\n"));
    const twistd = join(dirname(python), "twistd");
    this.program ??= new Program([twistd, "-n", "--pidfile=", "hadesgw", "--config", join(this.folder, "hadesgw.toml")], this.log, this.folder);
    this.program.start();
    await until("the gateway answers", async () => {
      if (!this.program?.alive) throw new Error(`the gateway has ended; it said:\n${this.program?.words()}`);
      return this.answers();
    });
  }

  async answers(): Promise<boolean> {
    try {
      return (await fetch(`${this.url}/healthz`)).ok;
    } catch {
      return false;
    }
  }

  /** As a crash would have it. */
  async kill(): Promise<void> {
    await this.program?.end("SIGKILL");
  }

  async stop(): Promise<void> {
    await this.program?.end("SIGTERM");
  }

  lines(): LogLine[] {
    return (this.program?.words() ?? "").split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as LogLine);
  }

  private write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text, { mode: 0o600 });
  }
}

/** A model, a gateway before it, and a folder that goes away with them. */
export class Stage<M extends Model = Model> {
  private constructor(readonly folder: string, readonly model: M, readonly gateway: Gateway) {}

  static async open<M extends Model>(make: (folder: string) => M, more = "", shape: Shape = {}): Promise<Stage<M>> {
    const folder = mkdtempSync(join(tmpdir(), "hgw-e2e-")); // short: a socket's path has 107 bytes
    const model = make(folder);
    const stage = new Stage(folder, model, new Gateway(folder, model, more, shape));
    await model.start();
    await stage.gateway.start();
    return stage;
  }

  async close(): Promise<void> {
    await this.gateway.stop();
    await this.model.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

// ------------------------------------------------------------------------------------------- what an actor may say

export const event = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`;
export const done = "data: [DONE]\n\n";

/** A chunk of a Chat Completions stream with this delta. */
export function delta(change: unknown, finish: string | null = null, model = model_name): string {
  return event({
    id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model,
    choices: [{ index: 0, delta: change, logprobs: null, finish_reason: finish }],
  });
}

/** The chunk that says how many tokens a prompt and its answer had. */
export const usage = (prompt: number, completion: number): string => event({
  id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: model_name, choices: [],
  usage: { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion },
});

/** A whole stream that says `text`. */
export const says = (text: string): Line => ({
  pieces: [delta({ role: "assistant", content: "" }), delta({ content: text }), delta({}, "stop"), done],
});
