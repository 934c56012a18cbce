// When what arrived: the milestones, the pace, and the gaps between frames as a drawing.

import { useMemo } from "preact/hooks";
import type { AttemptView } from "../../engine";
import type { Attempt, Timings } from "../../model";
import { bytes, count, span } from "../format";
import { t } from "../strings";
import type { Shown } from "./inspector";

const milestones: readonly [key: keyof Timings, name: string][] = [
  ["headMs", t.timings.head],
  ["firstByteMs", t.timings.first_byte],
  ["firstDeltaMs", t.timings.first_delta],
  ["lastDeltaMs", t.timings.last_delta],
  ["endMs", t.timings.end],
];

/** Deltas a second between the first and the last; null while there are not two. */
function pace({ firstDeltaMs, lastDeltaMs, deltas }: Timings, tokens: number | null): number | null {
  if (firstDeltaMs === null || lastDeltaMs === null || lastDeltaMs <= firstDeltaMs) return null;
  return (((tokens ?? deltas) - 1) / (lastDeltaMs - firstDeltaMs)) * 1000;
}

export function TimingsPanel({ shown }: { shown: Shown }) {
  const attempt = shown.view.attempt.value;
  const { timings, usage } = attempt;
  const rate = pace(timings, usage?.completion ?? null);
  const words = t.timings.usage_words;
  return (
    <>
      <section class="panel-part">
        <Milestones timings={timings} />
      </section>
      <section class="panel-part">
        <dl class="facts">
          <div>
            <dt>{t.timings.rate}</dt>
            <dd class="number">{rate === null ? t.timings.none : t.timings.rate_of(rate)}</dd>
          </div>
          <div>
            <dt>{t.timings.deltas}</dt>
            <dd class="number">{count(timings.deltas)}</dd>
          </div>
          <div>
            <dt>{t.timings.gap}</dt>
            <dd class="number">{span(timings.largestGapMs)}</dd>
          </div>
          <div>
            <dt>{t.timings.bytes}</dt>
            <dd class="number">{bytes(attempt.bytes)}</dd>
          </div>
        </dl>
      </section>
      <Gaps view={shown.view} />
      {usage && (
        <section class="panel-part">
          <h3>{t.timings.usage}</h3>
          <dl class="facts">
            {(Object.keys(words) as (keyof typeof words)[]).map(
              (key) =>
                usage[key] !== null && (
                  <div key={key}>
                    <dt>{words[key]}</dt>
                    <dd class="number">{count(usage[key])}</dd>
                  </div>
                ),
            )}
          </dl>
        </section>
      )}
      <Answer attempt={attempt} />
    </>
  );
}

function Milestones({ timings }: { timings: Timings }) {
  const end = Math.max(1, ...milestones.map(([key]) => timings[key] ?? 0));
  return (
    <dl class="milestones">
      {milestones.map(([key, name], at) => {
        const value = timings[key];
        const before =
          at === 0 ? 0 : milestones.slice(0, at).reduce((latest, [earlier]) => timings[earlier] ?? latest, 0);
        return (
          <div key={key}>
            <dt>{name}</dt>
            <dd class="number">{value === null ? <span class="muted">{t.timings.none}</span> : span(value)}</dd>
            <svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
              <rect class="meter-rest" width="100" height="6" />
              {value !== null && (
                <rect
                  class="meter-fill"
                  x={(before / end) * 100}
                  width={Math.max(0.6, ((value - before) / end) * 100)}
                  height="6"
                />
              )}
            </svg>
          </div>
        );
      })}
    </dl>
  );
}

const BARS = 100;

interface GapChart {
  /** The largest gap of each stretch of frames. */
  readonly bars: readonly number[];
  readonly most: number;
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
}

export function gap_chart(view: Pick<AttemptView, "frame">, total: number): GapChart | null {
  if (total < 3) return null;
  const gaps: number[] = [];
  for (let index = 1; index < total; index += 1) gaps.push(view.frame(index).atMs - view.frame(index - 1).atMs);
  const stretch = Math.ceil(gaps.length / BARS);
  const bars: number[] = [];
  for (let at = 0; at < gaps.length; at += stretch) bars.push(Math.max(...gaps.slice(at, at + stretch)));
  const sorted = gaps.toSorted((a, b) => a - b);
  const share = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!;
  return { bars, most: Math.max(1, sorted.at(-1)!), count: gaps.length, p50: share(0.5), p95: share(0.95) };
}

function Gaps({ view }: { view: AttemptView }) {
  const total = view.frames.value;
  // While frames stream in, the drawing is made anew for every eighth part more of them only.
  const step = total === null ? 0 : Math.floor(Math.log2(Math.max(1, total)) * 8);
  const running = view.attempt.value.outcome.kind === "running";
  const chart = useMemo(() => (total === null ? null : gap_chart(view, total)), [view, running ? step : total]);
  if (!chart) return null;
  return (
    <section class="panel-part">
      <h3>{t.timings.gaps}</h3>
      <svg
        class="gaps"
        viewBox={`0 0 ${BARS} 40`}
        preserveAspectRatio="none"
        role="img"
        aria-label={t.timings.gaps_words(chart.count, chart.p50, chart.p95)}
      >
        {chart.bars.map((gap, at) => {
          const height = Math.max(0.8, Math.sqrt(gap / chart.most) * 40);
          return (
            <rect
              key={at}
              class={gap > Math.max(4 * chart.p95, 200) ? "gap-long" : "gap"}
              x={(at * BARS) / chart.bars.length}
              y={40 - height}
              width={(BARS / chart.bars.length) * 0.8}
              height={height}
            />
          );
        })}
      </svg>
      <p class="hint">{t.timings.gaps_words(chart.count, chart.p50, chart.p95)}</p>
    </section>
  );
}

function Answer({ attempt }: { attempt: Attempt }) {
  const rows = [
    [t.timings.served, attempt.model],
    [t.timings.finish, attempt.finish ?? ""],
    [t.timings.response_id, attempt.responseId],
  ] as const;
  const known = rows.filter(([, value]) => value !== "");
  if (known.length === 0) return null;
  return (
    <section class="panel-part">
      <dl class="facts">
        {known.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <code>{value}</code>
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
