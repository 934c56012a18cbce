// The API key. It is in storage and in the header of requests; nothing here gives it to anybody else.

import { type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { KeyPlace } from "../model";
import type { KeyStore } from "./api";
import { fieldsOf, parsed } from "./json";
import { read, write } from "./settings";
import type { Clock, Storage } from "./surroundings";

const KEPT_AS = "hadesgw.key";
/** Visible ASCII: what can stand in a header, whatever reads it. */
const VALID = /^[\x21-\x7e]{1,512}$/;

/** The key in a link that `make demo` prints, and the address without it. */
export function keyInAddress(address: string): { readonly key: string | null; readonly address: string } {
  const url = new URL(address);
  const parts = url.hash.replace(/^#/, "").split("&");
  const found = parts.find((part) => part.startsWith("key="));
  if (found === undefined) return { key: null, address };
  url.hash = parts.filter((part) => part !== found).join("&");
  const bare = url.href.replace(/#$/, "");
  try {
    return { key: decodeURIComponent(found.slice(4)), address: bare };
  } catch {
    return { key: found.slice(4), address: bare };
  }
}

export class KeptKey implements KeyStore {
  readonly #local: Storage | null;
  readonly #tab: Storage | null;
  readonly #clock: Clock;
  #key: string | null = null;
  readonly #place: Signal<KeyPlace> = signal("none");
  readonly #since: Signal<number | null> = signal(null);

  constructor(local: Storage | null, tab: Storage | null, clock: Clock) {
    this.#local = local;
    this.#tab = tab;
    this.#clock = clock;
    // The tab's own goes before the browser's.
    if (!this.#recall(tab, "tab")) this.#recall(local, "browser");
  }

  get place(): ReadonlySignal<KeyPlace> {
    return this.#place;
  }

  get since(): ReadonlySignal<number | null> {
    return this.#since;
  }

  /** The value of `Authorization`, for requests to the gateway only; null without a key. */
  authorization(): string | null {
    return this.#key === null ? null : `Bearer ${this.#key}`;
  }

  keep(key: string, place: "tab" | "browser"): boolean {
    const bare = key.trim();
    if (!VALID.test(bare)) return false;
    this.#store(bare, place, this.#clock.now());
    return true;
  }

  move(place: "tab" | "browser"): void {
    if (this.#key !== null) this.#store(this.#key, place, this.#since.value ?? this.#clock.now());
  }

  forget(): void {
    this.#key = null;
    write(this.#local, KEPT_AS, null);
    write(this.#tab, KEPT_AS, null);
    this.#place.value = "none";
    this.#since.value = null;
  }

  #store(key: string, place: "tab" | "browser", since: number): void {
    this.#key = key;
    const kept = JSON.stringify({ key, since });
    write(this.#tab, KEPT_AS, place === "tab" ? kept : null);
    write(this.#local, KEPT_AS, place === "browser" ? kept : null);
    this.#place.value = place;
    this.#since.value = since;
  }

  #recall(storage: Storage | null, place: "tab" | "browser"): boolean {
    const kept = fieldsOf(parsed(read(storage, KEPT_AS) ?? ""));
    if (typeof kept?.key !== "string" || !VALID.test(kept.key)) return false;
    this.#key = kept.key;
    this.#place.value = place;
    this.#since.value = typeof kept.since === "number" ? kept.since : null;
    return true;
  }
}
