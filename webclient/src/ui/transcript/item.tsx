// The frame of one item: a stop of the roving focus, with a name; inside it the part that its kind has.

import type { ComponentChildren } from "preact";
import type { ItemView, TurnView } from "../../engine";
import type { Item } from "../../model";
import { use_bench } from "../bench";
import { once } from "../idle";
import { TabStop, use_loaded } from "../parts";
import { t } from "../strings";
import type { CodingItem } from "./coding";
import { MemoryMarker } from "./memory";
import { AgentText, RawCard, ReasoningBlock, UserText } from "./message";
import { ToolCard } from "./tool";

function name_of(item: Item): string {
  switch (item.kind) {
    case "userMessage":
      return t.turn.you;
    case "agentMessage":
      return t.turn.model;
    case "reasoning":
      return t.reasoning.title;
    case "toolCall":
      return `${t.tool.title}: ${item.name || t.tool.no_name}`;
    case "memory":
      return t.memory.event[item.event];
    case "commandExecution":
      return t.command.title;
    case "fileChange":
      return t.file_change.title!;
    case "plan":
      return t.plan.title;
    case "diff":
      return t.diff.title;
    case "approval":
      return t.approval.title;
    case "notice":
      return t.notice[item.level];
    case "raw":
      return t.raw.title;
  }
}

function Body({ item, turn }: { item: Item; turn: TurnView }) {
  switch (item.kind) {
    case "userMessage":
      return <UserText item={item} turn={turn.id} />;
    case "agentMessage":
      return <AgentText item={item} />;
    case "reasoning":
      return <ReasoningBlock item={item} />;
    case "toolCall":
      return <ToolCard item={item} turn={turn} />;
    case "memory":
      return <MemoryMarker item={item} />;
    case "raw":
      return <RawCard item={item} />;
    default:
      return <Coding item={item} />;
  }
}

const load_cards = once(() => import("../later").then((chunk) => chunk.CodingCard));

function Coding({ item }: { item: CodingItem }) {
  const bench = use_bench();
  const Card = use_loaded(load_cards, () => {
    bench.toast.value = t.chunk_failed;
  });
  return Card ? <Card item={item} /> : <p class="muted">{name_of(item)}</p>;
}

export function ItemFrame({ view, turn }: { view: ItemView; turn: TurnView }) {
  const item = view.item.value;
  return (
    <Stop id={view.id} name={name_of(item)} look={`item ${view.kind}`} attempt={item.attempt} turn={turn.id}>
      <Body item={item} turn={turn} />
    </Stop>
  );
}

/** What the arrow keys of the transcript go to. */
export function Stop({
  id,
  name,
  look,
  attempt = null,
  turn,
  children,
}: {
  id: string;
  name: string;
  look: string;
  attempt?: string | null;
  turn: string;
  children: ComponentChildren;
}) {
  const bench = use_bench();
  const here = bench.is_stop(id).value;
  return (
    <div
      class={look}
      role="group"
      aria-label={name}
      tabIndex={here ? 0 : -1}
      data-stop={id}
      data-attempt={attempt ?? undefined}
      data-turn={turn}
      onFocusIn={() => {
        bench.roving.value = id;
      }}
    >
      <TabStop.Provider value={here ? 0 : -1}>{children}</TabStop.Provider>
    </div>
  );
}
