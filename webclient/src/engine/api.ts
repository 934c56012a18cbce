// What the page may ask of the engine. All that changes is a signal; a signal's value is never altered in place, so a
// component that reads it is painted anew exactly when it must be. While an answer streams, signals change at most once a
// frame of the screen, however many deltas came.

import type { ReadonlySignal, Signal } from "@preact/signals-core";
import type {
  Attempt,
  ConnectionState,
  Countdown,
  EngineKind,
  Frame,
  GatewayConfig,
  Item,
  ItemKind,
  Json,
  KeyPlace,
  Settings,
  Thread,
  TurnState,
  Usage,
} from "../model";
import type { Coding } from "./codex/api";

export interface Engine {
  readonly settings: SettingsStore;
  readonly key: KeyStore;
  readonly connection: Connection;
  readonly sessions: Sessions;
  readonly records: Records;
  readonly coding: CodingAccess;
  /** Reads what is kept and asks the gateway how it is. Signals have usable values before that. */
  boot(): Promise<void>;
  /** Paints everything that has come in by now, instead of waiting for the next frame of the screen. */
  flush(): void;
  /** Writes what is not written yet and stops all timers: for tests, and for a page that is left. */
  close(): Promise<void>;
}

/** The part of the engine that speaks with coding sessions is loaded when it is first wanted. */
export interface CodingAccess {
  /** The session that this tab showed last; null if it showed none. */
  shown(): string | null;
  load(): Promise<Coding>;
}

// --------------------------------------------------------------------------------------------------------- settings

export interface SettingsStore {
  readonly value: ReadonlySignal<Settings>;
  /** What is wrong with them now; a wrong field is kept as typed and not used. */
  readonly problems: ReadonlySignal<readonly SettingsProblem[]>;
  change(patch: Partial<Settings>): void;
  reset(): void;
}

export interface SettingsProblem {
  readonly field: keyof Settings | `sampling.${keyof Settings["sampling"] & string}`;
  readonly problem: "notAnAddress" | "notAHeaderName" | "outOfRange" | "notAWholeNumber" | "badTools";
  /** For numbers. */
  readonly least?: number;
  readonly most?: number;
  readonly tools?: ToolsProblem;
}

export type ToolsProblem =
  /** No JSON; `at` is the character where it ceases to be. */
  | { readonly kind: "notJson"; readonly at: number }
  | { readonly kind: "notAList" }
  | {
      readonly kind: "badTool";
      readonly index: number;
      readonly fault: "notAnObject" | "notAFunction" | "badName" | "duplicateName" | "badParameters" | "badDescription";
    }
  | { readonly kind: "tooMany"; readonly most: number };

/** A tool as Chat Completions has it; Responses' flat form is accepted in the editor and turned into this. */
export interface ToolDefinition {
  readonly type: "function";
  readonly function: {
    readonly name: string;
    readonly description?: string;
    readonly parameters?: { readonly [key: string]: Json };
    readonly strict?: boolean;
  };
}

/** The key itself cannot be read from here: it goes into a header, and nowhere else. */
export interface KeyStore {
  readonly place: ReadonlySignal<KeyPlace>;
  /** When it was stored, for a word on rotating it. */
  readonly since: ReadonlySignal<number | null>;
  /** False if it cannot be a header's value: empty, or with blanks, or beyond ASCII. */
  keep(key: string, place: "tab" | "browser"): boolean;
  /** Moves it between tab and browser. */
  move(place: "tab" | "browser"): void;
  forget(): void;
}

// ------------------------------------------------------------------------------------------------------- connection

export interface Connection {
  readonly state: ReadonlySignal<ConnectionState>;
  readonly config: ReadonlySignal<GatewayConfig>;
  /** Names from `/v1/models`; empty until they were read. */
  readonly models: ReadonlySignal<readonly string[]>;
  /** The gateway serves a newer page than this one. */
  readonly outdated: ReadonlySignal<boolean>;
  /** Whether the page's own policy lets it call the base address of the settings. */
  readonly reachable: ReadonlySignal<boolean>;
  /** Asks at once instead of at the next try. */
  tryNow(): void;
}

// --------------------------------------------------------------------------------------------------------- sessions

export interface Sessions {
  /** All of them, the one last used first; archived ones too. */
  readonly list: ReadonlySignal<readonly Thread[]>;
  readonly current: ReadonlySignal<ThreadView | null>;
  /** Whether what is kept has been read. */
  readonly ready: ReadonlySignal<boolean>;
  /** False if the browser keeps nothing for us: sessions end with the page. */
  readonly durable: ReadonlySignal<boolean>;
  /** A new one; it is kept from its first prompt on. */
  create(engine?: EngineKind): ThreadView;
  /** Shows it; null if there is none of that id. */
  open(id: string): Promise<ThreadView | null>;
  /** These three give false, and do nothing, if another tab has it. */
  rename(id: string, title: string): Promise<boolean>;
  archive(id: string, archived: boolean): Promise<boolean>;
  remove(id: string): Promise<boolean>;
  /** Asks the tab that has it to let this one write; it does unless an answer is coming in there. */
  take(id: string): void;
  /**
   * Searches titles and everything said, newest first, at most 50. An empty query finds nothing. Payloads are shown masked
   * while the settings say so. Rejects if the part of the page that searches cannot be had.
   */
  search(query: string): Promise<readonly SearchHit[]>;
}

