// Every frame of the stream as it arrived: when, how long after the one before, how many bytes, and the bytes themselves.
// Rows have one height, so that only those in view are in the page, however many there are.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { AttemptView } from "../../engine";
import type { Frame } from "../../model";
import { save_file, use_revealed } from "../bench";
import { bytes, count, exact_ms } from "../format";
import { CopyButton, QuietButton } from "../parts";
import { t } from "../strings";
import { Payload, parsed } from "../transcript/payload";
import { BodiesSwitch, type Shown } from "./inspector";

/** The height of `.frame-row` in the styles, in rem. */
const ROW_REM = 1.5;
const AROUND = 10;

export function StreamPanel({ shown }: { shown: Shown }) {
  const { view } = shown;
  const total = view.frames.value;
  const attempt = view.attempt.value;
  const [chosen, set_chosen] = useState<number | null>(null);
  const revealed = use_revealed(attempt.id);
  useEffect(() => set_chosen(null), [view]);
  if (attempt.framing === "plain") return <p class="hollow">{t.inspector.frames_plain}</p>;
  if (!total) return <p class="hollow">{t.inspector.frames_none}</p>;
  const save = () => save_file(`${attempt.id}.sse`, "application/octet-stream", Uint8Array.from(view.body()));
  return (
    <div class="stream-panel">
      <div class="row stream-head">
        <span class="grow number">
          {t.inspector.frames(total)} · {bytes(attempt.bytes)}
        </span>
        <BodiesSwitch id={attempt.id} />
        {revealed && (
          <QuietButton icon="out" onClick={save}>
            {t.inspector.frame_save}
          </QuietButton>
        )}
      </div>
      <FrameList
        key={view.id}
        view={view}
        total={total}
        live={attempt.outcome.kind === "running"}
        chosen={chosen}
        choose={set_chosen}
        revealed={revealed}
      />
      {chosen !== null && chosen < total && (
        <FrameDetail view={view} index={chosen} revealed={revealed} close={() => set_chosen(null)} />
      )}
    </div>
  );
}

interface ListProps {
  view: AttemptView;
  total: number;
  live: boolean;
  chosen: number | null;
  choose: (index: number) => void;
  revealed: boolean;
}

function FrameList({ view, total, live, chosen, choose, revealed }: ListProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const [window_of, set_window] = useState({ top: 0, height: 600, row: 24 });
  const tail = useRef(live);
  const look = () => {
    const { scrollTop: top, clientHeight: height } = scroller.current!;
    const row = ROW_REM * parseFloat(getComputedStyle(document.documentElement).fontSize);
    tail.current = top + height >= scroller.current!.scrollHeight - 2 * row;
    set_window({ top, height, row });
  };
  useLayoutEffect(() => {
    look();
    const watch = new ResizeObserver(look);
    watch.observe(scroller.current!);
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (live && tail.current) scroller.current!.scrollTop = scroller.current!.scrollHeight;
  }, [total, live]);
  const show = (index: number) => {
    choose(index);
    const { row, height } = window_of;
    const top = scroller.current!.scrollTop;
    if (index * row < top) scroller.current!.scrollTop = index * row;
    else if ((index + 1) * row > top + height) scroller.current!.scrollTop = (index + 1) * row - height;
  };
  const on_key = (event: KeyboardEvent) => {
    const at = chosen ?? -1;
    const page = Math.max(1, Math.floor(window_of.height / window_of.row) - 1);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: total - 1, PageDown: at + page, PageUp: at - page }[
      event.key
    ];
    if (to === undefined) return;
    event.preventDefault();
    show(Math.min(total - 1, Math.max(0, to)));
  };
  const first = Math.max(0, Math.floor(window_of.top / window_of.row) - AROUND);
  const last = Math.min(total, Math.ceil((window_of.top + window_of.height) / window_of.row) + AROUND);
  const rows = [];
  for (let index = first; index < last; index += 1) {
    rows.push(
      <FrameRow
        key={index}
        view={view}
        index={index}
        total={total}
        chosen={index === chosen}
        revealed={revealed}
        choose={choose}
      />,
    );
  }
  const columns = t.inspector.frame_columns;
  return (
    <div class="frames">
      <div class="frame-row frame-names" aria-hidden="true">
        <span>{columns.index}</span>
        <span>{columns.at}</span>
        <span>{columns.gap}</span>
        <span>{columns.bytes}</span>
        <span>{columns.data}</span>
      </div>
      <div
        ref={scroller}
        class="frame-scroll"
        role="listbox"
        aria-label={t.inspector.tabs.stream}
        tabIndex={0}
        aria-activedescendant={chosen === null ? undefined : `frame-${chosen}`}
        onScroll={look}
        onKeyDown={on_key}
      >
        <Spacer rows={first} />
        {rows}
        <Spacer rows={total - last} />
      </div>
    </div>
  );
}

