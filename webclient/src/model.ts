// What the client knows, as plain values: no signal, no class, no DOM. The engine makes them, the page shows them, the
// browser's database keeps them. Times named `at`, `created` or `until` are milliseconds since 1970; `..Ms` are spans.
//
// Thread -> Turn -> Item, in the words of Codex' app-server. A turn begins with what the user said and ends when the model
// has no more to say; a tool call answered in between and a continued answer stay in it. An attempt is one HTTP exchange
// of a turn. Turns form a tree: an answer that was asked for anew, or a prompt that was edited, is a sibling of the old
// one, and nothing is overwritten.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Which protocol a thread is held in: Chat Completions, Responses, or a coding session behind the gateway's WebSocket. */
export type EngineKind = "chat" | "responses" | "codex";

// ---------------------------------------------------------------------------------------------------------- threads

export interface Thread {
  readonly id: string;
  readonly engine: EngineKind;
  /** Sent as the session header with every attempt. */
  readonly sessionId: string;
  readonly title: string;
  /** Whether the user named it; until then the first prompt does. */
  readonly named: boolean;
  readonly created: number;
  readonly updated: number;
  readonly archived: boolean;
  /** The model asked for; "" is the default of the settings. */
  readonly model: string;
  /** The last turn of the branch that is shown; null while there is none. */
  readonly tip: string | null;
  readonly turns: number;
  /** How the shown branch stands, for the list of sessions. */
  readonly state: TurnState["kind"] | "empty";
}

export interface Turn {
  readonly id: string;
  readonly thread: string;
  /** The turn it follows; null at the beginning. Turns of one parent are siblings, in order of `created`. */
  readonly parent: string | null;
  /** The turn it is a retry or an edit of. */
  readonly instead: string | null;
  readonly created: number;
  readonly model: string;
  readonly state: TurnState;
  /** The first one is the user's message. */
  readonly items: readonly Item[];
  /** Attempts made in this turn, the last one is the present one. Items may name attempts of the turn they were taken from. */
  readonly attempts: readonly string[];
  /** Sum over the attempts that said it; null as long as none did. */
  readonly usage: Usage | null;
}

export type TurnState =
  /** Sent; no head of an answer yet. The gateway may be holding it in its queue. */
  | { readonly kind: "connecting"; readonly since: number }
  /** The answer has begun, without a word of the model yet. */
  | { readonly kind: "queued"; readonly since: number }
  | { readonly kind: "streaming"; readonly what: "reasoning" | "text" | "arguments"; readonly since: number }
  /** The model waits for results of these items (tool calls), by hand. */
  | { readonly kind: "tools"; readonly waiting: readonly string[] }
  /** A coding session runs a tool. */
  | { readonly kind: "running"; readonly item: string; readonly since: number }
  /** A coding session waits for the user's word on these items. */
  | { readonly kind: "approval"; readonly items: readonly string[] }
  /** `finish` is the model's own word: "stop", "length", ... */
  | { readonly kind: "done"; readonly finish: string | null }
  | { readonly kind: "stopped"; readonly received: Received }
  /** The stream broke off: what came stays. `failure` tells why, as far as is known. */
  | { readonly kind: "cut"; readonly received: Received; readonly failure: Failure }
  | { readonly kind: "failed"; readonly failure: Failure }
  /** A coding session's turn that is over before it was done; `dropped` has never begun, `lost` ended with the session. */
  | { readonly kind: "ended"; readonly how: "interrupted" | "failed" | "dropped" | "lost" };

/** How much of an answer was there when it ended. `tokens` only if the server counted them; deltas are no tokens. */
export interface Received {
  readonly deltas: number;
  readonly characters: number;
  readonly tokens: number | null;
}

// ------------------------------------------------------------------------------------------------------------ items

export type Item =
  | UserMessage
  | AgentMessage
  | Reasoning
  | ToolCall
  | MemoryEvent
  | CommandExecution
  | FileChange
  | Plan
  | Diff
  | Approval
  | Notice
  | RawItem;

export type ItemKind = Item["kind"];

interface ItemBase {
  readonly id: string;
  /** The attempt it came by; null for what the user said. */
  readonly attempt: string | null;
  readonly created: number;
}

/** How far an item has come. `broken`: it ended before it was whole. */
export type ItemState = "open" | "done" | "broken";

export interface UserMessage extends ItemBase {
  readonly kind: "userMessage";
  readonly text: string;
}

export interface AgentMessage extends ItemBase {
  readonly kind: "agentMessage";
  readonly text: string;
  readonly state: ItemState;
  /** What the model refused with, where its protocol has a place for that. */
  readonly refusal: string;
  /** Where a later attempt went on with it: the text before each of these places is older. */
  readonly seams: readonly number[];
  /** Markup of a tool call (`<tool_call>` and the like) stands in the text, although tools were offered. */
  readonly leaked: boolean;
  /** Which of several choices (`n`) it is. */
  readonly choice: number;
}

