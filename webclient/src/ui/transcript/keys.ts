// The keys of the transcript. Single letters work only while one of its items has the focus itself, and can be switched
// off (WCAG 2.1.4).

import { type Bench, inspect } from "../bench";
import { LEAVE } from "./follow";

const stops_of = (scroller: HTMLElement) => [...scroller.querySelectorAll<HTMLElement>("[data-stop]")];

/** Moves the focus by one item, or by one turn. */
export function step(scroller: HTMLElement, by: 1 | -1, whole_turns: boolean): void {
  const stops = stops_of(scroller);
  const here = document.activeElement?.closest<HTMLElement>("[data-stop]");
  const at = here ? stops.indexOf(here) : by > 0 ? -1 : stops.length;
  const turn = here?.dataset.turn;
  const rest = by > 0 ? stops.slice(at + 1) : stops.slice(0, Math.max(0, at)).reverse();
  let target = whole_turns ? rest.find((stop) => stop.dataset.turn !== turn) : rest[0];
  // Going up by turns ends at the beginning of the turn, not at its last item.
  if (target && whole_turns && by < 0) target = stops.find((stop) => stop.dataset.turn === target!.dataset.turn);
  if (target) go_to_element(target, target, "nearest");
}

function go_to_element(stop: HTMLElement | null, shown: HTMLElement, block: ScrollLogicalPosition): void {
  shown.dispatchEvent(new Event(LEAVE, { bubbles: true }));
  shown.scrollIntoView({ block });
  stop?.focus({ preventScroll: true });
}

/** Goes to an item, or to a turn, as soon as it is in the page: the beginning of a long session is made last. */
export function reach(what: { readonly item: string } | { readonly turn: string }): void {
  const selector =
    "item" in what ? `[data-stop="${CSS.escape(what.item)}"]` : `article[data-turn="${CSS.escape(what.turn)}"]`;
  let tries = 0;
  const look = () => {
    const found = document.querySelector<HTMLElement>(`.log ${selector}`);
    if (found) go_to_element("item" in what ? found : found.querySelector("[data-stop]"), found, "center");
    else if ((tries += 1) < 600) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}

const press = (stop: HTMLElement, selector: string) => stop.querySelector<HTMLButtonElement>(selector)?.click();

const letters: Record<string, (bench: Bench, scroller: HTMLElement, stop: HTMLElement) => void> = {
  "[": (_, scroller) => step(scroller, -1, false),
  "]": (_, scroller) => step(scroller, 1, false),
  i: (bench, _, stop) => inspect(bench, stop.dataset.attempt ?? null),
  r: (_, __, stop) => press(stop, "[data-act=reveal]"),
  y: (_, __, stop) => press(stop, "[data-decision=accept]"),
  n: (_, __, stop) => press(stop, "[data-decision=decline]"),
  e: (bench) => {
    const last = bench.thread.value?.turns.value.at(-1);
    if (last && !bench.thread.value?.busy.value && !bench.thread.value?.elsewhere.value) bench.editing.value = last.id;
  },
};

export function log_keys(bench: Bench, scroller: HTMLElement, event: KeyboardEvent): void {
  const stop = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (stop.dataset.stop === undefined || !bench.engine.settings.value.value.shortcuts) return;
  const act = letters[event.key];
  if (!act) return;
  event.preventDefault();
  act(bench, scroller, stop);
}
