// Everything outside of the engine that it needs: time, chance, network, storage. Tests give others.

import { browserTabs, type Tabs } from "./tabs";

/** A clock whose two readings may differ: one can be set by its owner, one only rises. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Milliseconds that only rise, from wherever. */
  elapsed(): number;
  /** Calls once, after so many milliseconds; returns what cancels it. */
  after(ms: number, call: () => void): () => void;
}

export type Storage = Pick<globalThis.Storage, "getItem" | "setItem" | "removeItem">;

export interface Surroundings {
  readonly clock: Clock;
  /** At least 0, less than 1. */
  random(): number;
  uuid(): string;
  randomBytes(count: number): Uint8Array;
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Calls before the next frame of the screen; never while the page is hidden. */
  beforeFrame(call: () => void): void;
  /** Null where the browser keeps nothing for us. */
  readonly local: Storage | null;
  readonly tab: Storage | null;
  readonly indexedDB: IDBFactory | null;
  readonly tabs: Tabs;
  /** Address of the page. */
  address(): string;
  /** Replaces the address without a step in the history. */
  readdress(address: string): void;
  online(): boolean;
  /** Calls when the network comes or goes, the page is shown, hidden or left; returns what ends that. */
  watch(call: (what: "online" | "offline" | "shown" | "hidden" | "left") => void): () => void;
  /** Where telemetry goes if it is on: names and numbers, never payloads. */
  report(line: string): void;
}

/** A v4 UUID. `crypto.randomUUID` is there in secure contexts only; random bytes are there everywhere. */
function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** Reading the property already throws where the user forbids storage. */
function allowed<T>(read: () => T): T | null {
  try {
    return read() ?? null;
  } catch {
    return null;
  }
}

/** Those of the browser. */
export function browserSurroundings(): Surroundings {
  return {
    clock: {
      now: () => Date.now(),
      elapsed: () => performance.now(),
      after: (ms, call) => {
        const timer = setTimeout(call, ms);
        return () => clearTimeout(timer);
      },
    },
    random: () => Math.random(),
    uuid,
    randomBytes: (count) => crypto.getRandomValues(new Uint8Array(count)),
    fetch: (url, init) => fetch(url, init),
    beforeFrame: (call) => void requestAnimationFrame(call),
    local: allowed(() => localStorage),
    tab: allowed(() => sessionStorage),
    indexedDB: allowed(() => indexedDB),
    tabs: browserTabs(allowed(() => navigator.locks)),
    address: () => location.href,
    readdress: (address) => history.replaceState(history.state, "", address),
    online: () => navigator.onLine,
    watch: (call) => {
      const ending = new AbortController();
      const on = (target: EventTarget, event: string, what: () => Parameters<typeof call>[0]): void =>
        target.addEventListener(event, () => call(what()), { signal: ending.signal });
      on(window, "online", () => "online");
      on(window, "offline", () => "offline");
      on(window, "pagehide", () => "left");
      on(document, "visibilitychange", () => (document.visibilityState === "hidden" ? "hidden" : "shown"));
      return () => ending.abort();
    },
    report: (line) => console.info(line),
  };
}
