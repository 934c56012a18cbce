// A payload in one of its two views: its shape (keys, types, lengths, hashes), or its values. While it is masked its
// text is not in the page at all.

import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { shapeOf, shapeOfValue } from "../../engine";
import type { Json, Shape } from "../../model";
import { count } from "../format";

const MOST_ENTRIES = 200;
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
const is_shape_leaf = (shape: Shape): boolean =>
  shape.kind !== "object" && !(shape.kind === "list" && shape.entries.length > 0);
const is_short_leaf = (value: Json): boolean =>
  (value === null || typeof value !== "object") && (typeof value !== "string" || value.length <= 40);

interface Branch<T> {
  readonly name?: string;
  readonly comma: boolean;
  readonly value: T;
}

interface ManyProps<T> {
  name?: string;
  comma: boolean;
  open: string;
  close: string;
  entries: readonly (readonly [name: string | undefined, value: T])[];
  is_leaf: (value: T) => boolean;
  of: (branch: Branch<T>) => ComponentChildren;
}

/** An object or a list: in one line if it is small, else a line for each entry. */
function Many<T>({ name, comma, open, close, entries, is_leaf, of }: ManyProps<T>) {
  if (entries.length === 0)
    return (
      <Line name={name} comma={comma}>
        <span class="tree-mark">
          {open}
          {close}
        </span>
      </Line>
    );
  const shown = entries.slice(0, MOST_ENTRIES);
  const flat = entries.length <= FLAT && entries.every(([, value]) => is_leaf(value));
  return (
    <div class={flat ? "tree-flat" : undefined}>
      <Line name={name} comma={false}>
        <span class="tree-mark">{open}</span>
      </Line>
      <div class="tree-inner">
        {shown.map(([key, value], at) => of({ name: key, comma: at < entries.length - 1, value }))}
        {entries.length > shown.length && (
          <Line comma={false}>
            <span class="muted">… {count(entries.length - shown.length)} more</span>
          </Line>
        )}
      </div>
      <Line comma={comma}>
        <span class="tree-mark">{close}</span>
      </Line>
    </div>
  );
}

function Value({ name, comma, value }: Branch<Json>) {
  if (Array.isArray(value)) {
    return (
      <Many
        name={name}
        comma={comma}
        open="["
        close="]"
        entries={value.map((entry) => [undefined, entry] as const)}
        is_leaf={is_short_leaf}
        of={(branch) => <Value {...branch} />}
      />
    );
  }
  if (value !== null && typeof value === "object") {
    return (
      <Many
        name={name}
        comma={comma}
        open="{"
        close="}"
        entries={Object.entries(value)}
        is_leaf={is_short_leaf}
        of={(branch) => <Value {...branch} />}
      />
    );
  }
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

function ShapeTree({ name, comma, value }: Branch<Shape>) {
  if (value.kind === "object") {
    return (
      <Many
        name={name}
        comma={comma}
        open="{"
        close="}"
        entries={value.fields}
        is_leaf={is_shape_leaf}
        of={(branch) => <ShapeTree {...branch} />}
      />
    );
  }
  if (value.kind === "list" && value.entries.length > 0) {
    return (
      <Many
        name={name}
        comma={comma}
        open="["
        close="]"
        entries={value.entries.map((entry) => [undefined, entry] as const)}
        is_leaf={is_shape_leaf}
        of={(branch) => <ShapeTree {...branch} />}
      />
    );
  }
  return (
    <Line name={name} comma={comma}>
      <span class="tree-shape">{shape_word(value)}</span>
      {"hash" in value && (
        <span class="tree-hash" title="Equal values have equal hashes, within this page">
          {" "}
          #{value.hash}
        </span>
      )}
    </Line>
  );
}

/** An object some of whose members are no secret. */
function Mixed({ value, open }: { value: { [key: string]: Json }; open: ReadonlySet<string> }) {
  return (
    <Many
      comma={false}
      open="{"
      close="}"
      entries={Object.entries(value)}
      is_leaf={() => false}
      of={(branch) =>
        branch.name !== undefined && open.has(branch.name) ? (
          <Value {...branch} />
        ) : (
          <ShapeTree {...branch} value={shapeOfValue(branch.value)} />
        )
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
      return is_object ? <Mixed value={whole} open={open!} /> : <ShapeTree comma={false} value={shapeOf(text)} />;
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
