// What the page may ask of coding sessions. They live in the gateway: what is here is a view of them, that is lost with
// the page and comes again with the next one. The protocol is docs/sessions.md.

import type { ReadonlySignal, Signal } from "@preact/signals-core";
import type { PlanStep } from "../../model";
import type { Transcript } from "../api";
import type { Fields } from "../json";

/** What a call brought, or why it did not: the gateway's words, and its word for programs; "unreachable" without an answer,
 * "absent" where the gateway has no coding sessions at all. */
export type Answer<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: string; readonly problem: string };

export interface CodingStatus {
  /** Why no session can be started, and what to do about it; null if one can. */
  readonly obstacle: string | null;
  readonly engine: string;
  readonly engines: readonly string[];
  /** The one that is meant where none is named; "" if there is none. */
  readonly workspace: string;
  readonly workspaces: readonly string[];
}

/** A row of the list of sessions. */
export interface CodingFacts {
  readonly id: string;
  readonly workspace: string;
  readonly engine: string;
  readonly state: CodingState;
  readonly turns: number;
  readonly created: number;
}

export type CodingState =
  | "idle"
  | "starting"
  | "ready"
  | "in_turn"
  | "waiting_for_approval"
  | "stopping"
  | "gone"
  | "unknown";

export interface CodingWish {
  readonly workspace: string;
  readonly engine: string;
  readonly model: string;
}

export interface Coding {
  status(): Promise<Answer<CodingStatus>>;
  sessions(): Promise<Answer<readonly CodingFacts[]>>;
  /** Starts a further session; its id. */
  start(wish: CodingWish): Promise<Answer<string>>;
  /** Watches a session; the page comes back to it when it is loaded again, until it is closed. */
  join(id: string): CodingView;
}

export type Link =
  | { readonly kind: "connecting" }
  | { readonly kind: "open" }
  /** The connection is lost, or did not come about. `next` is when it is tried again. */
  | { readonly kind: "waiting"; readonly attempt: number; readonly next: number; readonly problem: string }
  /** The gateway does not let us in; nothing is tried by itself. */
  | { readonly kind: "refused"; readonly problem: string }
  /** There is no such session any more. `reason` is the gateway's word; "" if it knows nothing of it. */
  | { readonly kind: "gone"; readonly reason: string };

export interface CodingStanding {
  readonly state: CodingState;
  readonly workspace: string;
  readonly engine: string;
  readonly model: string;
}

/** Sums over the session, as the agent counts. */
export interface CodingTokens {
  readonly input: number;
  readonly cached: number;
  readonly output: number;
  /** What one prompt may have; null if that is not told. */
  readonly context: number | null;
}

export interface CodingView extends Transcript {
  readonly id: string;
  readonly link: ReadonlySignal<Link>;
  readonly standing: ReadonlySignal<CodingStanding>;
  /** A turn runs. */
  readonly busy: ReadonlySignal<boolean>;
  /** Active files, all of them. */
  readonly files: ReadonlySignal<readonly string[]>;
  /** Of the last turn that had one. */
  readonly plan: ReadonlySignal<readonly PlanStep[]>;
  /** What the last turn that changed files has changed in all. */
  readonly diff: ReadonlySignal<string>;
  readonly tokens: ReadonlySignal<CodingTokens | null>;
  /** Items of approvals that wait, the oldest first. */
  readonly waiting: ReadonlySignal<readonly string[]>;
  /** The beginning is not kept any more. */
  readonly trimmed: ReadonlySignal<boolean>;
  /** What the gateway said of the last thing that could not be done; "" once something else is done. */
  readonly problem: ReadonlySignal<string>;
  readonly draft: Signal<string>;
  /** Inputs that the gateway has not acknowledged, in order. */
  readonly unheard: ReadonlySignal<readonly string[]>;
  /** An input, in a turn of its own. Said again after a break if the gateway has not told that it has it. */
  say(text: string): void;
  /** More for the turn that runs. False if nobody is connected. */
  steer(text: string): boolean;
  interrupt(): boolean;
  /** @param request the approval's own id. */
  decide(request: string, decision: string): boolean;
  /** Ends the session, for everybody. */
  stop(): Promise<Answer<Fields>>;
  /** Something of the session by HTTP: "files", "git/log" and so on. */
  look(path: string, query?: Readonly<Record<string, string>>): Promise<Answer<Fields>>;
  /** Connects now instead of at the next try. */
  retry(): void;
  /** Watches no more; the session goes on. */
  close(): void;
}