export interface SearchHit {
  readonly thread: string;
  readonly title: string;
  /** Null if the title was hit. */
  readonly turn: string | null;
  readonly before: string;
  readonly match: string;
  readonly after: string;
}

/** What is needed to show a conversation: of a session, or of a record that is replayed. */
export interface Transcript {
  readonly thread: ReadonlySignal<Thread>;
  /** The shown branch, from the beginning. */
  readonly turns: ReadonlySignal<readonly TurnView[]>;
}

export interface ThreadView extends Transcript {
  readonly id: string;
  /** An exchange is under way. */
  readonly busy: ReadonlySignal<boolean>;
  /** Another tab has it: what is done there is seen here, and nothing can be done here but to look. */
  readonly elsewhere: ReadonlySignal<boolean>;
  /** A retry that waits for its time, of the last turn. */
  readonly countdown: ReadonlySignal<Countdown | null>;
  /** What stands in the composer; survives reloads. */
  readonly draft: Signal<string>;
  /** What the last prompt took of the context, as far as the server said. */
  readonly usage: ReadonlySignal<Usage | null>;
  /** Bytes that the next request would have with this prompt, beside the gateway's limit. */
  measure(prompt: string): { readonly bytes: number; readonly limit: number | null };
  /** Rejects nothing: whatever goes wrong is the turn's state. Ignored while busy or if the prompt is blank. */
  send(prompt: string): void;
  /** Ends the exchange; the model server is told by the closed connection. */
  stop(): void;
  /** Asks again. If the turn has an answer, or part of one, that stays as a sibling. */
  retry(turn: string): void;
  /** Sends another prompt in place of the turn's; the old one stays as a sibling. */
  edit(turn: string, prompt: string): void;
  /** Lets the model go on from the text that is there, after a cut or at its length limit. */
  proceed(turn: string): void;
  /** Whether `proceed` can be done: the last turn has a partial answer and nothing runs. */
  canProceed(turn: string): boolean;
  /** Shows the branch of that turn. */
  show(turn: string): void;
  /** Answers a tool call by hand. When the last open call of the turn has its result, the model goes on. */
  answer(item: string, result: string, failed?: boolean): void;
  /** Gives up a retry that waits. */
  cancelCountdown(): void;
  /** "" is the default of the settings. */
  useModel(model: string): void;
  useEngine(engine: "chat" | "responses"): void;
}

export interface TurnView {
  readonly id: string;
  readonly parent: string | null;
  readonly created: number;
  readonly model: string;
  readonly state: ReadonlySignal<TurnState>;
  readonly usage: ReadonlySignal<Usage | null>;
  readonly items: ReadonlySignal<readonly ItemView[]>;
  readonly attempts: ReadonlySignal<readonly AttemptView[]>;
  /** It and its siblings, in order of time; `place` is its index in `ids`. */
  readonly siblings: ReadonlySignal<{ readonly ids: readonly string[]; readonly place: number }>;
}

export interface ItemView {
  readonly id: string;
  readonly kind: ItemKind;
  readonly item: ReadonlySignal<Item>;
}

export interface AttemptView {
  readonly id: string;
  readonly attempt: ReadonlySignal<Attempt>;
  /** How many frames there are; read it, then the frames. Null until `load` is through, for an attempt of the past. */
  readonly frames: ReadonlySignal<number | null>;
  /** Brings the frames and the request's body of an attempt of the past into memory. */
  load(): Promise<void>;
  frame(index: number): Frame;
  /** A frame's bytes as text; bytes that are no UTF-8 become U+FFFD. */
  frameText(index: number): string;
  /** A frame's bytes, as received. */
  frameBytes(index: number): Uint8Array;
  /** The whole body, as received: the frames joined. */
  body(): Uint8Array;
}

// ---------------------------------------------------------------------------------------------------------- records

export interface Records {
  /** A session as one file, to be opened again by `open`. Payloads are masked if `redacted`. Never has the key. */
  export(thread: string, options: { readonly redacted: boolean }): Promise<ExportedFile>;
  /** Reads a record. Nothing in it is trusted; nothing of it is sent or kept. */
  open(text: string): Promise<{ readonly replay: Replay } | { readonly problem: RecordProblem }>;
}

export interface ExportedFile {
  readonly name: string;
  readonly type: "application/json";
  readonly text: string;
}

export type RecordProblem =
  | { readonly kind: "tooLarge"; readonly bytes: number; readonly limit: number }
  | { readonly kind: "notJson" }
  | { readonly kind: "notARecord" }
  | { readonly kind: "otherVersion"; readonly version: string }
  /** `path` is the place in the file, as in `attempts[3].chunks[0].at`. */
  | { readonly kind: "badField"; readonly path: string };

/** A record that is played: its bytes go through the same readers as when they came, at their old pace. */
export interface Replay extends Transcript {
  readonly redacted: boolean;
  readonly durationMs: number;
  readonly positionMs: ReadonlySignal<number>;
  readonly playing: ReadonlySignal<boolean>;
  readonly speed: ReadonlySignal<number>;
  play(): void;
  pause(): void;
  /** 1 to 50. */
  setSpeed(speed: number): void;
  /** Shows everything up to there. Going back plays from the beginning, at once. */
  seek(positionMs: number): void;
  close(): void;
}
