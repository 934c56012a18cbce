// The way to coding sessions: which there are, a new one, and a view of one. Loaded when it is first wanted.

import { countIn, type Fields, fieldsOf, listIn, parsed, textIn } from "../json";
import { write } from "../settings";
import type { Answer, Coding, CodingFacts } from "./api";
import { SHOWN } from "./shown";
import { type CodingAround, CodingSession } from "./session";
import { stateIn } from "./story";

const ANSWER_MS = 30_000;

export function codingDoor(around: Omit<CodingAround, "socket" | "call" | "closed">): Coding {
  const { surroundings } = around;
  const call = async (method: "GET" | "POST", path: string, body?: unknown): Promise<Answer<Fields>> => {
    const patience = new AbortController();
    const cancel = surroundings.clock.after(ANSWER_MS, () => patience.abort());
    const headers: Record<string, string> = {};
    const authorization = around.authorization();
    if (authorization !== null) headers.Authorization = authorization;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      const answer = await surroundings.fetch(new URL(path, `${around.gateway()}/api/codex/`).href, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: patience.signal,
      });
      const value = fieldsOf(parsed(await answer.text()));
      if (answer.ok && value) return { ok: true, value };
      const fault = fieldsOf(value?.error) ?? value;
      const code = answer.status >= 500 ? "5xx" : answer.status === 429 ? "429" : textIn(fault?.code);
      if (answer.status === 404 && path === "status") return { ok: false, code: "absent", problem: "" };
      return {
        ok: false,
        code: code || String(answer.status),
        problem: textIn(fault?.message) || String(answer.status),
      };
    } catch {
      return { ok: false, code: "unreachable", problem: "" };
    } finally {
      cancel();
    }
  };
  return {
    status: async () => {
      const answer = await call("GET", "status");
      if (!answer.ok) return answer;
      const { obstacle, engine, engines, workspace, workspaces } = answer.value;
      const names = (list: unknown): string[] => listIn(list).filter((name) => typeof name === "string");
      const value = { obstacle: typeof obstacle === "string" ? obstacle : null, engine: textIn(engine) };
      return {
        ok: true,
        value: { ...value, engines: names(engines), workspace: textIn(workspace), workspaces: names(workspaces) },
      };
    },
    sessions: async () => {
      const answer = await call("GET", "sessions");
      if (!answer.ok) return answer;
      return {
        ok: true,
        value: listIn(answer.value.sessions)
          .map(factsIn)
          .filter((row) => row.id !== ""),
      };
    },
    start: async (wish) => {
      const given = Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== ""));
      const answer = await call("POST", "start", { new: true, ...given });
      return answer.ok ? { ok: true, value: textIn(answer.value.session_id) } : answer;
    },
    join: (id) => {
      write(surroundings.tab, SHOWN, id);
      const closed = (): void => void write(surroundings.tab, SHOWN, null);
      const socket = (address: string, protocols: string[]): WebSocket => new WebSocket(address, protocols);
      return new CodingSession(id, { ...around, call, socket, closed });
    },
  };
}

function factsIn(value: unknown): CodingFacts {
  const fields = fieldsOf(value) ?? {};
  return {
    id: textIn(fields.session_id),
    workspace: textIn(fields.workspace),
    engine: textIn(fields.engine),
    state: stateIn(fields.state),
    turns: countIn(fields.turns) ?? 0,
    created: typeof fields.created === "number" ? fields.created * 1000 : 0,
  };
}
