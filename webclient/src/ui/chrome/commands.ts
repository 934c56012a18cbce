// What the palette offers: the acts of the page, as far as they can be done now, and the sessions.

import { all_of, type Bench, inspect, is_revealed, set_revealed, tabs } from "../bench";
import type { IconName } from "../icon";
import { begin_session, open_session } from "../sessions/pane";
import { words } from "../settings/strings";
import { t } from "../strings";

export interface Command {
  readonly name: string;
  readonly icon: IconName;
  readonly keys?: string;
  run(): void;
}

export function commands(bench: Bench): readonly Command[] {
  const { engine } = bench;
  const thread = bench.thread.value;
  const last = thread?.turns.value.at(-1);
  const found: Command[] = [];
  const add = (name: string, icon: IconName, run: () => void, keys?: string) => found.push({ name, icon, run, keys });
  const coding = bench.coding.value?.view;
  if (coding?.busy.value) add(t.composer.stop, "stop", () => void coding.interrupt(), "Esc");
  if (thread?.busy.value) {
    add(t.composer.stop, "stop", () => thread.stop(), "Esc");
    add(t.composer.flush, "flush", () => engine.flush(), "Ctrl ⇧ F");
  }
  add(t.sessions.fresh, "plus", () => begin_session(bench), "Ctrl ⇧ O");
  add(t.sessions.coding, "terminal", () => {
    bench.dialog.value = { kind: "coding" };
  });
  add(t.shortcuts.list.focus, "edit", () => document.getElementById("prompt")?.focus(), "/");
  if (last && !thread?.busy.value) {
    add(t.turn.retry, "retry", () => thread?.retry(last.id));
    add(t.shortcuts.list.edit, "edit", () => {
      bench.editing.value = last.id;
    });
    if (thread?.canProceed(last.id)) add(t.turn.go_on, "play", () => thread.proceed(last.id));
  }
  for (const tab of tabs)
    add(`${t.inspector.title}: ${t.inspector.tabs[tab]}`, "panel_right", () => inspect(bench, bench.picked.value, tab));
  add(bench.inspector_open.value ? t.inspector.hide : t.inspector.show, "panel_right", () => {
    bench.inspector_open.value = !bench.inspector_open.value;
  });
  add(bench.sessions_open.value ? t.sessions.hide : t.sessions.show, "panel_left", () => {
    bench.sessions_open.value = !bench.sessions_open.value;
  });
  const shown = is_revealed(bench, all_of(bench));
  if (engine.settings.value.value.redaction)
    add(shown ? t.palette.hide_all : t.palette.reveal_all, shown ? "eye_off" : "eye", () =>
      set_revealed(bench, all_of(bench), !shown),
    );
  if (thread && last) {
    const dialog = (kind: "rename" | "export" | "remove") => () => {
      bench.dialog.value = { kind, thread: thread.id };
    };
    add(t.sessions.rename, "edit", dialog("rename"));
    add(t.sessions.export_record, "out", dialog("export"));
    add(t.sessions.remove, "trash", dialog("remove"));
  }
  for (const theme of ["system", "light", "dark"] as const)
    add(`${words.theme}: ${words.themes[theme]}`, "settings", () => engine.settings.change({ theme }));
  add(t.settings.title, "settings", () => {
    bench.dialog.value = { kind: "settings" };
  });
  add(
    t.shortcuts.title,
    "more",
    () => {
      bench.dialog.value = { kind: "shortcuts" };
    },
    "?",
  );
  for (const one of engine.sessions.list.value.slice(0, 200))
    add(`${t.palette.sessions}: ${one.title || t.sessions.untitled}`, "right", () => void open_session(bench, one.id));
  return found;
}
