// JSON that comes in pieces: after each piece, whether it is JSON up to here (RFC 8259), and where it ceased to be. The
// cost of a piece is its own length, however long the whole has become.

import type { ArgumentsVerdict } from "../model";

/** What a character is. `key` and `string` include quotation marks and escapes. */
export type JsonClass = "blank" | "mark" | "key" | "string" | "number" | "literal" | "broken";

/** States between characters; those of a number say what may follow. */
type State =
  | "value"
  | "firstEntry"
  | "firstKey"
  | "nextKey"
  | "colon"
  | "after"
  | "string"
  | "escape"
  | "unicode"
  | "literal"
  | "minus"
  | "zero"
  | "digits"
  | "point"
  | "fraction"
  | "exponent"
  | "exponentSign"
  | "exponentDigits"
  | "broken";

const LITERALS: Readonly<Record<string, string>> = { t: "true", f: "false", n: "null" };
const NUMBER_MAY_END: ReadonlySet<State> = new Set(["zero", "digits", "fraction", "exponentDigits"]);
type NumberPart = "zero" | "digit" | "point" | "exponent" | "sign" | "other";

/** How a number goes on (RFC 8259, 6). */
const NUMBERS: Readonly<Partial<Record<State, Readonly<Partial<Record<NumberPart, State>>>>>> = {
  minus: { zero: "zero", digit: "digits" },
  zero: { point: "point", exponent: "exponent" },
  digits: { zero: "digits", digit: "digits", point: "point", exponent: "exponent" },
  point: { zero: "fraction", digit: "fraction" },
  fraction: { zero: "fraction", digit: "fraction", exponent: "exponent" },
  exponent: { zero: "exponentDigits", digit: "exponentDigits", sign: "exponentSign" },
  exponentSign: { zero: "exponentDigits", digit: "exponentDigits" },
  exponentDigits: { zero: "exponentDigits", digit: "exponentDigits" },
};

function partOfNumber(char: string): NumberPart {
  if (char === "0") return "zero";
  if (isDigit(char)) return "digit";
  if (char === ".") return "point";
  if (char === "e" || char === "E") return "exponent";
  return char === "+" || char === "-" ? "sign" : "other";
}

const isDigit = (char: string): boolean => char >= "0" && char <= "9";
const isBlank = (char: string): boolean => char === " " || char === "\n" || char === "\r" || char === "\t";

export class JsonProgress {
  #state: State = "value";
  /** "{" or "[" for each that is open. */
  readonly #open: string[] = [];
  #asKey = false;
  /** What is still to come of a literal, or how many digits of an escape. */
  #rest = "";
  #hexDigits = 0;
  #length = 0;
  #brokenAt = -1;
  #first = "";

