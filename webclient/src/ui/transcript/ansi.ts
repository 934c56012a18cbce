// The colours of a terminal's output (ECMA-48, SGR), as classes. Whatever else escape codes ask for is dropped.

export interface Piece {
  readonly text: string;
  readonly classes: string;
}

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const STYLES: Readonly<Record<number, string>> = { 1: "bold", 2: "dim", 3: "italic", 4: "underline" };
/** Control sequences; strings for the terminal's title and the like; other escapes of two characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
const ESCAPE = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const CONTROL = /\r(?=\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

interface Look {
  readonly styles: readonly string[];
  readonly ink: string;
  readonly paper: string;
}

const PLAIN: Look = { styles: [], ink: "", paper: "" };

/** The text in pieces of one look each; joined they are the text without its escape codes. */
export function pieces_of(text: string): Piece[] {
  const pieces: Piece[] = [];
  let look = PLAIN;
  let from = 0;
  const add = (end: number): void => {
    const part = text.slice(from, end).replace(CONTROL, "");
    if (part) pieces.push({ text: part, classes: [look.ink, look.paper, ...look.styles].filter(Boolean).join(" ") });
  };
  for (const escape of text.matchAll(ESCAPE)) {
    add(escape.index);
    from = escape.index + escape[0].length;
    if (escape[2] === "m") look = changed(look, (escape[1] ?? "").split(/[;:]/).map(Number));
  }
  add(text.length);
  return pieces;
}

function changed(look: Look, codes: readonly number[]): Look {
  let { styles, ink, paper } = look;
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at]!;
    const style = STYLES[code];
    if (code === 0) ({ styles, ink, paper } = PLAIN);
    else if (style) styles = [...styles.filter((one) => one !== style), style];
    else if (code >= 22 && code <= 24) styles = styles.filter((one) => !undone(code).includes(one));
    else if (code === 39) ink = "";
    else if (code === 49) paper = "";
    else if (code === 38 || code === 48) {
      // A colour by number or by parts: the page has none of these, but must read past them.
      at += codes[at + 1] === 5 ? 2 : 4;
    } else if (colour(code, 30)) ink = colour(code, 30);
    else if (colour(code, 40)) paper = `${colour(code, 40)}-bg`;
  }
  return { styles, ink, paper };
}

const undone = (code: number): readonly string[] =>
  code === 22 ? ["bold", "dim"] : code === 23 ? ["italic"] : ["underline"];

/** The class of a colour; "" if the code is none. The bright ones are 60 further up. */
function colour(code: number, base: 30 | 40): string {
  const name = NAMES[code - base];
  const bright = NAMES[code - base - 60];
  return name ? `ansi-${name}` : bright ? `ansi-bright-${bright}` : "";
}
