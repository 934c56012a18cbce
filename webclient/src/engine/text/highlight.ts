// Code in colours, as a tree: comments, strings, numbers, words of the language, names that are defined or called. One
// regular expression a language reads it from end to end; it knows no grammar, for colours are to guide the eye and not
// to be right about every corner. A chunk of its own: load it with `import()`.

import type { Highlighted } from "./trees";

/** Longer code stays plain. */
const LONGEST = 50_000;

/** What a language has of each class; the first that fits at a place is taken. Groups within are not allowed. */
type Grammar = Readonly<
  Partial<Record<"comment" | "string" | "meta" | "attr" | "number" | "keyword" | "title", string>>
>;

const words = (list: string): string => `(?<![\\w.$-])(?:${list.replaceAll(" ", "|")})(?![\\w-])`;
/** Closed on the same line, or open to its end. */
const quoted = (mark: string): string => `${mark}(?:\\\\.|[^\\\\\\n${mark}])*${mark}?`;
const QUOTES = `${quoted('"')}|${quoted("'")}`;
const NUMBER = "(?<![\\w.])(?:0[xbo][\\da-f_]+|\\d[\\d_]*(?:\\.\\d+)?(?:e[+-]?\\d+)?)(?!\\w)";
const HASH = "(?<!\\S)#.*";
const SLASHES = "\\/\\/.*|\\/\\*[^]*?(?:\\*\\/|$(?![^]))";
const CALLED = "(?<![\\w.$])[A-Za-z_$][\\w$]*(?=\\()";

const braces = (list: string): Grammar => ({
  comment: SLASHES,
  string: `${QUOTES}|\`(?:\\\\[^]|[^\\\\\`])*\`?`,
  meta: "^[ \\t]*#\\w.*|@\\w+",
  number: NUMBER,
  keyword: words(list),
  title: CALLED,
});

const grammars: Readonly<Record<string, Grammar>> = {
  python: {
    comment: "#.*",
    string: `[rbfu]{0,2}(?:"""[^]*?(?:"""|$(?![^]))|'''[^]*?(?:'''|$(?![^]))|${QUOTES})`,
    meta: "^[ \\t]*@[\\w.]+|^>>> ?",
    number: NUMBER,
    keyword: words(
      "and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return try while with yield True False None self",
    ),
    title: CALLED,
  },
  javascript: braces(
    "abstract any as async await boolean break case catch class const constructor continue debugger default delete do else enum export extends false finally for from function get if implements import in instanceof interface keyof let namespace never new null number of package private protected public readonly return satisfies set static string super switch this throw true try type typeof undefined unknown var void while yield",
  ),
  c: braces(
    "auto bool break case catch char chan class const constexpr continue crate default defer delete do double else enum explicit extends extern false final float fn for func go goto if impl implements import in inline int interface let long loop map match mod mut namespace new nil null nullptr override package private protected pub public range return self short signed sizeof static struct super switch template this throw trait true try type typedef union unsafe unsigned use using var virtual void volatile where while",
  ),
  json: {
    attr: `${quoted('"')}(?=\\s*:)`,
    string: quoted('"'),
    comment: SLASHES,
    number: NUMBER,
    keyword: words("true false null"),
  },
  bash: {
    comment: HASH,
    string: `"(?:\\\\[^]|[^\\\\"])*"?|'[^']*'?`,
    attr: "\\$(?:\\w+|\\{[^}\\n]{0,200}\\}|[!?@#*$-])|(?<=\\s)--?[A-Za-z][\\w-]*",
    number: NUMBER,
    keyword: words(
      "if then else elif fi for while until do done in case esac function return exit export local set unset source alias cd echo printf read shift test trap exec sudo",
    ),
  },
  yaml: {
    comment: HASH,
    attr: "^[ \\t]*(?:- +)*[\\w./\"'-]+(?=:(?: |$))",
    string: QUOTES,
    meta: "^---.*|[&*!][\\w-]+",
    number: NUMBER,
    keyword: words("true false null yes no on off"),
  },
  ini: {
    comment: `${HASH}|^[ \\t]*;.*`,
    meta: "^[ \\t]*\\[.*\\]",
    attr: "^[ \\t]*[\\w.\"'-]+(?=[ \\t]*=)",
    string: QUOTES,
    number: NUMBER,
    keyword: words("true false"),
  },
  xml: {
    comment: "<!--[^]*?(?:-->|$(?![^]))",
    meta: "<[!?][^>]*>?",
    keyword: "<\\/?[\\w:.-]+|\\/?>",
    attr: "(?<![\\w:.@-])[\\w:.@-]+(?==[\"'])",
    string: "(?<==)(?:\"[^\"]*\"?|'[^']*'?)",
  },
  css: {
    comment: "\\/\\*[^]*?(?:\\*\\/|$(?![^]))",
    string: QUOTES,
    keyword: "@[\\w-]+|!important",
    attr: "(?<![\\w-])[\\w-]+(?=:\\s)",
    number: "#[\\da-f]{3,8}\\b|(?<![\\w-])-?\\d+(?:\\.\\d+)?(?:[a-z]+|%)?",
    title: "[.#][A-Za-z][\\w-]*",
  },
  sql: {
    comment: "--.*|\\/\\*[^]*?(?:\\*\\/|$(?![^]))",
    string: QUOTES,
    number: NUMBER,
    keyword: words(
      "select insert update delete from where join left right inner outer on group by order having limit offset values into create table index view drop alter add set and or not null is in as distinct union primary key references default begin commit rollback case when then else end with",
    ),
  },
  diff: { meta: "^(?:diff|index|---|\\+\\+\\+|@@).*", string: "^\\+.*", keyword: "^-.*" },
};