  /** Reads on. `each` is told of every character, with its class. */
  push(piece: string, each?: (char: string, kind: JsonClass) => void): void {
    for (let index = 0; index < piece.length; index += 1) {
      const char = piece[index]!;
      const kind = this.#take(char);
      if (kind === "broken" && this.#brokenAt < 0) this.#brokenAt = this.#length;
      if (this.#first === "" && kind !== "blank") this.#first = char;
      this.#length += 1;
      each?.(char, kind);
    }
  }

  get verdict(): ArgumentsVerdict {
    if (this.#brokenAt >= 0) return { kind: "broken", at: this.#brokenAt };
    if (this.#first === "") return { kind: "empty" };
    // A number at the top may always get another digit; so far it is whole.
    const whole = this.#open.length === 0 && (this.#state === "after" || NUMBER_MAY_END.has(this.#state));
    if (whole) return { kind: "complete", object: this.#first === "{" };
    return { kind: "prefix", depth: this.#open.length };
  }

  #take(char: string): JsonClass {
    switch (this.#state) {
      case "broken":
        return "broken";
      case "string":
        return this.#inString(char);
      case "escape":
        return this.#inEscape(char);
      case "unicode":
        if (!/[0-9a-fA-F]/.test(char)) return this.#break();
        this.#hexDigits -= 1;
        if (this.#hexDigits === 0) this.#state = "string";
        return this.#asKey ? "key" : "string";
      case "literal":
        if (char !== this.#rest[0]) return this.#break();
        this.#rest = this.#rest.slice(1);
        if (this.#rest === "") this.#state = "after";
        return "literal";
      case "value":
      case "firstEntry":
      case "firstKey":
      case "nextKey":
      case "colon":
      case "after":
        return isBlank(char) ? "blank" : this.#between(char);
      default:
        return this.#inNumber(char);
    }
  }

  #break(): JsonClass {
    this.#state = "broken";
    return "broken";
  }

  #inString(char: string): JsonClass {
    if (char < " ") return this.#break();
    if (char === "\\") this.#state = "escape";
    else if (char === '"') this.#state = this.#asKey ? "colon" : "after";
    return this.#asKey ? "key" : "string";
  }

  #inEscape(char: string): JsonClass {
    if (char === "u") {
      this.#state = "unicode";
      this.#hexDigits = 4;
    } else if ('"\\/bfnrt'.includes(char)) this.#state = "string";
    else return this.#break();
    return this.#asKey ? "key" : "string";
  }

  #between(char: string): JsonClass {
    const state = this.#state;
    if (state === "after") return this.#afterValue(char);
    if (state === "colon") {
      if (char !== ":") return this.#break();
      this.#state = "value";
      return "mark";
    }
    if (state === "firstKey" && char === "}") return this.#close();
    if (state === "firstKey" || state === "nextKey") {
      if (char !== '"') return this.#break();
      this.#asKey = true;
      this.#state = "string";
      return "key";
    }
    if (state === "firstEntry" && char === "]") return this.#close();
    return this.#value(char);
  }

  #value(char: string): JsonClass {
    if (char === "{" || char === "[") {
      this.#open.push(char);
      this.#state = char === "{" ? "firstKey" : "firstEntry";
      return "mark";
    }
    if (char === '"') {
      this.#asKey = false;
      this.#state = "string";
      return "string";
    }
    const literal = LITERALS[char];
    if (literal) {
      this.#rest = literal.slice(1);
      this.#state = "literal";
      return "literal";
    }
    if (char === "-") this.#state = "minus";
    else if (char === "0") this.#state = "zero";
    else if (isDigit(char)) this.#state = "digits";
    else return this.#break();
    return "number";
  }

  #afterValue(char: string): JsonClass {
    const inside = this.#open.at(-1);
    if (char === "," && inside) {
      this.#state = inside === "{" ? "nextKey" : "value";
      return "mark";
    }
    if ((char === "}" && inside === "{") || (char === "]" && inside === "[")) return this.#close();
    return this.#break();
  }

  #close(): JsonClass {
    this.#open.pop();
    this.#state = "after";
    return "mark";
  }

  #inNumber(char: string): JsonClass {
    const next = NUMBERS[this.#state]?.[partOfNumber(char)];
    if (next) {
      this.#state = next;
      return "number";
    }
    if (!NUMBER_MAY_END.has(this.#state)) return this.#break();
    this.#state = "after";
    return isBlank(char) ? "blank" : this.#afterValue(char);
  }
}

/** The verdict on a whole text. */
export function judge(text: string): ArgumentsVerdict {
  const progress = new JsonProgress();
  progress.push(text);
  return progress.verdict;
}

/** The value, or undefined if it is no JSON. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export type Fields = { readonly [key: string]: unknown };

/** The value if it is an object, and no list. */
export function fieldsOf(value: unknown): Fields | null {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

export const textIn = (value: unknown): string => (typeof value === "string" ? value : "");
export const listIn = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
/** The number if it is one that counts something. */
export const countIn = (value: unknown): number | null =>
  typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : null;
