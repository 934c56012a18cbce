// Settings: what they are at first, what of them is wrong, and how they are kept. The key is not among them.

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import type { Sampling, Settings } from "../model";
import type { SettingsProblem, SettingsStore } from "./api";
import { fieldsOf, parsed } from "./json";
import { memoryNames } from "./memory";
import type { Storage } from "./surroundings";
import { addressIn } from "./text/address";
import { checkTools } from "./tools";

const KEPT_AS = "hadesgw.settings";

/** vLLM's own defaults hold for all that is null. */
const DEFAULT_SAMPLING: Sampling = {
  temperature: null,
  maxTokens: null,
  topP: null,
  topK: null,
  minP: null,
  frequencyPenalty: null,
  presencePenalty: null,
  repetitionPenalty: null,
  seed: null,
  stop: [],
  minTokens: null,
  ignoreEos: null,
  logprobs: null,
};

export const defaultSettings: Settings = {
  baseUrl: "",
  requestIdHeader: "",
  sessionIdHeader: "",
  defaultModel: "",
  engine: "chat",
  stream: true,
  includeUsage: true,
  tools: false,
  toolDefinitions: "",
  toolChoice: "auto",
  parallelToolCalls: true,
  systemPrompt: "",
  sampling: DEFAULT_SAMPLING,
  redaction: true,
  autoRetry: false,
  telemetry: false,
  theme: "system",
  shortcuts: true,
  memoryTools: [],
};

interface Range {
  readonly least: number;
  readonly most: number;
  readonly whole?: true;
  /** What vLLM takes when it is told nothing. */
  readonly server: number | null;
}

/** What numbers may be, and what vLLM takes for those that are not set. */
export const samplingRanges: Readonly<Record<Exclude<keyof Sampling, "stop" | "ignoreEos">, Range>> = {
  temperature: { least: 0, most: 2, server: 1 },
  maxTokens: { least: 1, most: 1_000_000, whole: true, server: null },
  topP: { least: 0.001, most: 1, server: 1 },
  topK: { least: -1, most: 1_000_000, whole: true, server: 0 },
  minP: { least: 0, most: 1, server: 0 },
  frequencyPenalty: { least: -2, most: 2, server: 0 },
  presencePenalty: { least: -2, most: 2, server: 0 },
  repetitionPenalty: { least: 0.01, most: 10, server: 1 },
  seed: { least: Number.MIN_SAFE_INTEGER, most: Number.MAX_SAFE_INTEGER, whole: true, server: null },
  minTokens: { least: 0, most: 1_000_000, whole: true, server: 0 },
  logprobs: { least: 0, most: 20, whole: true, server: null },
};

const MOST_STOPS = 16;

/** RFC 9110, 5.6.2. */
export const isFieldName = (text: string): boolean => /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/.test(text);

/** An http(s) address without path beyond `/v1`, credentials, query or fragment; null if it is none. */
export function gatewayAddress(text: string, page: string): string | null {
  if (text.trim() === "") return new URL(page).origin;
  const address = /^https?:\/\//i.test(text.trim()) ? addressIn(text.trim()) : null;
  if (!address || address.username || address.password || address.search || address.hash) return null;
  return address.origin + address.pathname.replace(/\/+$/, "").replace(/\/v1$/, "");
}

/** What is wrong with settings. @param page the address of the page. */
export function problemsOf(settings: Settings, page: string): SettingsProblem[] {
  const problems: SettingsProblem[] = [];
  if (gatewayAddress(settings.baseUrl, page) === null) problems.push({ field: "baseUrl", problem: "notAnAddress" });
  for (const field of ["requestIdHeader", "sessionIdHeader"] as const) {
    if (settings[field] !== "" && !isFieldName(settings[field])) problems.push({ field, problem: "notAHeaderName" });
  }
  const { problem } = checkTools(settings.toolDefinitions);
  if (problem) problems.push({ field: "toolDefinitions", problem: "badTools", tools: problem });
  for (const [name, range] of Object.entries(samplingRanges) as [keyof typeof samplingRanges, Range][]) {
    const problem = numberProblem(settings.sampling[name], range);
    if (problem) problems.push({ field: `sampling.${name}`, ...problem });
  }
  if (settings.sampling.stop.length > MOST_STOPS) {
    problems.push({ field: "sampling.stop", problem: "outOfRange", least: 0, most: MOST_STOPS });
  }
  return problems;
}

