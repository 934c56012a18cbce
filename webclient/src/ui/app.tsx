// The page: sessions, transcript, inspector beside each other as far as there is room; else the outer two slide over the
// middle, which cannot be reached meanwhile.

import { useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type Bench, BenchProvider, use_bench } from "./bench";
import { Bar } from "./bar";
import { Announcer } from "./chrome/announcer";
import { global_keys } from "./chrome/keys";
import { StatusLine } from "./chrome/status";
import { Splitter } from "./chrome/splitter";
import { Composer } from "./composer/composer";
import { short_count } from "./format";
import { Inspector } from "./inspector/inspector";
import { once } from "./idle";
import { Chip, QuietButton, use_loaded } from "./parts";
import { SessionsPane } from "./sessions/pane";
import { t } from "./strings";
import { TranscriptLog } from "./transcript/transcript";

const LATER_MS = 3000;

export function App({ bench }: { bench: Bench }) {
  use_room(bench);
  use_theme(bench);
  useSignalEffect(() => {
    // There is always a session to write in; it is kept from its first prompt on.
    if (bench.engine.sessions.ready.value && bench.engine.sessions.current.value === null)
      bench.engine.sessions.create();
  });
  useEffect(() => {
    const shown = bench.engine.coding.shown();
    if (shown) void import("./later").then((chunk) => chunk.join(bench, shown));
    const on_key = (event: KeyboardEvent) => global_keys(bench, event);
    document.addEventListener("keydown", on_key);
    // What comes later comes before it is wanted: by then there may be no network.
    const loading = setTimeout(() => void import("./later").catch(() => undefined), LATER_MS);
    return () => {
      clearTimeout(loading);
      document.removeEventListener("keydown", on_key);
    };
  }, []);
  const room = bench.room.value;
  const sessions = bench.sessions_open.value;
  const inspector = bench.inspector_open.value;
  const over = room < 3 && inspector ? "inspector" : room < 2 && sessions ? "sessions" : null;
  const covered = over !== null;
  use_focus_over(over);
  return (
    <BenchProvider value={bench}>
      <a
        class="skip"
        href="#prompt"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("prompt")?.focus();
        }}
      >
        {t.skip}
      </a>
      <div class={`bench room-${room} ${sessions ? "with-sessions" : ""} ${inspector ? "with-inspector" : ""}`}>
        {sessions && (
          <nav class="pane sessions" aria-label={t.sessions.title}>
            <SessionsPane />
          </nav>
        )}
        <main class="pane middle" inert={covered}>
          <MiddleHead />
          <OfRecord />
          <TranscriptLog />
          <Composer />
        </main>
        {inspector && (
          <aside class="pane inspector" aria-label={t.inspector.title}>
            {room === 3 && <Splitter />}
            <Inspector />
          </aside>
        )}
        {covered && (
          <div
            class="veil"
            onClick={() => {
              if (inspector) bench.inspector_open.value = false;
              else bench.sessions_open.value = false;
            }}
          />
        )}
        <StatusLine />
      </div>
      <Dialogs />
      <Announcer />
    </BenchProvider>
  );
}

function MiddleHead() {
  const bench = use_bench();
  const shown = bench.transcript.value;
  const thread = shown?.thread.value;
  return (
    <header class="pane-head middle-head">
      {!bench.sessions_open.value && (
        <QuietButton
          icon="panel_left"
          label={t.sessions.show}
          data-opens="sessions"
          onClick={() => {
            bench.sessions_open.value = true;
          }}
        />
      )}
      <h1 class="clip" dir="auto">
        {thread?.title || t.sessions.untitled}
      </h1>
      {thread && <Chip>{t.composer.protocols[thread.engine]}</Chip>}
      <span class="grow" />
      <ContextMeter />
      {!bench.inspector_open.value && (
        <QuietButton
          icon="panel_right"
          label={t.inspector.show}
          data-opens="inspector"
          onClick={() => {
            bench.inspector_open.value = true;
          }}
        />
      )}
    </header>
  );
}

/** How much of the model's context the conversation takes, as the server counted it last. */
function ContextMeter() {
  const bench = use_bench();
  const usage = bench.thread.value?.usage.value;
  const most = bench.engine.connection.config.value.contextTokens;
  if (!usage) return null;
  if (most === null) return <Chip title={t.meter.context_unknown(usage.total)}>{short_count(usage.total)}</Chip>;
  return (
    <span class="context-meter" title={t.meter.context_words(usage.total, most)}>
      <span class="muted number">
        {short_count(usage.total)} / {short_count(most)}
      </span>
      <Bar value={usage.total} most={most} words={t.meter.context_words(usage.total, most)} />
    </span>
  );
}

const load_dialogs = once(() => import("./later").then((chunk) => chunk.OpenDialog));

/** The dialogs come with the first of them that is opened. */
function Dialogs() {
  const bench = use_bench();
  const dialog = bench.dialog.value;
  const Loaded = use_loaded(dialog ? load_dialogs : null, () => {
    bench.dialog.value = null;
    bench.toast.value = t.chunk_failed;
  });
  return dialog && Loaded && <Loaded dialog={dialog} />;
}

const load_replay = once(() => import("./later").then((chunk) => chunk.ReplayBar));

/** The controls of a record come with the first one that is opened. */
function OfRecord() {
  const bench = use_bench();
  const replay = bench.replay.value;
  const Loaded = use_loaded(replay ? load_replay : null, () => {
    bench.toast.value = t.chunk_failed;
  });
  return replay && Loaded && <Loaded />;
}

/** Opens and closes the outer panes when the room for them changes. */
function use_room(bench: Bench): void {
  useEffect(() => {
    const two = matchMedia("(min-width: 48rem)");
    const three = matchMedia("(min-width: 75rem)");
    const measure = () => {
      const room = three.matches ? 3 : two.matches ? 2 : 1;
      bench.room.value = room;
      bench.sessions_open.value = room > 1;
      bench.inspector_open.value = room > 2;
    };
    measure();
    const ending = new AbortController();
    for (const query of [two, three]) query.addEventListener("change", measure, { signal: ending.signal });
    return () => ending.abort();
  }, []);
}

/** Focus goes into the pane that slides over the middle, and back to the button that brought it. */
function use_focus_over(over: "inspector" | "sessions" | null): void {
  const before = useRef(over);
  useEffect(() => {
    const was = before.current;
    before.current = over;
    if (over === was) return;
    document.querySelector<HTMLElement>(over ? `.pane.${over} .pane-close` : `[data-opens=${was}]`)?.focus();
  }, [over]);
}

function use_theme(bench: Bench): void {
  const { theme } = bench.engine.settings.value.value;
  useEffect(() => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }, [theme]);
}
