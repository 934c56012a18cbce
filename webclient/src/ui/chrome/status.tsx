// The line at the bottom: how the connection is, in a dot and in words, and what the page as a whole has to say.

import { useEffect } from "preact/hooks";
import type { ConnectionState } from "../../model";
import { use_bench } from "../bench";
import { seconds_until, span } from "../format";
import { Button, QuietButton, use_now } from "../parts";
import { t } from "../strings";

const looks: Record<ConnectionState["kind"], string> = {
  unknown: "",
  checking: "live",
  connected: "good",
  noKey: "warn",
  badKey: "bad",
  unready: "warn",
  reconnecting: "bad",
  offline: "bad",
};

function words_of(state: ConnectionState, now: number): string {
  switch (state.kind) {
    case "connected":
      return `${t.connection.connected} · ${span(state.latencyMs)}`;
    case "unready":
      return `${t.connection.unready} (${state.status})`;
    case "reconnecting":
      return `${t.connection.lost} · ${t.connection.next(state.attempt, seconds_until(state.next, now))}`;
    default:
      return t.connection[state.kind];
  }
}

export function StatusLine() {
  const bench = use_bench();
  const { connection, settings, sessions } = bench.engine;
  const state = connection.state.value;
  const in_force = !settings.problems.value.some((problem) => problem.field === "baseUrl");
  const now = use_now(state.kind === "reconnecting", 250);
  const waits =
    state.kind === "reconnecting" || state.kind === "offline" || state.kind === "unready" || state.kind === "badKey";
  return (
    <footer class="status" aria-label={t.status.title}>
      <span class={`dot ${looks[state.kind]}`} />
      <span class="number">{words_of(state, now)}</span>
      {waits && (
        <Button look="small" onClick={() => connection.tryNow()}>
          {t.connection.now}
        </Button>
      )}
      <span class="muted clip status-url">
        {in_force ? settings.value.value.baseUrl || location.origin : location.origin}
      </span>
      {sessions.ready.value && !sessions.durable.value && <span class="problem">{t.status.not_durable}</span>}
      <span class="grow" />
      {connection.outdated.value && (
        <>
          <span class="warn-words">{t.connection.newer}</span>
          <Button look="small" onClick={() => location.reload()}>
            {t.connection.reload}
          </Button>
        </>
      )}
      <Toast />
      <QuietButton
        look="keys-hint"
        onClick={() => {
          bench.dialog.value = { kind: "shortcuts" };
        }}
      >
        <kbd>?</kbd> {t.shortcuts.title}
      </QuietButton>
    </footer>
  );
}

function Toast() {
  const { toast } = use_bench();
  const words = toast.value;
  useEffect(() => {
    if (words === "") return;
    const timer = setTimeout(
      () => {
        toast.value = "";
      },
      words === t.copied ? 1500 : 8000,
    );
    return () => clearTimeout(timer);
  }, [words]);
  return (
    <span class={`toast ${words ? "" : "gone"}`} role="alert">
      {words === t.copied ? "" : words}
    </span>
  );
}
