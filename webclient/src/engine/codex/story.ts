// Messages of a coding session as turns and items. What it makes of them depends on the messages alone: it does not matter
// over how many connections they came, how texts were cut, or how often a message was told. Nothing in them is trusted.

import type { Approval, FileChange, Item, ItemState, PlanStep, TurnState } from "../../model";
import { countIn, type Fields, fieldsOf, judge, listIn, parsed, textIn } from "../json";
import { TurnStore } from "../turns";
import type { CodingStanding, CodingState, CodingTokens } from "./api";

const STATES: readonly CodingState[] = [
  "idle",
  "starting",
  "ready",
  "in_turn",
  "waiting_for_approval",
  "stopping",
  "gone",
];
/** What a connection begins with, besides `session_status`: no news, but how things stand. */
const STANDING = ["active_files", "approval_request"];
/** Commands that are carried out beside a turn that runs, without a turn of their own. */
const AT_ONCE = /^\s*\/(focus|add|drop)\b/;
/** The gateway's words for inputs that it will not carry out; it has no other sign for that. */
const DROPPED = /^\d+ input\(s\) that waited are dropped$/;
const LONGEST_OUTPUT = 256 * 1024;
const LONGEST_RAW = 16 * 1024;

/** A turn in the making. */
interface Chapter {
  readonly store: TurnStore;
  /** The gateway's name of the turn; null before it has begun, and for slash commands. */
  turn: string | null;
  /** Indexes of items by the names that messages use. */
  readonly places: Map<string, number>;
  /** The message that is being written. */
  writing: number | null;
  readonly approvals: Set<number>;
  /** A slash command has begun to answer. */
  answered: boolean;
  open: boolean;
}

type Bare<I> = I extends Item ? Omit<I, "id" | "attempt" | "created"> : never;

export class Story {
  readonly #session: string;
  readonly #now: () => number;
  readonly #chapters: Chapter[] = [];
  /** Inputs that wait for their turn. */
  #waiting: Chapter[] = [];
  #current: Chapter | null = null;
  #standing: { readonly seq: number; readonly asked: Fields[]; over: boolean } | null = null;
  #settled = new Map<string, { readonly decided: string; readonly by: string }>();
  #owed = false;
  /** How far our clock is ahead of the gateway's. */
  #skew = 0;
  #ids = 0;
  /** Chapters that have changed since `publish`. */
  readonly #touched = new Set<Chapter>();
  /** Seq of the last message. */
  last = 0;
  standing: CodingStanding & { readonly session: string; readonly reason: string } = {
    session: "",
    state: "unknown",
    workspace: "",
    engine: "",
    model: "",
    reason: "",
  };
  files: readonly string[] = [];
  // Of plans and diffs the gateway keeps the last one only: as items of turns they would be there or not, by chance.
  plan: readonly PlanStep[] = [];
  /** All that the last turn has changed, as far as it was told. */
  diff = "";
  tokens: CodingTokens | null = null;
  trimmed = false;

  constructor(session: string, now: () => number) {
    this.#session = session;
    this.#now = now;
  }

  get turns(): readonly TurnStore[] {
    return this.#chapters.map(({ store }) => store);
  }

  /** Ids of approvals' items that wait. */
  get asking(): readonly string[] {
    return this.#chapters.flatMap(({ store, approvals }) => [...approvals].map((at) => store.list.values[at]!.id));
  }

  publish(): void {
    for (const chapter of this.#touched) {
      if (chapter.open) chapter.store.now = this.#pace(chapter);
      chapter.store.publish();
    }
    this.#touched.clear();
  }

  // -------------------------------------------------------------------------------------------------- connections

  /** A connection begins: what it says first is how things stand. */
  connected(): void {
    this.#standing = { seq: -1, asked: [], over: false };
  }

  /** All that was missed has been told: what waits for an answer is exactly what was said at the beginning, and since. */
  reconciled(): void {
    const standing = this.#standing;
    if (!standing) return;
    this.#standing = null;
    const names = new Set(standing.asked.map((asked) => textIn(asked.approval_id)));
    for (const chapter of this.#chapters) {
      for (const at of [...chapter.approvals]) {
        const item = chapter.store.list.values[at] as Approval;
        if (names.has(item.request) || (item.seq ?? 0) > standing.seq) continue;
        this.#decide(chapter, at, "", "");
      }
    }
    for (const asked of standing.asked) {
      const settled = this.#settled.has(textIn(asked.approval_id));
      if (!settled) this.#ask(asked, standing.seq);
    }
  }

