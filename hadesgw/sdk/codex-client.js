// Coding sessions of a hadesgw gateway, for pages and Node: no dependency, one file.
// The protocol is told in docs/sessions.md; types stand beside, in codex-client.d.ts.

const STATE = new Set(["session_status", "active_files", "approval_request"]);
const BUSY = new Set(["in_turn", "waiting_for_approval"]);
const DEAD = new Set(["idle", "stopping", "gone"]);
const AT_ONCE = /^\s*\/(focus|add|drop)\b/;
const PASSING = new Set([429, 502, 503, 504]); // a gateway that starts anew, or what stands before it meanwhile
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15000;

/** What went wrong; `code` is a word for programs, `output` what had come by then. */
export class CodexError extends Error {
  constructor(message, code, output = "") {
    super(message);
    this.name = "CodexError";
    this.code = code;
    this.output = output;
  }
}

const here = () => (globalThis.location?.protocol?.startsWith("http") ? globalThis.location.origin : "http://localhost:8082");

async function call({ url, key, fetch }, method, path, body) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sent = body === undefined ? undefined : JSON.stringify(body);
  const response = await fetch(url + path, { method, headers, body: sent, cache: "no-store" }).catch((problem) => {
    const unreachable = new CodexError(`The gateway at ${url} cannot be reached: ${problem.message}`, "unreachable");
    unreachable.passing = true;
    throw unreachable;
  });
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const { message = answer.error?.message, code = answer.error?.code } = answer;
  const problem = new CodexError(message ?? `Status ${response.status}`, code ?? `${response.status}`);
  problem.passing = PASSING.has(response.status);
  throw problem;
}

/** A live view of one coding session: reconnects by itself, misses nothing, and asks one thing after the other. */
export class CodexClient {
  constructor({ url = here(), key, session, timeout = 30000, throttle = 100, reconnect = true, fetch, WebSocket } = {}) {
    this.url = url.replace(/\/+$/, "");
    this.key = key;
    this.session = session;
    this.timeout = timeout;
    this.throttle = throttle;
    this.reconnect = reconnect;
    this.fetch = fetch ?? ((...asked) => globalThis.fetch(...asked));
    this.WebSocket = WebSocket ?? globalThis.WebSocket;
    this.state = "closed";
    this.status = null;
    this.files = [];
    this.listeners = new Map();
    this.jobs = [];
    this.job = null;
    this.last = null; // seq of the last message, and whose it was
    this.lastOf = null;
    this.quietUntil = 0;
    this.pause = FIRST_PAUSE;
    this.closed = true;
    this.attempt = 0; // to connect; what comes of an earlier one is nothing to us
  }

  // -- Listening ------------------------------------------------------------------------------------------------------

  /** Hear every message of a type, or "*" for all, "open" and "close" for the connection; returns how to stop. */
  on(type, listener) {
    if (!this.listeners.has(type)) this.listeners.set(type, new Set());
    this.listeners.get(type).add(listener);
    this.connect();
    return () => this.listeners.get(type).delete(listener);
  }
  onOutput(listener) { return this.on("output", listener); }
  onError(listener) { return this.on("error", listener); }
  onFilesUpdated(listener) { return this.on("active_files", listener); }
  onSessionStatus(listener) { return this.on("session_status", listener); }

  emit(type, content, message) {
    for (const listener of [...(this.listeners.get(type) ?? []), ...(message ? this.listeners.get("*") ?? [] : [])]) {
      try {
        listener(content, message);
      } catch (problem) {
        console.error(problem); // one listener must not keep the others from hearing
      }
    }
  }

  // -- Asking ---------------------------------------------------------------------------------------------------------

  /** Send an input and forget it; false when nobody is connected. */
  sendCodeRequest(text) { return this.send("input", text); }
  steer(text) { return this.send("steer", text); }
  interrupt() { return this.send("interrupt"); }
  approve(approvalId, decision) { return this.send("approval", { approval_id: approvalId, decision }); }

