// The right pane: one exchange as it went over the wire.

import { useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { type Bench, inspect, set_revealed, tabs, use_bench, use_revealed, type Tab } from "../bench";
import { Icon } from "../icon";
import { once } from "../idle";
import { QuietButton, use_loaded } from "../parts";
import { t } from "../strings";
import { RequestPanel } from "./request";

const load_panels = once(() => import("../later").then((chunk) => chunk.panels));

export type Shown = NonNullable<Bench["attempt"]["value"]>;

/** Panels that show a session and not an exchange. */
const of_session: readonly Tab[] = ["tools", "memory"];

export function Inspector() {
  const bench = use_bench();
  const coding = bench.coding.value;
  return coding && !bench.replay.value ? <coding.Inspector /> : <OfExchange />;
}

function OfExchange() {
  const bench = use_bench();
  const shown = bench.attempt.value;
  const tab = bench.tab.value;
  // Bodies and frames of the past are kept apart from the rest, and come when somebody looks.
  useSignalEffect(() => {
    const view = bench.attempt.value?.view;
    if (view?.frames.value === null) void view.load();
  });
  return (
    <>
      <header class="pane-head">
        <h2 class="grow">{t.inspector.title}</h2>
        {shown && <AttemptPicker shown={shown} />}
        <QuietButton
          icon="close"
          look="pane-close"
          label={t.inspector.hide}
          onClick={() => {
            bench.inspector_open.value = false;
          }}
        />
      </header>
      <Tabs />
      <div
        class={`panel ${tab}`}
        role="tabpanel"
        id="inspector-panel"
        aria-labelledby={`tab-${tab}`}
        tabIndex={tab === "stream" ? undefined : 0}
      >
        {!shown && !of_session.includes(tab) ? (
          <p class="hollow">{t.inspector.nothing}</p>
        ) : tab === "request" ? (
          <RequestPanel shown={shown!} />
        ) : (
          <LaterPanel tab={tab} shown={shown!} />
        )}
      </div>
    </>
  );
}

function LaterPanel({ tab, shown }: { tab: Exclude<Tab, "request">; shown: Shown }) {
  const bench = use_bench();
  const Panel = use_loaded(load_panels, () => {
    bench.toast.value = t.chunk_failed;
  })?.[tab];
  return Panel ? <Panel shown={shown} /> : null;
}

function Tabs() {
  const bench = use_bench();
  const list = useRef<HTMLDivElement>(null);
  const chosen = bench.tab.value;
  const go = (tab: Tab) => {
    bench.tab.value = tab;
    list.current?.querySelector<HTMLElement>(`#tab-${tab}`)?.focus();
  };
  const on_key = (event: KeyboardEvent) => {
    const at = tabs.indexOf(chosen);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(tabs[(to + tabs.length) % tabs.length]!);
  };
  return (
    <div ref={list} class="tabs" role="tablist" aria-label={t.inspector.tabs_label} onKeyDown={on_key}>
      {tabs.map((tab) => (
        <button
          key={tab}
          type="button"
          role="tab"
          id={`tab-${tab}`}
          aria-selected={tab === chosen}
          aria-controls="inspector-panel"
          tabIndex={tab === chosen ? 0 : -1}
          onClick={() => go(tab)}
        >
          {t.inspector.tabs[tab]}
        </button>
      ))}
    </div>
  );
}

function AttemptPicker({ shown }: { shown: Shown }) {
  const bench = use_bench();
  if (shown.of < 2) return null;
  const go = (place: number) => inspect(bench, shown.turn.attempts.value[place]?.id ?? null);
  return (
    <span
      class="siblings"
      role="group"
      aria-label={`${t.inspector.attempt} ${t.inspector.attempt_of(shown.place + 1, shown.of)}`}
    >
      <QuietButton
        icon="left"
        label={t.turn.earlier}
        disabled={shown.place === 0}
        onClick={() => go(shown.place - 1)}
      />
      <span class="number">
        {shown.place + 1}/{shown.of}
      </span>
      <QuietButton
        icon="right"
        label={t.turn.later}
        disabled={shown.place === shown.of - 1}
        onClick={() => go(shown.place + 1)}
      />
    </span>
  );
}

/** The switch between shapes and bodies of one exchange. */
export function BodiesSwitch({ id }: { id: string }) {
  const bench = use_bench();
  if (!bench.engine.settings.value.value.redaction) return null;
  const revealed = use_revealed(id);
  return (
    <QuietButton
      data-act="reveal-bodies"
      aria-pressed={revealed}
      title={t.inspector.shape_hint}
      onClick={() => set_revealed(bench, id, !revealed)}
    >
      <Icon name={revealed ? "eye_off" : "eye"} />
      {revealed ? t.inspector.hide_payloads : t.inspector.reveal}
    </QuietButton>
  );
}