  // ----------------------------------------------------------------------------------------------------- messages

  /** One message as it came over the socket; false if it is none that tells something of the session. */
  take(text: string): boolean {
    const message = fieldsOf(parsed(text));
    if (!message) return (this.#raw("unreadable", text), true);
    const seq = countIn(message.seq);
    const type = textIn(message.type);
    const standing = this.#standing;
    if (standing && seq !== null && !standing.over) {
      if (standing.seq < 0 && type === "session_status") {
        this.#standing = { ...standing, seq };
        this.#status(message.content, true);
        return true;
      }
      if (seq === standing.seq && STANDING.includes(type)) {
        const content = fieldsOf(message.content);
        if (type === "active_files") this.files = texts(message.content);
        else if (content) standing.asked.push(content);
        return true;
      }
      standing.over = true;
    }
    if (seq === null || "code" in message) return false;
    if (seq <= this.last && type !== "gap") return true;
    this.last = Math.max(this.last, seq);
    this.#tell(type, message.content, seq);
    return true;
  }

  #tell(type: string, content: unknown, seq: number): void {
    const fields = fieldsOf(content) ?? {};
    switch (type) {
      case "session_status":
        return this.#status(content, false);
      case "active_files":
        this.files = texts(content);
        return;
      case "input_received":
        return this.#received(fields);
      case "input_request":
        return this.#prompted();
      case "output":
        return this.#output(textIn(content));
      case "error":
      case "warning":
        return this.#notice(type, textIn(content));
      case "gap":
        return this.#gap(fields);
      case "turn":
        return textIn(fields.phase) === "ended" ? this.#ended(fields) : void this.#chapter(fields.turn_id);
      case "item":
        return this.#item(fields);
      case "diff":
        this.diff = textIn(fields.diff);
        return;
      case "plan":
        this.plan = listIn(fields.steps).map(stepIn);
        return;
      case "token_usage":
        this.tokens = {
          input: countIn(fields.input_tokens) ?? 0,
          cached: countIn(fields.cached_input_tokens) ?? 0,
          output: countIn(fields.output_tokens) ?? 0,
          context: countIn(fields.context_tokens),
        };
        return;
      case "approval_request":
        return this.#ask(fields, seq);
      case "approval":
        return this.#answered(fields);
      default:
        return this.#raw(type, JSON.stringify(content ?? null));
    }
  }

