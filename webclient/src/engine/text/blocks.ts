// Markdown that is being written, as a growing list of blocks. A chunk of its own: `markdown.ts` loads it.
// Blocks that cannot change any more are settled and never
// read again, so that a piece of text costs what its own neighbourhood costs, however long the answer has become.
//
// Later text can change the last block, and the one before it (a paragraph after a list may turn out to be its next entry):
// two are held back, and a line that is not whole settles nothing. An open code block is read line by line. Markup and definitions of link targets are plain text here:
// nothing of a model's text acts from afar.

import { Lexer, type MarkedOptions, type Token, Tokenizer, type Tokens } from "marked";
import { addressIn } from "./address";
import type { Block, BlockNode, InlineNode, ListEntry } from "./trees";

const HELD_BACK = 2;
/** Unsettled text longer than this is read anew only after it has grown by an eighth. */
const LONG_TAIL = 16_384;
/** A longer block is shown as it was written. */
const LONGEST_BLOCK = 50_000;
/** Marks of nesting in a row that no writer means, and that cost a parser its stack. */
const TOO_DEEP = /^(?:[ \t]*(?:>|[-+*]|\d+[.)])[ \t]*){40}/m;

class PlainTokenizer extends Tokenizer {
  override html(): undefined {}
  override tag(): undefined {}
  override def(): undefined {}
  override reflink(): undefined {}
}

function lex(text: string): Token[] {
  const options: MarkedOptions = { gfm: true, tokenizer: new PlainTokenizer() };
  return new Lexer(options).lex(text);
}

const literal = (text: string): BlockNode => ({ kind: "literal", text });

/** A part of the text that is one block; without a node, the blank lines between two. */
interface Part {
  readonly raw: string;
  readonly node: BlockNode | null;
  /** Set if it is a code block whose closing line has not come. */
  readonly fence: Fence | null;
}

interface Fence {
  readonly closing: RegExp;
  readonly indent: RegExp;
  readonly language: string;
}

const OPENING = /^( {0,3})(`{3,}|~{3,})([^\n]*)\n/;

function fenceIn(raw: string): Fence | null {
  const found = OPENING.exec(raw);
  if (!found) return null;
  const [, indent, marks, info] = found as unknown as [string, string, string, string];
  return {
    closing: new RegExp(`^ {0,3}${marks}[~\`]* *$`),
    indent: new RegExp(`^ {0,${indent.length}}`),
    language: languageOf(info),
  };
}

/** What stands in a fenced code block, and whether its closing line is there. */
function fenced(raw: string, fence: Fence): { readonly text: string; readonly closed: boolean } {
  const lines = raw.slice(raw.indexOf("\n") + 1).split("\n");
  const end = lines.findIndex((line) => fence.closing.test(line));
  const inside = end < 0 ? lines : lines.slice(0, end);
  if (end < 0 && inside.at(-1) === "") inside.pop();
  return { text: inside.map((line) => line.replace(fence.indent, "")).join("\n"), closed: end >= 0 };
}

function openFence(token: Token): Fence | null {
  const fence = token.type === "code" ? fenceIn(token.raw) : null;
  return fence && !fenced(token.raw, fence).closed ? fence : null;
}

