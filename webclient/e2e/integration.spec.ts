// What docs/integration.md tells, in a page of another origin: every way to have code written, with a credential and in
// the open local mode, and what a page sees when the gateway is gone.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { expect, test, type Page } from "@playwright/test";
import { Repository } from "./repository";
import { free_port, Rehearsal, Stage } from "./stage";

interface World {
  readonly stage: Stage<Rehearsal>;
  readonly workspace: string;
  readonly page_url: string;
  close(): Promise<void>;
}

/** A gateway with a workspace under git, and a page of another origin that does nothing by itself. */
async function world(anonymous: boolean): Promise<World> {
  const repository = new Repository();
  const port = await free_port();
  const server = createServer((_, response) => response.setHeader("content-type", "text/html").end("<!doctype html><title>Terma</title>"));
  await new Promise<void>((done) => server.listen(port, "127.0.0.1", done));
  const settings = [
    `[cors]\norigins = ["http://localhost:${port}"]`,
    `[limits]\nrequests_per_second = 1000\nburst = 1000`,
    repository.sessions("rehearsal"),
  ].join("\n");
  const shape = { anonymous, two_ports: true, whole_tree: true };
  const stage = await Stage.open((folder) => new Rehearsal(folder, 0), settings, shape);
  return {
    stage,
    workspace: repository.path,
    page_url: `http://localhost:${port}/`,
    async close() {
      await stage.close();
      server.closeAllConnections();
      server.close();
      repository.remove();
    },
  };
}

