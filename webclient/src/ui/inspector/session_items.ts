// The items of the shown branch, by kind, and the way back to them.

import type { Item, ItemKind } from "../../model";
import type { Bench } from "../bench";
import { reach } from "../transcript/keys";

export interface Placed<I extends Item = Item> {
  readonly item: I;
  /** Of its turn, from 1. */
  readonly number: number;
}

/** In the order of the transcript. Reads signals: who calls it is painted anew when an item of these kinds changes. */
export function items_of<K extends ItemKind>(
  bench: Bench,
  ...kinds: readonly K[]
): Placed<Extract<Item, { kind: K }>>[] {
  const turns = bench.transcript.value?.turns.value ?? [];
  const wanted: ReadonlySet<ItemKind> = new Set(kinds);
  return turns.flatMap((turn, at) =>
    turn.items.value
      .filter((view) => wanted.has(view.kind))
      .map((view) => ({ item: view.item.value as Extract<Item, { kind: K }>, number: at + 1 })),
  );
}

/** Moves the focus to the item in the transcript. */
export function go_to(bench: Bench, item: string): void {
  bench.roving.value = item;
  if (bench.room.value < 3) bench.inspector_open.value = false;
  reach({ item });
}