  /** Send an input when its turn comes, and wait for the whole reply. */
  ask(text, { timeout = this.timeout, signal } = {}) {
    return new Promise((resolve, reject) => {
      const job = { text, resolve, reject, phase: "new", ahead: 0, output: "", fault: null };
      const fail = (message, code) => this.finish(job, new CodexError(message, code, job.output));
      if (typeof text !== "string" || !text.trim()) return reject(new CodexError("No input text provided", "no_input"));
      if (signal?.aborted) return reject(new CodexError("Given up", "aborted"));
      signal?.addEventListener("abort", () => fail("Given up", "aborted"), { once: true });
      if (timeout) job.timer = setTimeout(() => fail(`No whole reply within ${timeout / 1000} s`, "timeout"), timeout);
      this.jobs.push(job);
      this.connect();
      this.next();
    });
  }

  http(method, path, body) { return call(this, method, path, body); }
  getStatus() { return this.http("GET", "/api/codex/status"); }
  start(options = {}) { return this.http("POST", "/api/codex/start", { session_id: this.session, ...options }); }
  stop() { return this.http("POST", "/api/codex/stop", { session_id: this.session }); }

  finish(job, outcome) {
    clearTimeout(job.timer);
    clearTimeout(job.later);
    const waiting = this.jobs.indexOf(job);
    if (waiting >= 0) this.jobs.splice(waiting, 1);
    if (this.job === job) this.job = null;
    if (outcome instanceof Error) job.reject(outcome);
    else job.resolve(outcome);
    this.next();
  }

  next() {
    if (this.job || !this.jobs.length || this.state !== "open" || !this.status) return;
    const job = (this.job = this.jobs.shift());
    job.later = setTimeout(() => this.say(job), Math.max(0, this.quietUntil - Date.now()));
  }

  say(job) {
    if (this.job !== job) return;
    job.phase = "sent";
    this.quietUntil = Date.now() + this.throttle;
    this.send("input", job.text); // if that fails, the next connection finds out that the gateway never had it
  }

  /** What a message means for the request that is under way. */
  follow({ type, content, code }) {
    const job = this.job;
    if (!job || job.phase === "new") return;
    if (job.phase === "sent") {
      if (type === "input_received" && content.text === job.text && !content.steer) {
        job.phase = "taken";
        const busy = BUSY.has(this.status?.state);
        job.ahead = (content.queued ?? 1) - 1 + (busy ? 1 : 0);
        if (busy && AT_ONCE.test(job.text)) this.finish(job, ""); // done beside the running turn, and never prompted for
      } else if (type === "error" && code) this.finish(job, new CodexError(content, code));
      return;
    }
    if (type === "input_request" && job.ahead-- > 0) return;
    if (type === "input_request") this.finish(job, job.fault ?? job.output);
    else if (type === "session_status" && DEAD.has(content.state))
      this.finish(job, job.fault ?? new CodexError("The session has ended", "ended", job.output));
    else if (type === "gap") this.finish(job, new CodexError("Part of the reply is lost", "gap", job.output));
    else if (job.ahead > 0) return;
    else if (type === "output") job.output += content;
    else if (type === "error" && !code) job.fault = new CodexError(content, "failed", job.output);
    else if (type === "turn" && content.phase === "ended" && content.status !== "completed")
      job.fault ??= new CodexError(`The turn was ${content.status}`, content.status, job.output);
  }

  // -- The connection -------------------------------------------------------------------------------------------------

  connect() {
    if (this.state !== "closed") return;
    this.closed = false;
    this.open();
  }

  async open() {
    const attempt = ++this.attempt;
    this.state = "connecting";
    try {
      const protocols = ["hades.v1"];
      if (this.key) protocols.push(`hades.ticket.${(await this.http("POST", "/api/ticket")).ticket}`);
      if (attempt !== this.attempt) return;
      const query = new URLSearchParams();
      if (this.session) query.set("session_id", this.session);
      if (this.last !== null) query.set("after", this.last);
      const address = `${this.url.replace(/^http/, "ws")}/ws/codex${query.size ? `?${query}` : ""}`;
      const socket = (this.socket = new this.WebSocket(address, protocols));
      let greeting = null;
      const ours = (act) => (event) => { if (this.socket === socket) act(event); };
      socket.onmessage = ours(({ data }) => { greeting = this.heard(JSON.parse(data), greeting); });
      socket.onopen = ours(() => { this.state = "open"; this.pause = FIRST_PAUSE; this.emit("open"); });
      socket.onclose = ours(({ code, reason }) => this.lost(code, reason));
    } catch (problem) {
      if (attempt === this.attempt) this.lost(0, problem.message, problem);
    }
  }