export interface Reasoning extends ItemBase {
  readonly kind: "reasoning";
  readonly text: string;
  readonly summary: string;
  readonly state: ItemState;
  /** From its first to its last delta. */
  readonly tookMs: number;
  readonly choice: number;
}

export interface ToolCall extends ItemBase {
  readonly kind: "toolCall";
  /** The server's id of the call; "" if it sent none. */
  readonly callId: string;
  readonly name: string;
  /** As the model wrote it, well formed or not. */
  readonly arguments: string;
  readonly verdict: ArgumentsVerdict;
  readonly state: ItemState;
  readonly flags: readonly ToolFlag[];
  /** Set if the name is that of a memory tool. */
  readonly memory: MemoryOperation | null;
  readonly result: ToolResult | null;
  readonly tookMs: number;
  readonly choice: number;
}

/** What the arguments are, each time some of them arrive. */
export type ArgumentsVerdict =
  /** Nothing but blanks yet. */
  | { readonly kind: "empty" }
  /** JSON up to here, with more to come; `depth` objects and lists are open. */
  | { readonly kind: "prefix"; readonly depth: number }
  /** One JSON value. `object` is false if it is no object, which a tool cannot take. */
  | { readonly kind: "complete"; readonly object: boolean }
  /** No JSON from character `at` on. */
  | { readonly kind: "broken"; readonly at: number };

export type ToolFlag =
  | "missingId"
  | "missingName"
  | "duplicateId"
  /** Its index is not the next one, or went back to an earlier call. */
  | "wrongIndex"
  /** The arguments are a JSON text that contains a JSON text. */
  | "doubleEncoded"
  /** The arguments came in one piece although the answer was streamed. */
  | "oneLump"
  /** No tool of that name was offered. */
  | "unknownTool"
  /** The arguments lack a required field, or have one of a wrong type. */
  | "schemaMismatch";

export interface ToolResult {
  readonly text: string;
  readonly at: number;
  /** Given by hand in the page, or by the coding session. */
  readonly by: "user" | "session";
  readonly failed: boolean;
}

export type MemoryTier = "core" | "fifo" | "recall" | "archival" | "heartbeat" | "message" | "other";

export interface MemoryOperation {
  readonly family: "hades" | "letta" | "custom";
  readonly tier: MemoryTier;
  readonly action: "read" | "write" | "evict" | "beat";
}

/** A warning or event of the memory's manager that was found in what was said. Calls of its tools are `toolCall`s. */
export interface MemoryEvent extends ItemBase {
  readonly kind: "memory";
  readonly event: "warning" | "flush" | "summarize" | "heartbeat" | "error";
  readonly message: string;
  readonly tokens: number | null;
  readonly limit: number | null;
  /** The item it was found in. */
  readonly source: string | null;
  /** Exactly what was found. */
  readonly raw: string;
}

export interface CommandExecution extends ItemBase {
  readonly kind: "commandExecution";
  readonly command: string;
  readonly cwd: string;
  readonly output: string;
  readonly exitCode: number | null;
  readonly state: ItemState | "declined";
  readonly tookMs: number | null;
}

export interface FileChange extends ItemBase {
  readonly kind: "fileChange";
  readonly changes: readonly { readonly path: string; readonly change: string; readonly diff: string }[];
  readonly state: ItemState | "declined";
}

export interface Plan extends ItemBase {
  readonly kind: "plan";
  readonly explanation: string;
  readonly steps: readonly PlanStep[];
}

export interface PlanStep {
  readonly step: string;
  readonly status: "pending" | "inProgress" | "completed";
}

/** A unified diff: a whole turn's, or one that the model wrote into its answer. */
export interface Diff extends ItemBase {
  readonly kind: "diff";
  readonly diff: string;
  readonly source: string | null;
}

export interface Approval extends ItemBase {
  readonly kind: "approval";
  readonly request: string;
  readonly subject: "command" | "fileChange" | "other";
  readonly text: string;
  readonly decisions: readonly string[];
  /** Null while it waits; "" if it is settled and nobody told how. */
  readonly decided: string | null;
  /** Who decided: "user", "timeout", "nobody", "agent". */
  readonly by?: string;
  readonly changes?: FileChange["changes"];
  /** When it is declined by itself. */
  readonly expires?: number | null;
  /** Of the message that asked. */
  readonly seq?: number;
}

