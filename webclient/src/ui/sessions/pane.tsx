// The left pane: all sessions, a search through what was said in them, and what can be done with the one that is shown.

import { useEffect, useRef, useState } from "preact/hooks";
import type { SearchHit } from "../../engine";
import type { Thread } from "../../model";
import { tell_refusal, to_threads, use_bench, type Bench } from "../bench";
import { ago, moment } from "../format";
import { Icon } from "../icon";
import { Button, QuietButton, use_now } from "../parts";
import { t } from "../strings";
import { reach } from "../transcript/keys";
import { open_record } from "./records";

export function begin_session(bench: Bench): void {
  to_threads(bench);
  const current = bench.engine.sessions.current.peek();
  if (!current || current.turns.peek().length > 0) bench.engine.sessions.create();
  if (bench.room.value === 1) bench.sessions_open.value = false;
  requestAnimationFrame(() => document.getElementById("prompt")?.focus());
}

export async function open_session(bench: Bench, id: string, turn: string | null = null): Promise<void> {
  to_threads(bench);
  const view = await bench.engine.sessions.open(id);
  if (view && turn) {
    view.show(turn);
    reach({ turn });
  }
  if (bench.room.value === 1) bench.sessions_open.value = false;
}

export function SessionsPane() {
  const bench = use_bench();
  const { sessions } = bench.engine;
  const [query, set_query] = useState("");
  const hits = use_hits(query);
  const [archive_open, set_archive_open] = useState(false);
  const all = sessions.list.value;
  const active = all.filter((thread) => !thread.archived);
  const archived = all.filter((thread) => thread.archived);
  const coding = bench.coding.value;
  return (
    <>
      <header class="pane-head">
        <h2 class="unseen">{t.sessions.title}</h2>
        <span class="brand grow">
          <Icon name="panel_left" />
          {t.product}
        </span>
        <QuietButton
          icon="close"
          look="pane-close"
          label={t.sessions.hide}
          onClick={() => {
            bench.sessions_open.value = false;
          }}
        />
      </header>
      <div class="sessions-top">
        <Button icon="plus" look="wide" onClick={() => begin_session(bench)}>
          {t.sessions.fresh}
          <span class="grow" />
          <kbd>Ctrl ⇧ O</kbd>
        </Button>
        <Button
          icon="terminal"
          look="wide"
          onClick={() => {
            bench.dialog.value = { kind: "coding" };
          }}
        >
          {t.sessions.coding}
        </Button>
        <div class="find">
          <Icon name="search" />
          <input
            class="field"
            type="search"
            value={query}
            placeholder={t.sessions.find}
            aria-label={t.sessions.find}
            onInput={(event) => set_query(event.currentTarget.value)}
          />
        </div>
      </div>
      <div class="sessions-list">
        {query.trim() !== "" ? (
          <Hits hits={hits} />
        ) : (
          <>
            {coding && <coding.Rows />}
            {active.length === 0 && <p class="hollow">{t.sessions.none}</p>}
            <Rows threads={active} />
            {archived.length > 0 && (
              <>
                <QuietButton look="fold" aria-expanded={archive_open} onClick={() => set_archive_open(!archive_open)}>
                  <Icon name={archive_open ? "down" : "right"} />
                  {t.sessions.archived}
                  <span class="muted number">{archived.length}</span>
                </QuietButton>
                {archive_open && <Rows threads={archived} />}
              </>
            )}
          </>
        )}
      </div>
      <footer class="pane-foot">
        <OpenRecord />
        <span class="grow" />
        <QuietButton
          icon="settings"
          label={t.settings.title}
          onClick={() => {
            bench.dialog.value = { kind: "settings" };
          }}
        />
      </footer>
    </>
  );
}

function Rows({ threads }: { threads: readonly Thread[] }) {
  const now = use_now(true, 30_000);
  return (
    <ul class="bare">
      {threads.map((thread) => (
        <Row key={thread.id} thread={thread} now={now} />
      ))}
    </ul>
  );
}