  /** A connection begins by how things stand: messages with the newest seq, which are no news and are no place to go on from. */
  heard(message, greeting) {
    const { type, content, seq } = message;
    if (type === "session_status") this.status = content;
    if (type === "active_files") this.files = content;
    if (greeting === null && type === "session_status") {
      const other = this.last === null || this.lastOf !== content.session_id;
      if (other && this.job && this.job.phase !== "new") this.finish(this.job, new CodexError("The session is another one", "ended", this.job.output));
      if (other) [this.last, this.lastOf] = [seq, content.session_id];
      if (this.job?.phase === "sent") this.send("ping"); // its pong comes after all that was missed
      this.emit(type, content, message);
      this.next();
      return seq;
    }
    const stands = typeof greeting === "number" && seq === greeting && STATE.has(type);
    if (!stands && seq !== undefined) {
      greeting = false;
      this.last = Math.max(this.last ?? 0, seq);
      this.lastOf = this.status?.session_id ?? this.lastOf;
    }
    if (type === "approval_request" && !this.listeners.get(type)?.size && content.decisions.includes("decline"))
      this.approve(content.approval_id, "decline"); // nobody here can give it
    if (!stands) this.follow(message);
    if (type === "pong" && this.job?.phase === "sent") this.say(this.job); // the gateway never had it
    this.emit(type, content, message);
    return greeting;
  }

  send(type, content) {
    if (this.state !== "open" || this.socket.readyState !== 1) return false;
    this.socket.send(JSON.stringify(content === undefined ? { type } : { type, content }));
    return true;
  }

  lost(code, reason, problem) {
    if (this.state === "closed") return;
    this.state = "closed";
    this.socket = null;
    this.emit("close", { code, reason });
    const final = this.closed || !this.reconnect || code === 1008 || (problem && !problem.passing);
    if (final) {
      this.closed = true;
      for (const job of [this.job, ...this.jobs]) if (job) this.finish(job, problem ?? new CodexError(reason || "The connection is closed", "closed", job.output));
      return;
    }
    this.state = "waiting";
    this.retry = setTimeout(() => this.open(), this.pause * (0.5 + Math.random() / 2));
    this.pause = Math.min(2 * this.pause, LONGEST_PAUSE);
  }

  /** Hang up; the session goes on. */
  close() {
    this.closed = true;
    this.attempt++;
    clearTimeout(this.retry);
    const socket = this.socket;
    this.lost(1000, "");
    socket?.close(1000);
  }
}

/** Starts a session when one is needed and stops it when the last request is done: by HTTP alone. */
export class CodexSessionManager {
  constructor(options = {}) {
    this.client = new CodexClient(options);
    this.pendingRequests = new Set();
    this.activeSession = null;
  }

  async ensureSession() {
    const status = await this.client.getStatus();
    this.activeSession = status.session_active ? status.session_id : (await this.client.start()).session_id;
    return this.activeSession;
  }

  async sendRequest(text) {
    const pending = Symbol(text);
    this.pendingRequests.add(pending);
    try {
      await this.ensureSession();
      return await this.client.http("POST", "/api/codex/input", { text });
    } finally {
      this.pendingRequests.delete(pending);
    }
  }

  async releaseSession() {
    if (this.pendingRequests.size) return false;
    await this.client.stop();
    this.activeSession = null;
    return true;
  }
}

/** Answers each `codex-code-request` by exactly one `codex-response`, one after the other; returns how to stop. */
export function installEventBridge(client, { target = globalThis, timeout = 30000 } = {}) {
  const open = new Map();
  const listen = ({ detail }) => {
    const { text, source, requestId } = detail ?? {};
    const name = JSON.stringify([source, requestId]);
    if (open.has(name)) return; // it will have its answer
    const giveUp = new AbortController();
    open.set(name, giveUp);
    const answer = (output, error) => {
      if (!open.delete(name)) return;
      const told = { output, requestId, source, ...(error && { error }) };
      target.dispatchEvent(new CustomEvent("codex-response", { detail: told }));
    };
    client.ask(text, { timeout, signal: giveUp.signal }).then(
      (output) => answer(output),
      (problem) => answer(problem.output ?? "", problem.message),
    );
  };
  target.addEventListener("codex-code-request", listen);
  return () => {
    target.removeEventListener("codex-code-request", listen);
    for (const giveUp of open.values()) giveUp.abort();
  };
}