  #status(content: unknown, now: boolean): void {
    const fields = fieldsOf(content) ?? {};
    const state = stateIn(fields.state);
    this.standing = {
      session: textIn(fields.session_id),
      state,
      workspace: textIn(fields.workspace),
      engine: textIn(fields.engine),
      model: textIn(fields.model),
      reason: textIn(fields.reason),
    };
    if (now) {
      if (typeof fields.timestamp === "number") this.#skew = this.#now() - fields.timestamp * 1000;
      return;
    }
    // A turn is entered before it has a name.
    if (state === "in_turn") this.#current ??= this.#waiting.shift() ?? null;
    if (state === "gone") this.over("lost");
    else if (state === "idle") this.#cease("failed"); // inputs that wait start another agent
  }

  /** Nothing will come of what runs and waits. */
  over(how: "failed" | "lost"): void {
    this.#drop();
    this.#cease(how);
  }

  #cease(how: "failed" | "lost"): void {
    if (this.#current) this.#end(this.#current, { kind: "ended", how });
    this.#current = null;
  }

  #drop(): void {
    for (const chapter of this.#waiting) this.#end(chapter, { kind: "ended", how: "dropped" });
    this.#waiting = [];
  }

  // -------------------------------------------------------------------------------------------------------- turns

  #received({ text, timestamp, steer }: Fields): void {
    const said = textIn(text);
    if (steer === true && this.#current) {
      this.#add(this.#current, { kind: "userMessage", text: said });
      this.#current.writing = null;
      return;
    }
    const chapter = this.#begin(said, typeof timestamp === "number" ? timestamp * 1000 + this.#skew : this.#now());
    if (AT_ONCE.test(said)) this.#end(chapter, { kind: "done", finish: null });
    else this.#waiting.push(chapter);
  }

  #begin(prompt: string, created: number): Chapter {
    this.#ids += 1;
    const id = `${this.#session}-${this.#ids}`;
    const turn = { id, thread: this.#session, parent: this.#chapters.at(-1)?.store.id ?? null, instead: null };
    const store = new TurnStore(
      {
        ...turn,
        created,
        model: this.standing.model,
        state: { kind: "queued", since: created },
        items: [],
        attempts: [],
        usage: null,
      },
      [],
    );
    const chapter = {
      store,
      turn: null,
      places: new Map<string, number>(),
      writing: null,
      approvals: new Set<number>(),
      answered: false,
      open: true,
    };
    this.#chapters.push(chapter);
    this.#add(chapter, { kind: "userMessage", text: prompt });
    return chapter;
  }

  /** The turn of that name: one that is known, the one that is about to begin, or one whose beginning is not kept. */
  #chapter(name: unknown): Chapter {
    const turn = textIn(name);
    const known = this.#chapters.findLast((chapter) => chapter.turn === turn && turn !== "");
    if (known) return known;
    if (turn === "") return this.#place();
    const begun = this.#current && this.#current.turn === null ? this.#current : this.#waiting.shift();
    const chapter = begun ?? this.#begin("…", this.#now());
    chapter.turn = turn;
    this.#current = chapter;
    this.#touched.add(chapter);
    return chapter;
  }

  /** Where something belongs that names no turn. */
  #place(): Chapter {
    return this.#current ?? this.#waiting[0] ?? this.#chapters.at(-1) ?? this.#begin("…", this.#now());
  }

  #ended({ turn_id, status }: Fields): void {
    const chapter = this.#chapter(turn_id);
    const how = textIn(status);
    const isWhole = how === "completed";
    this.#end(
      chapter,
      isWhole
        ? { kind: "done", finish: null }
        : { kind: "ended", how: how === "interrupted" ? "interrupted" : "failed" },
    );
    if (this.#current === chapter) this.#current = null;
    this.#owed = true;
  }

  /** An input is done with. After a turn that was told already; for a slash command, and for a turn that never began, this is all. */
  #prompted(): void {
    if (this.#owed) {
      this.#owed = false;
      return;
    }
    const chapter = this.#current ?? this.#waiting.shift();
    this.#current = null;
    if (!chapter?.open) return;
    const isCommand = chapter.answered || isSlash(chapter.store.prompt);
    this.#end(chapter, isCommand ? { kind: "done", finish: null } : { kind: "ended", how: "interrupted" });
  }

  #end(chapter: Chapter, state: TurnState): void {
    if (!chapter.open) return;
    chapter.open = false;
    chapter.writing = null;
    for (const at of [...chapter.approvals]) this.#decide(chapter, at, "", "");
    chapter.store.list.values.forEach((item, at) => {
      if ("state" in item && item.state === "open")
        chapter.store.list.patch(at, { state: state.kind === "done" ? "done" : "broken" });
    });
    chapter.store.now = state;
    this.#touched.add(chapter);
  }

  #pace({ store, approvals, writing }: Chapter): TurnState {
    const since = store.created;
    const { values } = store.list;
    if (approvals.size > 0) return { kind: "approval", items: [...approvals].map((at) => values[at]!.id) };
    const at = values.findLast((item) => "state" in item && item.state === "open");
    if (writing !== null || at?.kind === "agentMessage") return { kind: "streaming", what: "text", since };
    if (at?.kind === "reasoning") return { kind: "streaming", what: "reasoning", since };
    return at ? { kind: "running", item: at.id, since } : { kind: "queued", since };
  }

  // -------------------------------------------------------------------------------------------------------- items

  #add(chapter: Chapter, item: Bare<Item>): number {
    this.#ids += 1;
    const made = { id: `${this.#session}-${this.#ids}`, attempt: null, created: this.#now(), ...item };
    this.#touched.add(chapter);
    return chapter.store.list.add(made as Item);
  }

  /** Sets the item of that name, or makes it. */
  #put(chapter: Chapter, name: string, item: Bare<Item>): void {
    const at = chapter.places.get(name);
    if (at === undefined) chapter.places.set(name, this.#add(chapter, item));
    else chapter.store.list.patch(at, item as Partial<Item>);
    this.#touched.add(chapter);
  }

  #output(text: string): void {
    const chapter = this.#place();
    chapter.answered = true;
    if (this.#current === null && this.#waiting[0] === chapter) this.#current = this.#waiting.shift()!;
    const { list } = chapter.store;
    this.#touched.add(chapter);
    if (chapter.writing === null) {
      // Between two messages there are blanks.
      const bare = text.trimStart();
      if (bare === "") return;
      const isCommand = chapter.turn === null && isSlash(chapter.store.prompt);
      const begun = isCommand ? `\`\`\`\n${text}` : bare;
      chapter.writing = this.#add(chapter, { kind: "agentMessage", ...WRITTEN, text: begun, state: "open" });
      return;
    }
    const item = list.values[chapter.writing] as Extract<Item, { kind: "agentMessage" }>;
    list.patch(chapter.writing, { text: item.text + text });
  }

  #notice(level: "error" | "warning", text: string): void {
    if (level === "warning" && DROPPED.test(text)) this.#drop();
    this.#add(this.#place(), { kind: "notice", level, text });
  }

  #gap({ next }: Fields): void {
    const following = countIn(next);
    this.last = Math.max(this.last, (following ?? 1) - 1);
    if (this.#chapters.length === 0) this.trimmed = true;
    else this.#add(this.#place(), { kind: "notice", level: "gap", text: "" });
  }

  #raw(name: string, data: string): void {
    this.#add(this.#place(), { kind: "raw", name: name.slice(0, 200), data: data.slice(0, LONGEST_RAW) });
  }

  #item(fields: Fields): void {
    const chapter = this.#chapter(fields.turn_id);
    const body = fieldsOf(fields.body) ?? {};
    const name = `item ${textIn(fields.item_id)}`;
    const at = chapter.places.get(name);
    const old = at === undefined ? null : chapter.store.list.values[at]!;
    const phase = textIn(fields.phase);
    const state: ItemState = phase === "completed" ? "done" : "open";
    const kind = textIn(fields.kind);
    if (kind === "message") {
      if (phase === "completed") this.#written(chapter, body);
      return;
    }
    if (kind === "reasoning") {
      const said = old?.kind === "reasoning" ? old.text : "";
      const text = phase === "delta" ? said + textIn(body.text) : textIn(body.text) || said;
      return this.#put(chapter, name, { kind, text, summary: "", state, tookMs: 0, choice: 0 });
    }
    if (kind === "command") return this.#put(chapter, name, commandIn(body, phase, old));
    if (kind === "file_change") {
      const declined = textIn(body.status) === "declined";
      return this.#put(chapter, name, {
        kind: "fileChange",
        changes: changesIn(body.changes),
        state: declined ? "declined" : state,
      });
    }
    if (kind === "tool_call") {
      const given = typeof body.arguments === "string" ? body.arguments : JSON.stringify(body.arguments ?? null);
      const call = { kind: "toolCall", callId: "", name: textIn(body.tool), arguments: given } as const;
      const rest = { flags: [], memory: null, result: null, tookMs: 0, choice: 0 };
      return this.#put(chapter, name, { ...call, ...rest, verdict: judge(given), state });
    }
    this.#put(chapter, name, {
      kind: "raw",
      name: (textIn(body.type) || kind).slice(0, 200),
      data: JSON.stringify(body).slice(0, LONGEST_RAW),
    });
  }

  /** A message is whole: if pieces of it were lost, it says again what they were. */
  #written(chapter: Chapter, body: Fields): void {
    const text = body.truncated === true ? "" : textIn(body.text);
    this.#touched.add(chapter);
    if (chapter.writing !== null)
      chapter.store.list.patch(chapter.writing, { state: "done", ...(text.trim() ? { text } : {}) });
    else if (text.trim()) this.#add(chapter, { kind: "agentMessage", ...WRITTEN, text, state: "done" });
    chapter.writing = null;
  }

  // ---------------------------------------------------------------------------------------------------- approvals

  #ask(fields: Fields, seq: number): void {
    const request = textIn(fields.approval_id);
    const chapter = this.#chapter(fields.turn_id);
    const name = `approval ${request}`;
    if (chapter.places.has(name)) return;
    const body = fieldsOf(fields.body) ?? {};
    const kind = textIn(fields.kind);
    const changes = changesIn(body.changes);
    this.#put(chapter, name, {
      kind: "approval",
      request,
      subject: kind === "command" ? "command" : kind === "file_change" ? "fileChange" : "other",
      text: approvalText(body, kind),
      changes,
      decisions: texts(fields.decisions).map(camel),
      decided: null,
      by: "",
      seq,
      expires: typeof fields.expires === "number" ? fields.expires * 1000 + this.#skew : null,
    });
    chapter.approvals.add(chapter.places.get(name)!);
    chapter.open ||= chapter === this.#current;
  }

  #answered(fields: Fields): void {
    const request = textIn(fields.approval_id);
    const decided = camel(textIn(fields.decision));
    const by = textIn(fields.by);
    this.#settled.set(request, { decided, by });
    const chapter = this.#chapters.findLast((one) => one.places.has(`approval ${request}`));
    if (chapter) this.#decide(chapter, chapter.places.get(`approval ${request}`)!, decided, by);
  }

  /** @param decided "" if nobody told us how. */
  #decide(chapter: Chapter, at: number, decided: string, by: string): void {
    chapter.approvals.delete(at);
    chapter.store.list.patch<Approval>(at, { decided, by });
    this.#touched.add(chapter);
  }
}