const dots: Partial<Record<Thread["state"], string>> = {
  connecting: "live",
  queued: "live",
  streaming: "live",
  running: "live",
  tools: "warn",
  approval: "warn",
  cut: "bad",
  failed: "bad",
  ended: "bad",
  done: "good",
};

function Row({ thread, now }: { thread: Thread; now: number }) {
  const bench = use_bench();
  const chosen = bench.thread.value?.id === thread.id;
  const title = thread.title || t.sessions.untitled;
  const dialog = (kind: "remove" | "rename" | "export") => {
    bench.dialog.value = { kind, thread: thread.id };
  };
  return (
    <li class={`session ${chosen ? "chosen" : ""}`}>
      <button
        type="button"
        class="session-open"
        aria-current={chosen ? "true" : undefined}
        title={`${title}\n${moment(thread.updated)}`}
        onClick={() => void open_session(bench, thread.id)}
      >
        <span class={`dot ${dots[thread.state] ?? ""}`} />
        <span class="clip grow" dir="auto">
          {title}
        </span>
        <span class="muted number session-when">{ago(thread.updated, now)}</span>
        <span class="unseen">, {t.state[thread.state]}</span>
      </button>
      {chosen && (
        <div class="session-acts" role="group" aria-label={t.sessions.actions(title)}>
          <span class="muted clip grow">
            {t.state[thread.state]} · {t.sessions.turns(thread.turns)}
          </span>
          <QuietButton icon="edit" label={t.sessions.rename} onClick={() => dialog("rename")} />
          <QuietButton icon="out" label={t.sessions.export_record} onClick={() => dialog("export")} />
          <QuietButton
            icon="box"
            label={thread.archived ? t.sessions.unarchive : t.sessions.archive}
            onClick={() => void tell_refusal(bench, bench.engine.sessions.archive(thread.id, !thread.archived))}
          />
          <QuietButton icon="trash" label={t.sessions.remove} onClick={() => dialog("remove")} />
        </div>
      )}
    </li>
  );
}

function use_hits(query: string): readonly SearchHit[] | null {
  const bench = use_bench();
  const { sessions } = bench.engine;
  const [hits, set_hits] = useState<readonly SearchHit[] | null>(null);
  useEffect(() => {
    set_hits(null);
    if (query.trim() === "") return;
    let gone = false;
    const failed = () => {
      bench.toast.value = t.chunk_failed;
    };
    const search = () => void sessions.search(query).then((found) => gone || set_hits(found), failed);
    const timer = setTimeout(search, 120);
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [query]);
  return hits;
}

function Hits({ hits }: { hits: readonly SearchHit[] | null }) {
  const bench = use_bench();
  if (hits === null) return null;
  if (hits.length === 0) return <p class="hollow">{t.sessions.nothing_found}</p>;
  return (
    <ul class="bare">
      {hits.map((hit, at) => (
        <li key={at} class="session">
          <button type="button" class="session-open hit" onClick={() => void open_session(bench, hit.thread, hit.turn)}>
            <span class="clip" dir="auto">
              {hit.title || t.sessions.untitled}
            </span>
            <span class="muted hit-words" dir="auto">
              {hit.before}
              <mark>{hit.match}</mark>
              {hit.after}
            </span>
          </button>
        </li>
      ))}
    </ul>
  );
}

/** The page's only file input: the record is read here and sent nowhere. */
function OpenRecord() {
  const bench = use_bench();
  const field = useRef<HTMLInputElement>(null);
  const chosen = async () => {
    const file = field.current!.files?.[0];
    field.current!.value = "";
    if (file) await open_record(bench, file);
  };
  return (
    <>
      <input
        ref={field}
        type="file"
        accept=".json,application/json"
        hidden
        aria-label={t.sessions.import_record}
        onChange={() => void chosen()}
      />
      <QuietButton icon="into" title={t.sessions.import_words} onClick={() => field.current!.click()}>
        {t.sessions.import_record}
      </QuietButton>
    </>
  );
}