const aliases: Readonly<Record<string, string>> = {
  ...{ py: "python", py3: "python", pycon: "python", js: "javascript", jsx: "javascript", mjs: "javascript" },
  ...{ ts: "javascript", tsx: "javascript", typescript: "javascript", jsonl: "json", jsonc: "json", json5: "json" },
  ...{ sh: "bash", shell: "bash", zsh: "bash", console: "bash", shellsession: "bash", dockerfile: "bash" },
  ...{ yml: "yaml", toml: "ini", html: "xml", svg: "xml", patch: "diff", scss: "css", h: "c", cpp: "c", "c++": "c" },
  ...{ java: "c", go: "c", rust: "c", rs: "c", cs: "c", csharp: "c", kotlin: "c", swift: "c" },
};

/** What is spelt in capitals is meant as well. */
const NO_CASE = new Set(["sql", "xml", "css"]);
const made = new Map<string, RegExp>();

function readerOf(name: string): RegExp {
  const known = made.get(name);
  if (known) return known;
  const parts = Object.entries(grammars[name]!).map(([kind, pattern]) => `(?<${kind}>${pattern})`);
  const reader = new RegExp(parts.join("|"), NO_CASE.has(name) ? "gim" : "gm");
  made.set(name, reader);
  return reader;
}

/** The code in colours; null if the language is not known or there is too much of it. */
export function highlight(code: string, language: string): readonly Highlighted[] | null {
  const asked = language.toLowerCase();
  const name = Object.hasOwn(aliases, asked) ? aliases[asked]! : asked;
  if (code.length > LONGEST || !Object.hasOwn(grammars, name)) return null;
  const tree: Highlighted[] = [];
  let from = 0;
  for (const found of code.matchAll(readerOf(name))) {
    const [kind, text] = Object.entries(found.groups!).find(([, part]) => part !== undefined)!;
    if (!text) continue;
    if (found.index > from) tree.push(code.slice(from, found.index));
    tree.push({ classes: [`hljs-${kind}`], children: [text] });
    from = found.index + text.length;
  }
  if (from < code.length) tree.push(code.slice(from));
  return tree;
}