/** What a coding session has to say besides: an error, a warning, or that some of what it told is lost. */
export interface Notice extends ItemBase {
  readonly kind: "notice";
  readonly level: "error" | "warning" | "gap";
  readonly text: string;
}

/** What no rule knows. It is shown as it came. */
export interface RawItem extends ItemBase {
  readonly kind: "raw";
  /** Name of the event, or the key that nobody knows. */
  readonly name: string;
  readonly data: string;
}

export interface Usage {
  readonly prompt: number;
  readonly completion: number;
  readonly total: number;
  readonly cached: number | null;
  readonly reasoning: number | null;
}

// --------------------------------------------------------------------------------------------------------- attempts

export type Header = readonly [name: string, value: string];

/** One exchange with the gateway. Its frames are kept apart: see `Frame`. */
export interface Attempt {
  /** Sent as the request id. */
  readonly id: string;
  readonly thread: string;
  readonly turn: string;
  readonly protocol: "chat" | "responses";
  /** The attempt it repeats. */
  readonly retries: string | null;
  /** The attempt whose partial answer it goes on with. */
  readonly continues: string | null;
  readonly request: SentRequest;
  readonly response: ReceivedHead | null;
  readonly echo: readonly Echo[];
  /** "events" is an event stream; "plain" is any other body; null before the head. */
  readonly framing: "events" | "plain" | null;
  readonly timings: Timings;
  readonly outcome: Outcome;
  readonly usage: Usage | null;
  /** The server's id of its answer. */
  readonly responseId: string;
  /** What the server says that it served. */
  readonly model: string;
  readonly finish: string | null;
  readonly bytes: number;
}

export interface SentRequest {
  readonly at: number;
  readonly method: "POST";
  readonly url: string;
  /** As sent, but for the key: that is `Bearer $HADES_KEY` from the start, and never kept. */
  readonly headers: readonly Header[];
  /** "" for an attempt of the past until it is loaded. */
  readonly body: string;
}

export interface ReceivedHead {
  readonly status: number;
  readonly statusText: string;
  /** Those that the browser may show us. */
  readonly headers: readonly Header[];
}

/** An id we sent beside the one that came back. */
export interface Echo {
  readonly header: string;
  readonly sent: string;
  readonly received: string | null;
  /** "pending" before the head; "missing" and "changed" are alerts. */
  readonly verdict: "pending" | "same" | "missing" | "changed";
}

/** Milliseconds since the request was sent; null for what has not happened. */
export interface Timings {
  readonly headMs: number | null;
  readonly firstByteMs: number | null;
  /** The first delta with text, reasoning or arguments. */
  readonly firstDeltaMs: number | null;
  readonly lastDeltaMs: number | null;
  readonly endMs: number | null;
  readonly deltas: number;
  readonly largestGapMs: number;
}

export type Outcome =
  | { readonly kind: "running" }
  | { readonly kind: "whole" }
  | { readonly kind: "stopped" }
  | { readonly kind: "failed"; readonly failure: Failure };

/** One event of a stream as it was received: bytes `start` to `end` of the attempt's body. */
export interface Frame {
  readonly index: number;
  /** "rest": bytes after the last blank line, which are no event. */
  readonly kind: "event" | "comment" | "rest";
  readonly start: number;
  readonly end: number;
  /** Milliseconds after the request was sent, when its last byte was there. */
  readonly atMs: number;
  /** "" if it has no name. */
  readonly event: string;
}

// --------------------------------------------------------------------------------------------------------- failures

interface FailureBase {
  readonly at: number;
  /** What the request was known by; "" where nothing was sent. */
  readonly requestId: string;
  readonly status: number | null;
  /** The server's own words, where it sent some. */
  readonly code: string;
  readonly type: string;
  readonly message: string;
  readonly param: string;
}

export type Failure = FailureBase &
  /** The browser says that it has no network. */
  (
    | { readonly kind: "offline" }
    /** No answer: the gateway is away, or the page may not call it. The browser does not tell which. */
    | { readonly kind: "unreachable" }
    | { readonly kind: "noKey" }
    /** 401. */
    | { readonly kind: "badKey" }
    /** 403. */
    | { readonly kind: "forbidden" }
    /** 413, or known before sending. */
    | { readonly kind: "tooLarge"; readonly bytes: number; readonly limit: number | null }
    /** 429. `until` is when the server says it may be tried again. */
    | { readonly kind: "rateLimited"; readonly retryAfter: number | null; readonly until: number | null }
    | { readonly kind: "overBudget"; readonly budget: Budget }
    /** Any other 4xx. */
    | { readonly kind: "refused" }
    /** 5xx. */
    | { readonly kind: "server"; readonly retryAfter: number | null; readonly until: number | null }
    /** An error event within a stream whose status was 200. */
    | { readonly kind: "inStream" }
    /** The connection broke off, or the stream ended without its last event. */
    | { readonly kind: "broken" }
    /** The page was closed or reloaded while it ran. */
    | { readonly kind: "reloaded" }
    /** An answer that is no JSON or event stream. */
    | { readonly kind: "unreadable" }
  );