/** Room for rows that are not in the page. An SVG, because its height is data and inline styles are not admitted. */
const Spacer = ({ rows }: { rows: number }) =>
  rows > 0 ? <svg class="spacer" aria-hidden="true" width="1" height={`${rows * ROW_REM}rem`} /> : null;

function FrameRow({
  view,
  index,
  total,
  chosen,
  revealed,
  choose,
}: {
  view: AttemptView;
  index: number;
  total: number;
  chosen: boolean;
  revealed: boolean;
  choose: (index: number) => void;
}) {
  const frame = view.frame(index);
  const gap = index > 0 ? frame.atMs - view.frame(index - 1).atMs : frame.atMs;
  return (
    <div
      id={`frame-${index}`}
      class={`frame-row ${frame.kind} ${gap >= 1000 ? "long-gap" : ""}`}
      role="option"
      aria-selected={chosen}
      aria-setsize={total}
      aria-posinset={index + 1}
      onClick={() => choose(index)}
    >
      <span class="muted">{index}</span>
      <span>{exact_ms(frame.atMs)}</span>
      <span class="frame-gap">+{exact_ms(gap)}</span>
      <span>{count(frame.end - frame.start)}</span>
      <span class="clip">
        {revealed ? preview(view.frameText(index)) : masked_preview(frame, view.frameText(index))}
      </span>
    </div>
  );
}

const preview = (text: string): string =>
  text
    .replace(/^data: ?/, "")
    .slice(0, 160)
    .replace(/\s+$/, "")
    .replaceAll("\n", "↵");

/** What a frame brings, without what is in it: the event's name, and lengths of what its delta carries. */
export function masked_preview(frame: Frame, text: string): string {
  const value = parsed(data_of(text))?.json;
  if (value === null || typeof value !== "object" || Array.isArray(value))
    return frame.event || t.inspector.frame_kind[frame.kind];
  const choice = Array.isArray(value.choices) ? value.choices[0] : null;
  const delta = choice && typeof choice === "object" && "delta" in choice ? choice.delta : value.delta;
  const parts = typeof delta === "string" ? [["delta", delta]] : Object.entries(delta ?? {});
  const sizes = parts
    .filter(([, part]) => part !== null)
    .map(([key, part]) => (typeof part === "string" ? `${key}(${part.length})` : `${key}`));
  return (
    [frame.event || (typeof value.type === "string" ? value.type : ""), ...sizes].filter(Boolean).join(" ") ||
    Object.keys(value).join(" ")
  );
}

/** The data of an event: its data lines without the name, joined as the standard joins them. */
const data_of = (text: string): string =>
  text
    .split(/\r\n|\r|\n/)
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).replace(/^ /, ""))
    .join("\n");

/** Line ends as they are on the wire, made visible. */
const with_ends = (text: string): string => text.replaceAll("\r", "␍").replaceAll("\n", "␊\n");

function FrameDetail({
  view,
  index,
  revealed,
  close,
}: {
  view: AttemptView;
  index: number;
  revealed: boolean;
  close: () => void;
}) {
  const [as_hex, set_hex] = useState(false);
  const frame = view.frame(index);
  const text = view.frameText(index);
  const data = data_of(text);
  return (
    <section class="frame-detail" aria-label={`${t.inspector.frame_kind[frame.kind]} ${index}`}>
      <div class="row">
        <strong class="number grow">
          #{index} · {exact_ms(frame.atMs)} ms · {t.inspector.bytes_from_to(frame.start, frame.end)}
        </strong>
        {revealed && (
          <QuietButton aria-pressed={as_hex} onClick={() => set_hex(!as_hex)}>
            {t.inspector.hex}
          </QuietButton>
        )}
        {revealed && <CopyButton text={() => text} />}
        <QuietButton icon="close" label={t.close} onClick={close} />
      </div>
      {revealed && (
        <pre class="wire" tabIndex={0}>
          {as_hex ? hex(view.frameBytes(index)) : with_ends(text)}
        </pre>
      )}
      {data !== "" && data !== "[DONE]" && (
        <Payload text={data} revealed={revealed} label={t.inspector.frame_columns.data} />
      )}
    </section>
  );
}

function hex(content: Uint8Array): string {
  const lines = [];
  for (let at = 0; at < content.length; at += 16) {
    const row = [...content.subarray(at, at + 16)];
    const numbers = row
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join(" ")
      .padEnd(47);
    const letters = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${at.toString(16).padStart(4, "0")}  ${numbers}  ${letters}`);
  }
  return lines.join("\n");
}
