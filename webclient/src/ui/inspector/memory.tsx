// The memory's lane: every call of a memory tool and every event of its manager, a column for each tier.

import type { MemoryEvent, MemoryTier } from "../../model";
import { use_bench } from "../bench";
import { Bar } from "../bar";
import { Icon } from "../icon";
import { Chip } from "../parts";
import { t } from "../strings";
import { go_to, items_of } from "./session_items";

const tiers: readonly MemoryTier[] = ["core", "fifo", "recall", "archival", "heartbeat"];

export function MemoryPanel() {
  const bench = use_bench();
  const rows = items_of(bench, "toolCall", "memory").filter(
    ({ item }) => item.kind === "memory" || item.memory !== null,
  );
  if (rows.length === 0) return <p class="hollow">{t.memory.none}</p>;
  const fill = rows
    .map(({ item }) => item)
    .findLast((item) => item.kind === "memory" && item.tokens !== null && item.limit !== null) as
    | MemoryEvent
    | undefined;
  const count_of = (tier: MemoryTier) =>
    rows.filter(({ item }) => item.kind === "toolCall" && item.memory!.tier === tier).length;
  return (
    <>
      {fill && (
        <div class="panel-part">
          <Bar value={fill.tokens!} most={fill.limit!} words={t.memory.fill(fill.tokens!, fill.limit!)} shown />
        </div>
      )}
      <ul class="bare tier-counts" aria-label={t.memory.title}>
        {tiers.map((tier) => (
          <li key={tier}>
            <strong class="number">{count_of(tier)}</strong>
            <span>{t.memory.tier[tier]}</span>
          </li>
        ))}
      </ul>
      <ol class="bare lane memory-lane">
        {rows.map(({ item, number }) => (
          <li key={item.id} class={`lane-row ${item.kind === "memory" ? item.event : `tier-${item.memory!.tier}`}`}>
            <button type="button" class="lane-jump" title={t.inspector.jump} onClick={() => go_to(bench, item.id)}>
              <Icon name={item.kind === "memory" && item.event === "warning" ? "warn" : "memory"} />
              {item.kind === "memory" ? (
                <strong class="clip grow">{t.memory.event[item.event]}</strong>
              ) : (
                <code class="clip grow">{item.name}</code>
              )}
              {item.kind === "toolCall" && (
                <Chip look="memory">
                  {t.memory.tier[item.memory!.tier]} · {t.memory.action[item.memory!.action]}
                </Chip>
              )}
              <span class="muted number">{t.inspector.turn_short(number)}</span>
            </button>
          </li>
        ))}
      </ol>
    </>
  );
}