for (const anonymous of [false, true]) {
  test.describe(anonymous ? "in the open local mode" : "with a credential", () => {
    test.describe.configure({ mode: "serial" });
    let all: World;
    let page: Page;
    let given: { base: string; discovery: string; key: string | undefined };

    test.beforeAll(async ({ browser }) => {
      all = await world(anonymous);
      const { gateway } = all.stage;
      given = {
        base: `http://localhost:${gateway.port}`,
        discovery: `http://localhost:${gateway.second_port}`,
        key: anonymous ? undefined : gateway.key,
      };
      page = await browser.newPage();
      await page.goto(all.page_url);
    });
    test.afterAll(async () => {
      await page.close();
      await all.close();
    });

    test("a page asks what there is, on the other port too", async () => {
      const found = await page.evaluate(async ({ base, discovery, key }) => {
        const headers: Record<string, string> = key ? { Authorization: `Bearer ${key}` } : {};
        const status = await fetch(`${base}/api/codex/status`, { headers }).then((answer) => answer.json());
        const cards = await Promise.all([base, discovery].map((url) => fetch(`${url}/api/hermes/services/codex`).then((answer) => answer.json())));
        const absent = await fetch(`${discovery}/api/hermes/services/terma`).then((answer) => answer.ok);
        return { status, capabilities: cards.map((card) => card.capabilities), endpoints: cards.map((card) => card.endpoint), absent };
      }, given);
      expect(found.status).toMatchObject({ status: "active", session_active: false, obstacle: null, input_destination: "right_footer" });
      for (const capabilities of found.capabilities) expect(capabilities).toEqual(expect.arrayContaining(["code_generation", "ai_pair_programming"]));
      expect(found.endpoints).toEqual([given.base, given.discovery]);
      expect(found.absent).toBe(false);
    });

    test("plain calls start a session, give it work, and stop it", async () => {
      const told = await page.evaluate(async ({ base, key }) => {
        const headers: Record<string, string> = key ? { Authorization: `Bearer ${key}` } : {};
        const call = (path: string, body?: object) =>
          fetch(`${base}/api/codex/${path}`, {
            method: "POST",
            headers: body ? { ...headers, "Content-Type": "application/json" } : headers,
            body: body && JSON.stringify(body),
          }).then(async (answer) => ({ http: answer.status, id: answer.headers.get("x-request-id"), ...(await answer.json()) }));
        const nothing = await call("stop");
        const start = await call("start");
        const again = await call("start");
        const input = await call("input", { text: "/ls" });
        const empty = await call("input", { text: "" });
        const stop = await call("stop");
        return { nothing, start, again, input, empty, stop };
      }, given);
      expect(told.nothing).toMatchObject({ http: 200, status: "warning", message: "No active session to stop" });
      expect(told.start).toMatchObject({ http: 200, status: "success" });
      expect(told.again.session_id).toBe(told.start.session_id);
      expect(told.input).toMatchObject({ http: 200, status: "success", session_id: told.start.session_id });
      expect(told.empty).toMatchObject({ http: 400, status: "error", message: "No input text provided" });
      expect(told.stop).toMatchObject({ http: 200, status: "success" });
      expect(told.start.id).toMatch(/^[0-9a-f-]{36}$/); // a page of another origin may read it
    });

    test("a dialog by WebSocket: two turns, what is wrong, and the files that are worked on", async () => {
      const told = await page.evaluate(async ({ base, key }) => {
        const address = `${base.replace("http", "ws")}/ws/codex`;
        let protocols: string[] | undefined;
        if (key) {
          const answer = await fetch(`${base}/api/ticket`, { method: "POST", headers: { Authorization: `Bearer ${key}` } });
          protocols = ["hades.v1", `hades.ticket.${(await answer.json()).ticket}`];
        }
        const socket = new WebSocket(address, protocols);
        const heard: { type: string; content: any }[] = [];
        const wake: (() => void)[] = [];
        socket.onmessage = ({ data }) => {
          heard.push(JSON.parse(data));
          for (const go of wake.splice(0)) go();
        };
        let seen = 0;
        const until = async (type: string) => {
          for (;;) {
            while (seen < heard.length) if (heard[seen++]!.type === type) return heard[seen - 1]!;
            await new Promise<void>((go) => wake.push(go));
          }
        };
        const say = (type: string, content?: unknown) => socket.send(JSON.stringify({ type, content }));
        const first = await until("session_status");
        say("start_session", { timestamp: Date.now() });
        await until("input_request");
        const replies: string[] = [];
        for (const text of ["Add a function to greet.py", "Explain what you did"]) {
          const from = heard.length;
          say("input", text);
          const over = until("input_request").then(() => true);
          const soon = () => new Promise<boolean>((go) => setTimeout(go, 200, false));
          while (!(await Promise.race([over, soon()]))) {
            const asked = heard.find(({ type, content }) => type === "approval_request" && !content.answered);
            if (!asked || !protocols) continue;
            asked.content.answered = true;
            say("approval", { approval_id: asked.content.approval_id, decision: "accept" });
          }
          replies.push(heard.slice(from).filter(({ type }) => type === "output").map(({ content }) => content).join(""));
        }
        const files: string[][] = [];
        for (const command of ["/focus calc.py", "/drop"]) {
          say("input", command);
          files.push((await until("active_files")).content);
        }
        socket.send("this is no JSON");
        const wrong = await until("error");
        say("ping", "");
        const pong = await until("pong");
        socket.close();
        return { first, replies, files, wrong, pong };
      }, given);
      expect(told.first.content).toMatchObject({ active: false });
      for (const reply of told.replies) expect(reply.trim()).not.toBe("");
      expect(told.files[0]).toContain("calc.py");
      expect(told.files[1]).toEqual([]);
      expect(told.wrong.type).toBe("error");
      expect(told.pong).toEqual({ type: "pong" });
    });

    test("the library, loaded from the gateway, changes a real file", async () => {
      const told = await page.evaluate(async ({ base, key }) => {
        const { CodexClient, CodexSessionManager } = await import(`${base}/sdk/codex-client.js`);
        const codex = new CodexClient({ url: base, key });
        codex.on("approval_request", ({ approval_id }: { approval_id: string }) => codex.approve(approval_id, "accept"));
        const pieces: string[] = [];
        codex.onOutput((piece: string) => pieces.push(piece));
        const reply = await codex.ask("Add a function to latin.py", { timeout: 60000 });
        const impatient = await codex.ask("/ls", { timeout: 1 }).catch((problem: { code: string }) => problem.code);
        const manager = new CodexSessionManager({ url: base, key });
        const session = await manager.ensureSession();
        const sent = await manager.sendRequest("/ls");
        const released = await manager.releaseSession();
        const status = await codex.getStatus();
        codex.close();
        return { reply, streamed: pieces.join(""), impatient, session, sent, released, active: status.session_active };
      }, given);
      expect(told.reply.trim()).not.toBe("");
      expect(told.streamed).toContain(told.reply);
      expect(told.impatient).toBe("timeout");
      expect(told.sent).toMatchObject({ status: "success", session_id: told.session });
      expect(told).toMatchObject({ released: true, active: false });
      expect(readFileSync(join(all.workspace, "latin.py"), "utf8")).toContain("rehearsal model");
    });

    test("events of three components have one answer each, the impatient one too", async () => {
      const told = await page.evaluate(async ({ base, key }) => {
        const { CodexClient, installEventBridge } = await import(`${base}/sdk/codex-client.js`);
        const codex = new CodexClient({ url: base, key });
        const answers: any[] = [];
        const wanted = 9;
        const all = new Promise<void>((done) => {
          addEventListener("codex-response", (event) => {
            if (answers.push((event as CustomEvent).detail) === wanted) done();
          });
        });
        const remove = installEventBridge(codex, { timeout: 60000 });
        for (let number = 0; number < wanted; number += 1) {
          const source = ["terma", "athena", "prometheus"][number % 3];
          dispatchEvent(new CustomEvent("codex-code-request", { detail: { text: "/ls", source, requestId: String(number) } }));
        }
        await all;
        remove();
        const hasty = installEventBridge(codex, { timeout: 1 });
        const late = new Promise<any>((done) => addEventListener("codex-response", (event) => done((event as CustomEvent).detail), { once: true }));
        dispatchEvent(new CustomEvent("codex-code-request", { detail: { text: "Explain calc.py", source: "terma", requestId: "late" } }));
        const too_late = await late;
        hasty();
        codex.close();
        return { answers: answers.slice(0, wanted), too_late };
      }, given);
      expect(told.answers.map(({ requestId }) => requestId)).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
      for (const { output, error } of told.answers) {
        expect(output).toContain("calc.py");
        expect(error).toBeUndefined();
      }
      expect(told.too_late).toMatchObject({ requestId: "late", source: "terma" });
      expect(told.too_late.error).toContain("No whole reply");
    });

    test("a page that is not listed gets nothing", async ({ browser }) => {
      const stranger = await browser.newPage();
      await stranger.goto(all.page_url.replace("localhost", "127.0.0.1"));
      const told = await stranger.evaluate(async ({ base, key }) => {
        const headers: Record<string, string> = key ? { Authorization: `Bearer ${key}` } : {};
        const read = await fetch(`${base}/api/codex/status`, { headers }).then(() => "read", () => "blocked");
        const socket = new WebSocket(`${base.replace("http", "ws")}/ws/codex`);
        const heard = await new Promise((done) => {
          socket.onopen = () => done("heard");
          socket.onerror = () => done("refused");
        });
        return [read, heard];
      }, given);
      expect(told).toEqual(["blocked", "refused"]);
      await stranger.close();
    });

    test("when the gateway is gone, a page takes its way out", async () => {
      await all.stage.gateway.stop();
      const told = await page.evaluate(async ({ base, discovery, key }) => {
        const headers: Record<string, string> = key ? { Authorization: `Bearer ${key}` } : {};
        const written = await fetch(`${base}/api/codex/status`, { headers }).then(() => "by codex", () => "by hand");
        const available = await fetch(`${discovery}/api/hermes/services/codex`).then((answer) => answer.ok, () => false);
        return { written, available };
      }, given);
      expect(told).toEqual({ written: "by hand", available: false });
    });
  });
}
