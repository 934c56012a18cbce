// Streams as a model server might write them, and worse: every line end, comments, fields nobody knows, bytes that are no
// UTF-8; written in pieces that begin and end anywhere. The same seed makes the same streams.
import { delta, done, event } from "./stage";

export type Random = () => number;

/** Mulberry32: at least 0, less than 1. */
export function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const pick = <T>(random: Random, all: readonly T[]): T => all[Math.floor(random() * all.length)]!;
const words = ["gateway", "Grüße", "你好", "😀👩‍🚀", "e\u0301", "עברית", "`code`", "\n\n", "**bold**", "a < b && c", "data: x", "\\n"];
const text = (random: Random): string => Array.from({ length: 1 + Math.floor(random() * 6) }, () => pick(random, words)).join(" ");

const frames: readonly ((random: Random) => string | Uint8Array)[] = [
  (random) => delta({ content: text(random) }),
  (random) => delta({ content: text(random) }),
  (random) => delta({ reasoning: text(random) }),
  (random) => delta({ content: "x".repeat(Math.floor(random() * 3000)) }),
  () => ": keep-alive\n\n",
  () => ":\n\n",
  () => "\n",
  (random) => `id: ${Math.floor(random() * 9)}\nevent: chunk\nretry: 10\n${delta({ content: "named" })}`,
  (random) => `unknown: ${text(random).replace(/\n/g, " ")}\n\n`,
  () => event({ object: "something.else", value: [1, 2, 3] }),
  () => 'data: {"choices":\ndata: []}\n\n',
  () => "data\n\n",
  () => "data: {not json\n\n",
  () => Buffer.concat([Buffer.from('data: {"choices":[{"index":0,"delta":{"content":"'), Buffer.from([0xff, 0xc3, 0x28, 0xed, 0xa0, 0x80]), Buffer.from('"}}]}\n\n')]),
  () => event({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 } }),
];

/** One stream's bytes. */
export function stream(random: Random): Buffer {
  const body: (string | Uint8Array)[] = [delta({ role: "assistant", content: "" })];
  if (random() < 0.1) body.unshift("\ufeff");
  for (let left = Math.floor(random() * 20); left > 0; left -= 1) body.push(pick(random, frames)(random));
  body.push(delta({}, "stop"), done);
  const bytes = Buffer.concat(body.map((part) => Buffer.from(part)));
  const end = pick(random, ["\n", "\n", "\r\n", "\r"]);
  return end === "\n" ? bytes : Buffer.concat([...bytes].map((byte) => (byte === 10 ? Buffer.from(end) : Buffer.from([byte]))));
}

/** The same bytes in up to 12 pieces, cut anywhere. */
export function cut_up(bytes: Buffer, random: Random): Buffer[] {
  const cuts = Array.from({ length: Math.floor(random() * 12) }, () => Math.floor(random() * bytes.length)).sort((a, b) => a - b);
  return [...cuts, bytes.length].map((to, at) => bytes.subarray(cuts[at - 1] ?? 0, to)).filter((piece) => piece.length > 0);
}
