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

/**
 * The last stretches, and from one idle moment to the next one more before them. One that is as it was is the same vnode;
 * where many are not, because the session was just read or another branch of it is shown, it begins anew.
 */
function use_stretches(turns: readonly TurnView[]): readonly VNode[] {
  const total = Math.ceil(turns.length / STRETCH);
  const most = Math.max(0, total - FIRST);
  const [left_out, set_left_out] = useState(Infinity);
  const made = useRef<readonly (Made | undefined)[]>([]);
  const stretches = Array.from({ length: total }, (_, place): Made | TurnView[] => {
    const part = turns.slice(place * STRETCH, (place + 1) * STRETCH);
    const old = made.current[place];
    const same = old?.last === (place === total - 1) && old.turns.length === part.length;
    return same && part.every((turn, at) => turn === old.turns[at]) ? old : part;
  });
  const wanted = Math.min(left_out, most);
  const missing = stretches.slice(wanted).filter(Array.isArray).length > FIRST + 1 ? most : wanted;
  useEffect(() => {
    if (total === 0) return;
    set_left_out(missing);
    return missing > 0 ? in_idle_time(() => set_left_out(missing - 1), STEP_MS) : undefined;
  }, [missing, total === 0]);
  made.current = stretches.map((stretch, place) => {
    if (place < missing || !Array.isArray(stretch)) return place < missing ? undefined : (stretch as Made);
    const last = place === total - 1;
    const vnode = <Stretch key={place} turns={stretch} before={place * STRETCH} last={last} />;
    return { turns: stretch, last, vnode };
  });
  return made.current.slice(missing).map((one) => one!.vnode);
}

/** There is always one item that Tab goes to: the one that had the focus last, else the last one. */
function keep_a_stop(scroller: HTMLElement, roving: { value: string | null }): void {
  if (roving.value && scroller.querySelector(`[data-stop="${CSS.escape(roving.value)}"]`)) return;
  roving.value = [...scroller.querySelectorAll<HTMLElement>("[data-stop]")].at(-1)?.dataset.stop ?? null;
}
