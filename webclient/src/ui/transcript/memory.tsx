// A sign in the transcript that the memory's manager spoke: pressure, a flush, a heartbeat.

import type { MemoryEvent } from "../../model";
import { set_revealed, use_bench, use_revealed } from "../bench";
import { Icon } from "../icon";
import { QuietButton } from "../parts";
import { Bar } from "../bar";
import { t } from "../strings";
import { Payload } from "./payload";

export function MemoryMarker({ item }: { item: MemoryEvent }) {
  const bench = use_bench();
  const revealed = use_revealed(item.id);
  const masked = !revealed;
  return (
    <section class={`marker ${item.event}`}>
      <div class="row wrap">
        <Icon name={item.event === "warning" || item.event === "error" ? "warn" : "memory"} />
        <strong>{t.memory.event[item.event]}</strong>
        {item.tokens !== null && item.limit !== null && (
          <Bar value={item.tokens} most={item.limit} words={t.memory.fill(item.tokens, item.limit)} shown />
        )}
        <span class="grow" />
        <QuietButton
          icon={revealed ? "eye_off" : "eye"}
          data-act="reveal"
          aria-pressed={revealed}
          onClick={() => set_revealed(bench, item.id, !revealed)}
        >
          {revealed ? t.tool.hide : t.tool.reveal}
        </QuietButton>
      </div>
      {!masked && item.message !== "" && <p dir="auto">{item.message}</p>}
      {!masked && <Payload text={item.raw} revealed label={t.memory.event[item.event]} />}
    </section>
  );
}