const WRITTEN = { refusal: "", seams: [], leaked: false, choice: 0 } as const;

/** An input that the session itself carries out; one that begins with a path is for the agent. */
const isSlash = (prompt: string): boolean => /^\s*\/\w+(\s|$)/.test(prompt);

export function stateIn(value: unknown): CodingState {
  const told = textIn(value) as CodingState;
  return STATES.includes(told) ? told : "unknown";
}

const texts = (value: unknown): readonly string[] => listIn(value).filter((one) => typeof one === "string");

const camel = (word: string): string => word.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

function stepIn(value: unknown): PlanStep {
  const { step, status } = fieldsOf(value) ?? {};
  const isNow = status === "in_progress";
  return { step: textIn(step), status: status === "completed" ? "completed" : isNow ? "inProgress" : "pending" };
}

function commandIn(body: Fields, phase: string, old: Item | null): Bare<Extract<Item, { kind: "commandExecution" }>> {
  const before = old?.kind === "commandExecution" ? old : null;
  const said = before?.output ?? "";
  const whole = textIn(body.output);
  // What was cut for the sake of its length is less than what has been told of it already.
  const output = phase === "delta" ? said + textIn(body.text) : whole.length > said.length ? whole : said || whole;
  const isOver = phase === "completed";
  return {
    kind: "commandExecution",
    command: textIn(body.command) || (before?.command ?? ""),
    cwd: textIn(body.cwd) || (before?.cwd ?? ""),
    output: output.slice(-LONGEST_OUTPUT),
    exitCode: Number.isInteger(body.exit_code) ? (body.exit_code as number) : null,
    state: textIn(body.status) === "declined" ? "declined" : isOver ? "done" : "open",
    tookMs: countIn(body.duration_ms),
  };
}

