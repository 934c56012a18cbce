// The gateway's sessions in the list of sessions, while one of them is shown.

import { useEffect, useState } from "preact/hooks";
import type { CodingFacts, CodingState } from "../../engine";
import { use_bench } from "../bench";
import { ago } from "../format";
import { use_now } from "../parts";
import { use_asked } from "./asked";
import { join } from "./join";
import { words } from "./strings";

const LOOK_EVERY_MS = 10_000;

export const dots: Partial<Record<CodingState, string>> = {
  starting: "live",
  in_turn: "live",
  waiting_for_approval: "warn",
  ready: "good",
  gone: "bad",
};

export function CodingRows() {
  const bench = use_bench();
  const view = bench.coding.value!.view;
  const { state } = view.standing.value;
  const [looks, set_looks] = useState(0);
  const now = use_now(true, 30_000);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || set_looks((n) => n + 1), LOOK_EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const answer = use_asked(
    async () => (await bench.engine.coding.load()).sessions(),
    [looks, view.id, state, view.link.value.kind],
  );
  const rows = answer?.ok ? answer.value : [];
  if (rows.length === 0) return null;
  return (
    <section aria-label={words.rows} class="coding-rows">
      <h3 class="list-name">{words.rows}</h3>
      <ul class="bare">
        {rows.map((row) => (
          <CodingRow key={row.id} row={row} now={now} chosen={row.id === view.id} />
        ))}
      </ul>
    </section>
  );
}

export function CodingRow({ row, now, chosen = false }: { row: CodingFacts; now: number; chosen?: boolean }) {
  const bench = use_bench();
  return (
    <li class={`session ${chosen ? "chosen" : ""}`}>
      <button
        type="button"
        class="session-open"
        aria-current={chosen ? "true" : undefined}
        onClick={() => {
          bench.dialog.value = null;
          if (!chosen) void join(bench, row.id);
        }}
      >
        <span class={`dot ${dots[row.state] ?? ""}`} />
        <span class="clip grow">{row.workspace}</span>
        <span class="muted coding-state">{words.row_state[row.state] ?? words.state[row.state]}</span>
        <span class="muted number session-when">{ago(row.created, now)}</span>
      </button>
    </li>
  );
}