const languageOf = (info: string): string => /^[^\s{:,]*/.exec(info.trim())![0].slice(0, 40).toLowerCase();

function partsOf(text: string): Part[] {
  if (TOO_DEEP.test(text)) return [{ raw: text, node: literal(text), fence: null }];
  try {
    return lex(text).map((token) => ({ raw: token.raw, node: blockOf(token), fence: openFence(token) }));
  } catch {
    return [{ raw: text, node: literal(text), fence: null }];
  }
}

/** Reads one document, which only grows. */
export class BlockReader {
  #read = 0;
  /** Text that is not settled, with line ends as LF. */
  #tail = "";
  readonly #settled: Block[] = [];
  #held: { readonly raw: string; readonly block: Block }[] = [];
  /** How much of the tail the held blocks stand for. */
  #known = 0;
  #fence: Fence | null = null;
  /** Whole lines of the open code block. */
  #code = "";
  #done = false;

  /** The blocks of `text`, which begins with what was read before. `done`: it is whole. The same block is the same object. */
  read(text: string, done: boolean): readonly Block[] {
    // What goes on after its end was settled too early.
    if (text.length < this.#read || (this.#done && (text.length > this.#read || !done))) this.#startAnew();
    let piece = text.slice(this.#read);
    if (piece === "" && done === this.#done) return this.#blocks();
    // A CR at the end may be half of a line's end.
    if (!done && piece.endsWith("\r")) piece = piece.slice(0, -1);
    this.#read += piece.length;
    this.#done = done;
    this.#tail += piece.includes("\r") ? piece.replace(/\r\n?/g, "\n") : piece;
    this.#advance();
    return this.#blocks();
  }

  #startAnew(): void {
    this.#read = 0;
    this.#tail = "";
    this.#settled.length = 0;
    this.#hold([]);
    this.#fence = null;
  }

  #blocks(): readonly Block[] {
    const blocks = [...this.#settled, ...this.#held.map(({ block }) => block)];
    const rest = this.#tail.slice(this.#known);
    if (!rest.trim()) return blocks;
    const node: BlockNode = { kind: "paragraph", children: [{ kind: "text", text: rest }] };
    return [...blocks, { id: blocks.length, settled: false, node }];
  }

  #advance(): void {
    if (this.#fence && !this.#readCode(this.#fence)) return;
    const grown = this.#tail.length - this.#known;
    if (!this.#done && this.#tail.length > LONG_TAIL && grown < this.#tail.length / 8) return;
    this.#settleLines();
    if (!this.#fence) this.#hold(this.#tail ? partsOf(this.#tail) : []);
  }

  /** Settles what whole lines have made sure: what is half a line says anything. */
  #settleLines(): void {
    const end = this.#done ? this.#tail.length : this.#tail.lastIndexOf("\n") + 1;
    if (end === 0 || (!this.#done && end <= this.#known)) return;
    const parts = partsOf(this.#tail.slice(0, end));
    const fence = this.#done ? null : (parts.at(-1)?.fence ?? null);
    const settled = this.#done ? parts.length : fence ? parts.length - 1 : heldFrom(parts);
    for (const part of parts.slice(0, settled)) this.#settle(part);
    if (fence) this.#open(fence);
  }

  #settle(part: Part): void {
    this.#tail = this.#tail.slice(part.raw.length);
    if (part.node) this.#settled.push(this.#block(part.raw, part.node, this.#settled.length, true));
  }

  #block(raw: string, node: BlockNode, id: number, settled: boolean): Block {
    const plain = raw.length > LONGEST_BLOCK && node.kind !== "code";
    return { id, settled, node: plain ? literal(raw) : node };
  }

  #hold(parts: readonly Part[]): void {
    const before = new Map(this.#held.map((held) => [held.block.id, held]));
    this.#held = [];
    this.#known = this.#tail.length;
    for (const { raw, node } of parts) {
      if (!node) continue;
      const id = this.#settled.length + this.#held.length;
      const old = before.get(id);
      this.#held.push(old?.raw === raw ? old : { raw, block: this.#block(raw, node, id, false) });
    }
  }

  #open(fence: Fence): void {
    this.#tail = this.#tail.slice(this.#tail.indexOf("\n") + 1);
    this.#fence = fence;
    this.#code = "";
    this.#advance();
  }

  /** Reads lines of the open code block; true if it is closed. */
  #readCode(fence: Fence): boolean {
    let start = 0;
    for (let end = this.#tail.indexOf("\n"); end >= 0; end = this.#tail.indexOf("\n", start)) {
      const line = this.#tail.slice(start, end);
      start = end + 1;
      if (fence.closing.test(line)) return this.#close(fence, start);
      this.#code += `${line.replace(fence.indent, "")}\n`;
    }
    this.#tail = this.#tail.slice(start);
    if (this.#done && fence.closing.test(this.#tail)) return this.#close(fence, this.#tail.length);
    const line = this.#tail.replace(fence.indent, "");
    if (this.#done) {
      this.#code += line && `${line}\n`;
      return this.#close(fence, this.#tail.length);
    }
    const node: BlockNode = { kind: "code", language: fence.language, text: this.#code + line, open: true };
    this.#held = [{ raw: "", block: { id: this.#settled.length, settled: false, node } }];
    this.#known = this.#tail.length;
    return false;
  }

  #close(fence: Fence, end: number): boolean {
    const node: BlockNode = { kind: "code", language: fence.language, text: this.#code.slice(0, -1), open: false };
    this.#settled.push({ id: this.#settled.length, settled: true, node });
    this.#tail = this.#tail.slice(end);
    this.#fence = null;
    this.#held = [];
    this.#known = 0;
    return true;
  }
}

/** Index of the first part that later text may still change. */
function heldFrom(parts: readonly Part[]): number {
  let held = 0;
  for (let index = parts.length - 1; index >= 0; index -= 1) {
    if (parts[index]!.node) held += 1;
    if (held === HELD_BACK) return index;
  }
  return 0;
}

/** The blocks of a whole text. */
export function markdown(text: string): readonly Block[] {
  return new BlockReader().read(text, true);
}

// ------------------------------------------------------------------------------------------------- tokens to trees

function blockOf(token: Token): BlockNode | null {
  switch (token.type) {
    case "space":
      return null;
    case "paragraph":
    case "text":
      return { kind: "paragraph", children: inlines(token as Tokens.Paragraph) };
    case "heading": {
      const depth = Math.min(6, Math.max(1, (token as Tokens.Heading).depth)) as 1;
      return { kind: "heading", depth, children: inlines(token as Tokens.Heading) };
    }
    case "code": {
      const fence = fenceIn(token.raw);
      const text = fence ? fenced(token.raw, fence).text : (token as Tokens.Code).text;
      return { kind: "code", language: fence?.language ?? "", text, open: false };
    }
    case "blockquote":
      return { kind: "quote", children: blocks((token as Tokens.Blockquote).tokens) };
    case "list": {
      const list = token as Tokens.List;
      const start = typeof list.start === "number" ? list.start : 1;
      return { kind: "list", ordered: list.ordered, start, entries: list.items.map(entryOf) };
    }
    case "table": {
      const table = token as Tokens.Table;
      return {
        kind: "table",
        align: table.align,
        head: table.header.map(inlines),
        rows: table.rows.map((row) => row.map(inlines)),
      };
    }
    case "hr":
      return { kind: "rule" };
    default:
      return literal(token.raw);
  }
}

const blocks = (tokens: readonly Token[]): BlockNode[] => tokens.map(blockOf).filter((node) => node !== null);

function entryOf(item: Tokens.ListItem): ListEntry {
  const children = blocks(item.tokens.filter((token) => token.type !== "checkbox"));
  return { checked: item.task ? item.checked === true : null, children };
}

function inlines(of: { tokens?: Token[]; text?: string }): InlineNode[] {
  if (!of.tokens) return [{ kind: "text", text: characters(of.text ?? "") }];
  return joined(of.tokens.flatMap(inlineOf));
}

function inlineOf(token: Token): InlineNode[] {
  switch (token.type) {
    case "text":
      return token.tokens
        ? token.tokens.flatMap(inlineOf)
        : [{ kind: "text", text: characters((token as Tokens.Text).text) }];
    case "escape":
      return [{ kind: "text", text: (token as Tokens.Escape).text }];
    case "strong":
      return [{ kind: "strong", children: inlines(token as Tokens.Strong) }];
    case "em":
      return [{ kind: "emphasis", children: inlines(token as Tokens.Em) }];
    case "del":
      return [{ kind: "strike", children: inlines(token as Tokens.Del) }];
    case "codespan":
      return [{ kind: "code", text: (token as Tokens.Codespan).text }];
    case "br":
      return [{ kind: "break" }];
    case "link":
      return linkOf(token as Tokens.Link);
    case "image": {
      const image = token as Tokens.Image;
      return [{ kind: "image", alt: characters(image.text), address: image.href }];
    }
    case "checkbox":
      return [];
    default:
      return [{ kind: "text", text: token.raw }];
  }
}

/** A link if it leads where links may lead; else what was written. */
function linkOf(token: Tokens.Link): InlineNode[] {
  const href = characters(token.href);
  const children = inlines(token);
  if (/^#[\w.:-]*$/.test(href)) return [{ kind: "link", href, host: "", children }];
  const address =
    /^(?:https?:\/\/|mailto:)/i.test(href) && !/[\u0000-\u0020\u007f\\]/.test(href) ? addressIn(href) : null;
  if (!address) return [{ kind: "text", text: token.raw }];
  return [{ kind: "link", href: address.href, host: address.host, children }];
}

/** Neighbouring texts as one. */
function joined(nodes: readonly InlineNode[]): InlineNode[] {
  const found: InlineNode[] = [];
  for (const node of nodes) {
    const last = found.at(-1);
    if (node.kind === "text" && last?.kind === "text")
      found[found.length - 1] = { kind: "text", text: last.text + node.text };
    else found.push(node);
  }
  return found;
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  copy: "\u00a9",
  hellip: "\u2026",
  mdash: "\u2014",
  ndash: "\u2013",
  rarr: "\u2192",
  larr: "\u2190",
  times: "\u00d7",
};

/** Character references as the characters they mean; names that are not common stay as written. */
function characters(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w{2,6}));/g, (whole, decimal, hex, name) => {
    if (name) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name]! : whole;
    const code = decimal ? Number(decimal) : Number.parseInt(hex, 16);
    const valid = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
    return valid ? String.fromCodePoint(code) : "\ufffd";
  });
}
