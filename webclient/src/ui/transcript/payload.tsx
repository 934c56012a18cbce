// A payload in one of its two views: its shape (keys, types, lengths, hashes), or its values. While it is masked its
// text is not in the page at all.

import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import { shapeOf, shapeOfValue } from "../../engine";
import type { Json, Shape } from "../../model";
import { count } from "../format";
import { QuietButton } from "../parts";

/** Of more entries than these the middle is left out until it is asked for: what was said last is looked for first. */
const FIRST_ENTRIES = 10;
const LAST_ENTRIES = 20;
const MOST_ENTRIES = 40;
const STEP_ENTRIES = 200;
/** Deeper values are not looked into while they are masked. */
const DEEPEST = 64;
/** Beyond this a tree of elements costs more than it shows. */
const MOST_TREE = 40_000;

export function parsed(text: string): { readonly json: Json } | null {
  try {
    return { json: JSON.parse(text) as Json };
  } catch {
    return null;
  }
}

const Line = ({ name, comma, children }: { name?: string; comma: boolean; children: ComponentChildren }) => (
  <div class="tree-line">
    {name !== undefined && (
      <>
        <span class="tree-key">{name}</span>
        <span class="tree-mark">: </span>
      </>
    )}
    {children}
    {comma && <span class="tree-mark">,</span>}
  </div>
);

/** So few leaves stand in one line. */
const FLAT = 4;
const is_leaf = (value: Json): boolean =>
  value === null || typeof value !== "object" || (Array.isArray(value) && value.length === 0);
const is_short_leaf = (value: Json): boolean =>
  (value === null || typeof value !== "object") && (typeof value !== "string" || value.length <= 40);

interface Branch {
  readonly name?: string;
  readonly comma: boolean;
  readonly value: Json;
}

interface ManyProps {
  name?: string;
  comma: boolean;
  value: readonly Json[] | { readonly [key: string]: Json };
  is_small: (value: Json) => boolean;
  /** What paints an entry; the price of a long list is that of the entries that are shown. */
  of: (branch: Branch) => ComponentChildren;
}

/** An object or a list: in one line if it is small, else a line for each entry. */
function Many({ name, comma, value, is_small, of }: ManyProps) {
  const [asked, set_asked] = useState(0);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const names = Array.isArray(value) ? null : Object.keys(value);
  const values: readonly Json[] = names ? Object.values(value) : (value as readonly Json[]);
  const total = values.length;
  if (total === 0)
    return (
      <Line name={name} comma={comma}>
        <span class="tree-mark">
          {open}
          {close}
        </span>
      </Line>
    );
  const flat = total <= FLAT && values.every(is_small);
  const left_out = total > MOST_ENTRIES ? Math.max(0, total - FIRST_ENTRIES - LAST_ENTRIES - asked) : 0;
  const after = total - LAST_ENTRIES;
  const before = left_out > 0 ? after - left_out : total;
  const entry = (at: number) => (
    <Entry key={at} of={of} name={names?.[at]} comma={at < total - 1} value={values[at]!} />
  );
  return (
    <div class={flat ? "tree-flat" : undefined}>
      <Line name={name} comma={false}>
        <span class="tree-mark">{open}</span>
      </Line>
      <div class="tree-inner">
        {range(0, before).map(entry)}
        {left_out > 0 && (
          <Line key="rest" comma={false}>
            <QuietButton onClick={() => set_asked(asked + STEP_ENTRIES)}>… {count(left_out)} more</QuietButton>
          </Line>
        )}
        {left_out > 0 && range(after, total).map(entry)}
      </div>
      <Line comma={comma}>
        <span class="tree-mark">{close}</span>
      </Line>
    </div>
  );
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, at) => from + at);
const Entry = ({ of, ...branch }: Branch & Pick<ManyProps, "of">) => <>{of(branch)}</>;

function Value({ name, comma, value }: Branch) {
  if (value !== null && typeof value === "object")
    return <Many name={name} comma={comma} value={value} is_small={is_short_leaf} of={(branch) => <Value {...branch} />} />;
  const look = value === null ? "null" : typeof value;
  return (
    <Line name={name} comma={comma}>
      <span class={`tree-${look}`}>{JSON.stringify(value)}</span>
    </Line>
  );
}

function shape_word(shape: Shape): string {
  switch (shape.kind) {
    case "string":
      return `string(${shape.length})`;
    case "text":
      return `text(${shape.length})`;
    case "list":
      return `list(${shape.length})`;
    default:
      return shape.kind;
  }
}

function ShapeLine({ name, comma, shape }: { name?: string; comma: boolean; shape: Shape }) {
  return (
    <Line name={name} comma={comma}>
      <span class="tree-shape">{shape_word(shape)}</span>
      {"hash" in shape && (
        <span class="tree-hash" title="Equal values have equal hashes, within this page">
          {" "}
          #{shape.hash}
        </span>
      )}
    </Line>
  );
}

/** A value without what is in it. */
function Masked({ name, comma, value, depth = 0 }: Branch & { depth?: number }) {
  if (is_leaf(value)) return <ShapeLine name={name} comma={comma} shape={shapeOfValue(value)} />;
  if (depth === DEEPEST) return <ShapeLine name={name} comma={comma} shape={{ kind: "deep" }} />;
  return (
    <Many
      name={name}
      comma={comma}
      value={value as Json[]}
      is_small={is_leaf}
      of={(branch) => <Masked {...branch} depth={depth + 1} />}
    />
  );
}

/** An object some of whose members are no secret. */
function Mixed({ value, open }: { value: { [key: string]: Json }; open: ReadonlySet<string> }) {
  return (
    <Many
      comma={false}
      value={value}
      is_small={() => false}
      of={(branch) =>
        branch.name !== undefined && open.has(branch.name) ? <Value {...branch} /> : <Masked {...branch} depth={1} />
      }
    />
  );
}

/** `text` may be JSON or not; members named in `open` are shown even while the rest is masked. */
export function Payload({
  text,
  revealed,
  label,
  open,
}: {
  text: string;
  revealed: boolean;
  label: string;
  open?: ReadonlySet<string>;
}) {
  const body = useMemo(() => {
    const value = parsed(text);
    if (!revealed) {
      const whole = open ? value?.json : null;
      const is_object = whole !== null && typeof whole === "object" && !Array.isArray(whole);
      if (is_object) return <Mixed value={whole} open={open!} />;
      return value ? <Masked comma={false} value={value.json} /> : <ShapeLine comma={false} shape={shapeOf(text)} />;
    }
    if (!value) return <div class="tree-text">{text}</div>;
    if (text.length > MOST_TREE) return <div class="tree-text">{JSON.stringify(value.json, null, 2)}</div>;
    return <Value comma={false} value={value.json} />;
  }, [text, revealed]);
  return (
    <div class={`payload ${revealed ? "" : "masked"}`} role="group" aria-label={label}>
      {body}
    </div>
  );
}