function changesIn(value: unknown): FileChange["changes"] {
  return listIn(value).map((entry) => {
    const fields = fieldsOf(entry) ?? {};
    const path = textIn(fields.path);
    const told = textIn(fields.change) || textIn(fields.kind);
    const change = told === "add" || told === "delete" ? told : "update";
    const moved = textIn(fields.moved_to);
    return { path: moved ? `${path} → ${moved}` : path, change, diff: diffOf(path, change, textIn(fields.diff)) };
  });
}

/** Agents tell a new or deleted file by its content, and hunks without the names of the file. */
function diffOf(path: string, change: string, text: string): string {
  if (text === "" || /^(diff|---) /m.test(text)) return text;
  if (change !== "add" && change !== "delete") return `--- a/${path}\n+++ b/${path}\n${text}`;
  const lines = text.replace(/\n$/, "").split("\n");
  const isNew = change === "add";
  const names = isNew ? `--- /dev/null\n+++ b/${path}` : `--- a/${path}\n+++ /dev/null`;
  const range = isNew ? `-0,0 +1,${lines.length}` : `-1,${lines.length} +0,0`;
  return `${names}\n@@ ${range} @@\n${lines.map((line) => `${isNew ? "+" : "-"}${line}\n`).join("")}`;
}

/** The whole of what is asked for, but for changes of files. */
function approvalText(body: Fields, kind: string): string {
  const known = [textIn(body.command), textIn(body.cwd) && `in ${textIn(body.cwd)}`, textIn(body.reason)];
  if (body.grant_root !== undefined) known.push(`grants the folder ${textIn(body.grant_root)}`);
  const words = known.filter(Boolean).join("\n");
  if (body.truncated === true) return `${words}\n(cut short)`;
  return kind === "command" || kind === "file_change" ? words : JSON.stringify(body, null, 2).slice(0, LONGEST_RAW);
}
