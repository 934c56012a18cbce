// The items of the shown branch, by kind, and the way back to them.

import type { Item, ItemKind } from "../../model";
import type { Bench } from "../bench";

export interface Placed<I extends Item = Item> {
  readonly item: I;
  /** Of its turn, from 1. */
  readonly number: number;
}

/** Reads signals: the component that calls it is painted anew when an item of that kind changes. */
export function items_of<K extends ItemKind>(bench: Bench, kind: K): Placed<Extract<Item, { kind: K }>>[] {
  const turns = bench.transcript.value?.turns.value ?? [];
  return turns.flatMap((turn, at) =>
    turn.items.value.filter((view) => view.kind === kind).map((view) => ({ item: view.item.value as Extract<Item, { kind: K }>, number: at + 1 })));
}

/** Moves the focus to the item in the transcript. */
export function go_to(bench: Bench, item: string): void {
  bench.roving.value = item;
  if (bench.room.value < 3) bench.inspector_open.value = false;
  requestAnimationFrame(() => {
    const stop = document.querySelector<HTMLElement>(`[data-stop="${CSS.escape(item)}"]`);
    stop?.scrollIntoView({ block: "center" });
    stop?.focus({ preventScroll: true });
  });
}
