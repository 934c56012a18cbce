// The one node that screen readers are told of. It speaks at boundaries only: begun, waiting, complete, cut. Never tokens.

import { useEffect, useRef } from "preact/hooks";
import type { TurnState } from "../../model";
import { use_bench } from "../bench";
import { t } from "../strings";

const boundary: Partial<Record<TurnState["kind"], string>> = {
  connecting: t.announce.started,
  done: t.announce.done,
  cut: t.announce.cut,
  stopped: t.announce.stopped,
  tools: t.announce.tools,
  approval: t.announce.approval,
  ended: t.announce.ended,
};

export function Announcer() {
  const bench = use_bench();
  const turn = bench.transcript.value?.turns.value.at(-1);
  const kind = turn?.state.value.kind;
  const before = useRef<{ id?: string; kind?: string }>({});
  useEffect(() => {
    const seen = before.current;
    before.current = { id: turn?.id, kind };
    // What was there when the session was opened is no news.
    const news = kind === "connecting" || (seen.id === turn?.id && seen.kind !== kind);
    const words = kind && boundary[kind];
    if (news && words) bench.said.value = words;
  }, [turn?.id, kind]);
  return (
    <div class="unseen" role="status" aria-live="polite">
      {bench.said.value}
    </div>
  );
}
