// The middle of the page: all turns of the shown branch, in one scrolling log with one tab stop.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Transcript as Shown } from "../../engine";
import { all_of, set_revealed, use_bench } from "../bench";
import { Button } from "../parts";
import { t } from "../strings";
import { Empty } from "./empty";
import { follow, type Follow } from "./follow";
import { log_keys } from "./keys";
import { Turn } from "./turn";

export function TranscriptLog() {
  const bench = use_bench();
  const shown = bench.transcript.value;
  const id = shown?.thread.value.id;
  return shown ? <Log key={id} shown={shown} /> : <div class="log" />;
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
          {count === 0 ? (
            <Empty />
          ) : (
            turns.map((turn, at) => <Turn key={turn.id} view={turn} number={at + 1} last={at === count - 1} />)
          )}
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

/** There is always one item that Tab goes to: the one that had the focus last, else the last one. */
function keep_a_stop(scroller: HTMLElement, roving: { value: string | null }): void {
  const stops = [...scroller.querySelectorAll<HTMLElement>("[data-stop]")];
  if (!stops.some((stop) => stop.dataset.stop === roving.value)) roving.value = stops.at(-1)?.dataset.stop ?? null;
}