/** Numbers of `X-Hades-Token-Budget`; null for those it does not say. */
export interface Budget {
  readonly prompt: number | null;
  readonly counted: string;
  readonly output: number | null;
  readonly contextTokens: number | null;
  readonly outputTokens: number | null;
}

/** A retry that goes out by itself, or that the user is waiting for. */
export interface Countdown {
  readonly turn: string;
  readonly until: number;
  /** Whether it is sent by itself at the end. */
  readonly automatic: boolean;
}

// ------------------------------------------------------------------------------------------------------- connection

export type ConnectionState =
  | { readonly kind: "unknown" }
  | { readonly kind: "checking" }
  | { readonly kind: "connected"; readonly latencyMs: number }
  | { readonly kind: "noKey" }
  | { readonly kind: "badKey"; readonly code: string; readonly message: string }
  /** The gateway answers, and cannot serve: it drains, or its model server is away. */
  | { readonly kind: "unready"; readonly status: number; readonly message: string }
  /** It answered before and does not any more. `next` is when it is asked again. */
  | { readonly kind: "reconnecting"; readonly attempt: number; readonly next: number }
  | { readonly kind: "offline" };

/** `/ui/config.json`: what the gateway tells its page. */
export interface GatewayConfig {
  readonly requestIdHeader: string;
  readonly sessionIdHeader: string;
  readonly defaultModel: string;
  /** Largest request body by path; "" is any other. */
  readonly bodyBytes: Readonly<Record<string, number>>;
  readonly contextTokens: number | null;
  readonly outputTokens: number | null;
  readonly requestsPerSecond: number | null;
  readonly maxInFlight: number | null;
  /** Origins besides the page's own that its policy lets it call. */
  readonly connect: readonly string[];
}

export interface Build {
  readonly version: string;
  readonly hash: string;
}

// --------------------------------------------------------------------------------------------------------- settings

/** All that the user can set, but for the key, which is never kept with it. */
export interface Settings {
  /** "" is the page's own origin. */
  readonly baseUrl: string;
  /** "" is what the gateway says. */
  readonly requestIdHeader: string;
  readonly sessionIdHeader: string;
  /** "" is what the gateway says. */
  readonly defaultModel: string;
  readonly engine: "chat" | "responses";
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly tools: boolean;
  /** A JSON list of tool definitions, as typed. */
  readonly toolDefinitions: string;
  readonly toolChoice: "auto" | "required" | "none";
  readonly parallelToolCalls: boolean;
  readonly systemPrompt: string;
  readonly sampling: Sampling;
  /** Payloads are shown as shapes until revealed, and exported so. */
  readonly redaction: boolean;
  readonly autoRetry: boolean;
  readonly telemetry: boolean;
  readonly theme: "system" | "light" | "dark";
  readonly shortcuts: boolean;
  /** Names of tools that are memory tools besides the known ones. */
  readonly memoryTools: readonly string[];
}

/** vLLM's names and defaults; null is "not sent", which leaves it to the server. */
export interface Sampling {
  readonly temperature: number | null;
  readonly maxTokens: number | null;
  readonly topP: number | null;
  readonly topK: number | null;
  readonly minP: number | null;
  readonly frequencyPenalty: number | null;
  readonly presencePenalty: number | null;
  readonly repetitionPenalty: number | null;
  readonly seed: number | null;
  readonly stop: readonly string[];
  readonly minTokens: number | null;
  readonly ignoreEos: boolean | null;
  readonly logprobs: number | null;
}

/** Where the key is: nowhere, in this tab until it closes, or in this browser. */
export type KeyPlace = "none" | "tab" | "browser";

// ------------------------------------------------------------------------------------------------------------ shapes

/** A value without its content. The hash is keyed by the page: equal values of one page have equal hashes. */
export type Shape =
  | { readonly kind: "null" }
  | { readonly kind: "boolean" }
  | { readonly kind: "number"; readonly hash: string }
  | { readonly kind: "string"; readonly length: number; readonly hash: string }
  | { readonly kind: "list"; readonly length: number; readonly entries: readonly Shape[] }
  | { readonly kind: "object"; readonly fields: readonly (readonly [key: string, shape: Shape])[] }
  /** Nested too deeply to be looked into. */
  | { readonly kind: "deep" }
  /** No JSON: a text of that length. */
  | { readonly kind: "text"; readonly length: number; readonly hash: string };
