// The middle of the page: all turns of the shown branch, in one scrolling log with one tab stop. Of a long session the end
// is there at once, and the rest is made before it while the page is idle.

import type { VNode } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Transcript as Shown, TurnView } from "../../engine";
import { all_of, set_revealed, use_bench } from "../bench";
import { in_idle_time } from "../idle";
import { Button } from "../parts";
import { t } from "../strings";
import { Empty } from "./empty";
import { follow, type Follow } from "./follow";
import { log_keys } from "./keys";
import { STRETCH, Stretch } from "./stretch";

export function TranscriptLog() {
  const bench = use_bench();
  const shown = bench.transcript.value;
  return shown ? <Log key={bench.shown.value} shown={shown} /> : <div class="log" />;
}

function Log({ shown }: { shown: Shown }) {
  const bench = use_bench();
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const [end, set_end] = useState<Follow | null>(null);
  const turns = shown.turns.value;
  const count = turns.length;
  const tip = turns.at(-1)?.id;

  useEffect(() => {
    const watched = follow(scroller.current!, content.current!);
    set_end(watched);
    return watched.end;
  }, []);
  // Whoever sends something wants to see what comes of it.
  useEffect(() => end?.start(), [tip, end]);
  useEffect(() => keep_a_stop(scroller.current!, bench.roving), [count, tip]);
  const painted = use_stretches(turns);

  return (
    <div class="log-frame">
      <div
        ref={scroller}
        class="log"
        role="log"
        aria-live="off"
        aria-label={t.transcript.title}
        onKeyDown={(event) => log_keys(bench, scroller.current!, event)}
      >
        <div ref={content} class="log-content">
          {bench.revealed.value.has(all_of(bench)) && (
            <div class="banner warn">
              <span class="grow">{t.transcript.revealed_all}</span>
              <Button look="small" onClick={() => set_revealed(bench, all_of(bench), false)}>
                {t.transcript.hide_again}
              </Button>
            </div>
          )}
          {count === 0 ? <Empty coding={shown.thread.value.engine === "codex"} /> : painted}
        </div>
      </div>
      {end && !end.following.value && count > 0 && (
        <Button look="latest" icon="down" onClick={end.start}>
          {t.transcript.latest}
        </Button>
      )}
    </div>
  );
}

/** Stretches that are there at once, and how long the page may be busy before it makes one more. */
const FIRST = 2;
const STEP_MS = 150;

interface Made {
  readonly turns: readonly TurnView[];
  readonly last: boolean;
  readonly vnode: VNode;
}

/** The last stretches, and from one idle moment to the next one more before them. One that is as it was is the same vnode. */
function use_stretches(turns: readonly TurnView[]): readonly VNode[] {
  const total = Math.ceil(turns.length / STRETCH);
  const [left_out, set_left_out] = useState<number | null>(null);
  // A session may come to be read only after it is shown: it is the first time there are turns that counts.
  const missing = Math.min(left_out ?? total, Math.max(0, total - FIRST));
  const made = useRef(new Map<number, Made>());
  useEffect(() => {
    if (total === 0) return;
    if (left_out === null) set_left_out(missing);
    return missing > 0 ? in_idle_time(() => set_left_out(missing - 1), STEP_MS) : undefined;
  }, [missing, total === 0]);
  const before = made.current;
  made.current = new Map();
  for (let place = missing; place < total; place += 1) {
    const part = turns.slice(place * STRETCH, (place + 1) * STRETCH);
    const last = place === total - 1;
    const old = before.get(place);
    const same = old?.last === last && old.turns.length === part.length && part.every((turn, at) => turn === old.turns[at]);
    const vnode = <Stretch key={place} turns={part} before={place * STRETCH} last={last} />;
    made.current.set(place, same ? old : { turns: part, last, vnode });
  }
  return [...made.current.values()].map(({ vnode }) => vnode);
}

/** There is always one item that Tab goes to: the one that had the focus last, else the last one. */
function keep_a_stop(scroller: HTMLElement, roving: { value: string | null }): void {
  if (roving.value && scroller.querySelector(`[data-stop="${CSS.escape(roving.value)}"]`)) return;
  roving.value = [...scroller.querySelectorAll<HTMLElement>("[data-stop]")].at(-1)?.dataset.stop ?? null;
}
