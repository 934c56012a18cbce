// Keys that work wherever the focus is. Those of a single character leave fields alone, and can be switched off.

import { type Bench } from "../bench";
import { begin_session } from "../sessions/pane";
import { step } from "../transcript/keys";

const is_typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && target.closest("input, textarea, select, [contenteditable]") !== null;

/** What a key with its modifiers means; null if it means nothing here. */
function act_of(bench: Bench, event: KeyboardEvent): (() => void) | null {
  const control = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  if (control && !event.shiftKey && key === "k")
    return () => {
      bench.dialog.value = { kind: "palette" };
    };
  if (control && event.shiftKey && key === "o") return () => begin_session(bench);
  if (control && event.shiftKey && key === "f") return () => bench.engine.flush();
  if (control) return null;
  if (event.altKey) {
    const by = ({ arrowup: -1, arrowdown: 1 } as Record<string, 1 | -1>)[key];
    const log = document.querySelector<HTMLElement>(".log");
    return by && log ? () => step(log, by, true) : null;
  }
  if (key === "escape") return escape_of(bench);
  if (is_typing(event.target) || !bench.engine.settings.value.value.shortcuts) return null;
  if (key === "/") return () => document.getElementById("prompt")?.focus();
  if (key === "?")
    return () => {
      bench.dialog.value = { kind: "shortcuts" };
    };
  return null;
}

/** Escape stops what runs; only then does it close what lies over the transcript. */
function escape_of(bench: Bench): (() => void) | null {
  const thread = bench.thread.value;
  if (thread?.busy.value) return () => thread.stop();
  const coding = bench.coding.value?.view;
  if (coding?.busy.value) return () => void coding.interrupt();
  if (bench.editing.value !== null)
    return () => {
      bench.editing.value = null;
    };
  if (bench.room.value < 3 && bench.inspector_open.value)
    return () => {
      bench.inspector_open.value = false;
    };
  if (bench.room.value < 2 && bench.sessions_open.value)
    return () => {
      bench.sessions_open.value = false;
    };
  return null;
}

export function global_keys(bench: Bench, event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing) return;
  // A dialog has its own keys; the platform closes it by Escape.
  if (bench.dialog.value !== null) return;
  const act = act_of(bench, event);
  if (!act) return;
  event.preventDefault();
  act();
}