function numberProblem(value: number | null, { least, most, whole }: Range): Omit<SettingsProblem, "field"> | null {
  if (value === null) return null;
  if (!(value >= least && value <= most)) return { problem: "outOfRange", least, most };
  return whole && !Number.isInteger(value) ? { problem: "notAWholeNumber" } : null;
}

/** The settings without what is wrong in them: those that requests are made with. */
export function usable(settings: Settings, problems: readonly SettingsProblem[]): Settings {
  const wrong = problems.map(({ field }) => field);
  const sampling = Object.fromEntries(
    Object.entries(settings.sampling).map(([name, value]) => [
      name,
      wrong.includes(`sampling.${name as keyof Sampling}`) ? DEFAULT_SAMPLING[name as keyof Sampling] : value,
    ]),
  ) as unknown as Sampling;
  const rest = Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [
      name,
      wrong.includes(name as keyof Settings) ? defaultSettings[name as keyof Settings] : value,
    ]),
  ) as unknown as Settings;
  return { ...rest, sampling };
}

/** Whatever was kept, by whichever version of this page, made into settings: unknown and strange fields are dropped. */
export function settingsFrom(kept: unknown): Settings {
  const fields = fieldsOf(kept) ?? {};
  const found: Record<string, unknown> = { ...defaultSettings };
  for (const [name, usual] of Object.entries(defaultSettings)) {
    if (name !== "sampling" && name !== "memoryTools" && typeof fields[name] === typeof usual)
      found[name] = fields[name];
  }
  const among = (name: keyof Settings, words: readonly string[]): void => {
    if (!words.includes(found[name] as string)) found[name] = defaultSettings[name];
  };
  among("engine", ["chat", "responses"]);
  among("toolChoice", ["auto", "required", "none"]);
  among("theme", ["system", "light", "dark"]);
  found.memoryTools = memoryNames(fields.memoryTools);
  found.sampling = samplingFrom(fieldsOf(fields.sampling) ?? {});
  return found as unknown as Settings;
}

function samplingFrom(fields: Readonly<Record<string, unknown>>): Sampling {
  const found: Record<string, unknown> = { ...DEFAULT_SAMPLING };
  for (const name of Object.keys(samplingRanges)) if (typeof fields[name] === "number") found[name] = fields[name];
  if (typeof fields.ignoreEos === "boolean") found.ignoreEos = fields.ignoreEos;
  if (Array.isArray(fields.stop)) found.stop = fields.stop.filter((stop) => typeof stop === "string");
  return found as unknown as Sampling;
}

/** Settings that live in the browser's local storage. */
export class KeptSettings implements SettingsStore {
  readonly #storage: Storage | null;
  readonly #value: Signal<Settings>;
  readonly problems: ReadonlySignal<readonly SettingsProblem[]>;
  /** Without what is wrong: requests are made of these. */
  readonly inForce: ReadonlySignal<Settings>;

  constructor(storage: Storage | null, page: string) {
    this.#storage = storage;
    this.#value = signal(settingsFrom(parsed(read(storage, KEPT_AS) ?? "")));
    this.problems = computed(() => problemsOf(this.#value.value, page));
    this.inForce = computed(() => usable(this.#value.value, this.problems.value));
  }

  get value(): ReadonlySignal<Settings> {
    return this.#value;
  }

  change(patch: Partial<Settings>): void {
    this.#value.value = { ...this.#value.value, ...patch };
    write(this.#storage, KEPT_AS, JSON.stringify(this.#value.value));
  }

  reset(): void {
    this.#value.value = defaultSettings;
    write(this.#storage, KEPT_AS, null);
  }
}

/** Reading storage can fail at any time: the user may take it away. */
export function read(storage: Storage | null, name: string): string | null {
  try {
    return storage?.getItem(name) ?? null;
  } catch {
    return null;
  }
}

/** Null removes it. False if it could not be kept. */
export function write(storage: Storage | null, name: string, value: string | null): boolean {
  try {
    if (value === null) storage?.removeItem(name);
    else storage?.setItem(name, value);
    return storage !== null;
  } catch {
    return false;
  }
}
