// One of many things is chosen, and each of them wants to know whether it is the one. A change is told to the two that it
// concerns; asking the signal itself, all of them would be told.

import { effect, signal, type ReadonlySignal, type Signal } from "@preact/signals";

/** For each value, whether the source has it. What nobody watches any more is forgotten. */
export function keyed<T>(source: ReadonlySignal<T>): (value: T) => ReadonlySignal<boolean> {
  const asked = new Map<T, Signal<boolean>>();
  let before = source.peek();
  effect(() => {
    const now = source.value;
    if (now === before) return;
    const was = asked.get(before);
    const is = asked.get(now);
    before = now;
    if (was) was.value = false;
    if (is) is.value = true;
  });
  return (value) => {
    const known = asked.get(value);
    if (known) return known;
    const made: Signal<boolean> = signal(source.peek() === value, { unwatched: () => void asked.delete(value) });
    asked.set(value, made);
    return made;
  };
}
