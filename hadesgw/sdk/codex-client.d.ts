/** Coding sessions of a hadesgw gateway; see docs/sessions.md for the messages. */

export interface ClientOptions {
  /** The gateway, such as "http://localhost:8082"; the page's own origin if not said. */
  url?: string;
  /** A client's token. It is traded for a single-use ticket and never stands in an address. */
  key?: string;
  /** A session's id; the client's default session if not said. */
  session?: string;
  /** Milliseconds that `ask` waits for a whole reply; 0 for ever. Default 30000. */
  timeout?: number;
  /** The least milliseconds between two inputs of `ask`. Default 100. */
  throttle?: number;
  /** Whether to come back after the connection was lost. Default true. */
  reconnect?: boolean;
  /** In place of the platform's own, as Node before 22 has no WebSocket. */
  fetch?: typeof fetch;
  WebSocket?: typeof WebSocket;
}

export interface SessionStatus {
  active: boolean;
  session_id: string | null;
  timestamp: number;
  state?: "idle" | "starting" | "ready" | "in_turn" | "waiting_for_approval" | "stopping" | "gone";
  workspace?: string;
  engine?: string;
  model?: string;
  thread_id?: string | null;
  reason?: string | null;
}

export interface ApprovalRequest {
  approval_id: string;
  turn_id: string | null;
  kind: "command" | "file_change";
  body: Record<string, unknown>;
  decisions: Decision[];
  expires: number;
}

export type Decision = "accept" | "accept_for_session" | "decline" | "cancel";

export interface Message {
  type: string;
  content?: unknown;
  seq?: number;
  code?: string;
}

/** What a listener of each type is told; other types carry what docs/sessions.md says. */
export interface Contents {
  open: undefined;
  close: { code: number; reason: string };
  output: string;
  error: string;
  warning: string;
  active_files: string[];
  session_status: SessionStatus;
  approval_request: ApprovalRequest;
  diff: { turn_id: string | null; diff: string; truncated: boolean };
}

export declare class CodexError extends Error {
  constructor(message: string, code: string, output?: string);
  /** "timeout", "aborted", "unreachable", "closed", "ended", "gap", "failed", "interrupted", or the gateway's own word. */
  readonly code: string;
  /** What of the reply had come by then. */
  readonly output: string;
}

export declare class CodexClient {
  constructor(options?: ClientOptions);
  readonly state: "closed" | "connecting" | "open" | "waiting";
  readonly status: SessionStatus | null;
  readonly files: string[];
  on<T extends keyof Contents>(type: T, listener: (content: Contents[T], message?: Message) => void): () => void;
  on(type: string, listener: (content: any, message?: Message) => void): () => void;
  onOutput(listener: (text: string) => void): () => void;
  onError(listener: (text: string) => void): () => void;
  onFilesUpdated(listener: (files: string[]) => void): () => void;
  onSessionStatus(listener: (status: SessionStatus) => void): () => void;
  /** Sends an input and forgets it; false when nobody is connected. */
  sendCodeRequest(text: string): boolean;
  /** Sends an input when its turn comes, and gives the whole reply; rejects with a CodexError. */
  ask(text: string, options?: { timeout?: number; signal?: AbortSignal }): Promise<string>;
  steer(text: string): boolean;
  interrupt(): boolean;
  /** While nobody listens to "approval_request", what is asked for is declined. */
  approve(approvalId: string, decision: Decision): boolean;
  getStatus(): Promise<Record<string, any>>;
  start(options?: { workspace?: string; engine?: string; model?: string; restart?: boolean; new?: boolean }): Promise<Record<string, any>>;
  stop(): Promise<Record<string, any>>;
  connect(): void;
  /** Hangs up; the session goes on. */
  close(): void;
}

export declare class CodexSessionManager {
  constructor(options?: ClientOptions);
  readonly activeSession: string | null;
  ensureSession(): Promise<string>;
  sendRequest(text: string): Promise<Record<string, any>>;
  /** Stops the session, unless a request is on its way; whether it did. */
  releaseSession(): Promise<boolean>;
}

/** Answers each "codex-code-request" on `target` by exactly one "codex-response"; returns how to stop. */
export declare function installEventBridge(
  client: CodexClient,
  options?: { target?: EventTarget; timeout?: number },
): () => void;
