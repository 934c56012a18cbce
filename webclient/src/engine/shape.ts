// Shapes: what can be told of a payload without telling what is in it. Hashes are keyed (HalfSipHash-2-4) with chance that
// never leaves the page, so that equal values can be seen to be equal and short ones cannot be found by trying.

import type { Json, Shape } from "../model";
import { parsed } from "./json";

/** Deeper values are not looked into: nobody could read them, and hostile ones would end the stack. */
const DEEPEST = 64;

const rotated = (word: number, bits: number): number => (word << bits) | (word >>> (32 - bits));

/** HalfSipHash-2-4 with 32 bits of output (Aumasson and Bernstein). */
export function keyedHash(key: readonly [number, number], bytes: Uint8Array): number {
  let v0 = key[0];
  let v1 = key[1];
  let v2 = 0x6c796765 ^ key[0];
  let v3 = 0x74656462 ^ key[1];
  const rounds = (count: number): void => {
    for (let round = 0; round < count; round += 1) {
      v0 = (v0 + v1) | 0;
      v1 = rotated(v1, 5) ^ v0;
      v0 = rotated(v0, 16);
      v2 = (v2 + v3) | 0;
      v3 = rotated(v3, 8) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = rotated(v3, 7) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = rotated(v1, 13) ^ v2;
      v2 = rotated(v2, 16);
    }
  };
  const absorb = (word: number): void => {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  };
  const whole = bytes.length & ~3;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 0; offset < whole; offset += 4) absorb(view.getInt32(offset, true));
  let last = bytes.length << 24;
  for (let offset = bytes.length - 1; offset >= whole; offset -= 1) last |= bytes[offset]! << (8 * (offset - whole));
  absorb(last);
  v2 ^= 0xff;
  rounds(4);
  return (v1 ^ v3) >>> 0;
}

export class Shaper {
  readonly #key: readonly [number, number];

  /** @param chance eight random bytes. */
  constructor(chance: Uint8Array) {
    const view = new DataView(chance.buffer, chance.byteOffset, 8);
    this.#key = [view.getInt32(0, true), view.getInt32(4, true)];
  }

  hash(text: string): string {
    return keyedHash(this.#key, new TextEncoder().encode(text)).toString(16).padStart(8, "0");
  }

  /** The shape of a text: of the JSON in it, or its length if it is none. */
  ofText(text: string): Shape {
    const value = parsed(text);
    return value === undefined ? { kind: "text", length: text.length, hash: this.hash(text) } : this.of(value as Json);
  }

  of(value: Json, depth = 0): Shape {
    if (value === null) return { kind: "null" };
    if (typeof value === "boolean") return { kind: "boolean" };
    if (typeof value === "number") return { kind: "number", hash: this.hash(String(value)) };
    if (typeof value === "string") return { kind: "string", length: value.length, hash: this.hash(value) };
    if (depth === DEEPEST) return { kind: "deep" };
    if (Array.isArray(value)) {
      return { kind: "list", length: value.length, entries: value.map((entry) => this.of(entry, depth + 1)) };
    }
    const fields = Object.entries(value).map(([key, inner]) => [key, this.of(inner, depth + 1)] as const);
    return { kind: "object", fields };
  }
}

const ofThisPage = new Shaper(crypto.getRandomValues(new Uint8Array(8)));

/** The shape of a text that may be JSON. */
export const shapeOf = (text: string): Shape => ofThisPage.ofText(text);
/** The shape of a value. */
export const shapeOfValue = (value: Json): Shape => ofThisPage.of(value);
