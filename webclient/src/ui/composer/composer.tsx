// Where prompts are written, with what is sent beside them and how large it has become.

import { useEffect, useRef, useState } from "preact/hooks";
import type { ThreadView } from "../../engine";
import { use_bench } from "../bench";
import { bytes } from "../format";
import { Bar } from "../bar";
import { Button, QuietButton } from "../parts";
import { t } from "../strings";
import { Options } from "./options";

export function Composer() {
  const bench = use_bench();
  const thread = bench.thread.value;
  const coding = bench.coding.value;
  if (coding && !bench.replay.value) return <coding.Composer />;
  if (thread?.elsewhere.value) return <Elsewhere thread={thread} />;
  return thread ? <Open key={thread.id} thread={thread} /> : null;
}

/** Two tabs that write in one session would write over each other. */
function Elsewhere({ thread }: { thread: ThreadView }) {
  const bench = use_bench();
  return (
    <div class="composer">
      <div class="banner info">
        <span class="grow">{t.elsewhere.words}</span>
        <Button look="small" onClick={() => bench.engine.sessions.take(thread.id)}>
          {t.elsewhere.take}
        </Button>
      </div>
    </div>
  );
}

function Open({ thread }: { thread: ThreadView }) {
  const bench = use_bench();
  const field = useRef<HTMLTextAreaElement>(null);
  const draft = thread.draft.value;
  const busy = thread.busy.value;
  const size = use_size(thread, draft);
  const over = size.limit !== null && size.bytes > size.limit ? size.bytes - size.limit : 0;
  const can_send = !busy && draft.trim() !== "" && over === 0;
  const send = () => {
    if (!can_send) return;
    bench.picked.value = null;
    thread.send(draft);
    field.current?.focus();
  };
  const on_key = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      class="composer"
      aria-label={t.composer.label}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <div class={`composer-box ${over > 0 ? "over" : ""}`}>
        <textarea
          ref={field}
          id="prompt"
          class="composer-field"
          rows={1}
          value={draft}
          dir="auto"
          aria-label={t.composer.label}
          placeholder={t.composer.placeholder}
          aria-describedby="size-words"
          aria-invalid={over > 0}
          onInput={(event) => {
            thread.draft.value = event.currentTarget.value;
          }}
          onKeyDown={on_key}
        />
        <div class="composer-row">
          <Options thread={thread} />
          <span class="grow" />
          {busy && (
            <QuietButton
              icon="flush"
              label={t.composer.flush}
              title={t.composer.flush_hint}
              onClick={() => bench.engine.flush()}
            />
          )}
          {busy ? (
            <Button icon="stop" look="stop" onClick={() => thread.stop()}>
              {t.composer.stop}
            </Button>
          ) : (
            <Button icon="send" look="main" type="submit" disabled={!can_send}>
              {t.composer.send}
            </Button>
          )}
        </div>
      </div>
      <div class="composer-foot">
        <span id="size-words" class={`number ${over > 0 ? "problem" : "muted"}`}>
          {over > 0 ? t.composer.too_large(over) : t.composer.size(size.bytes, size.limit)}
        </span>
        {size.limit !== null && (
          <Bar value={size.bytes} most={size.limit} words={`${bytes(size.bytes)} / ${bytes(size.limit)}`} />
        )}
        <span class="grow" />
        <span class="muted keys-hint">
          <kbd>Enter</kbd> {t.composer.send} <kbd>⇧ Enter</kbd> {t.shortcuts.list.line} <kbd>Ctrl K</kbd>{" "}
          {t.shortcuts.list.commands}
        </span>
      </div>
    </form>
  );
}

/** The next request's weight; measured when the writer pauses, because a long conversation is weighed with it. */
function use_size(thread: ThreadView, draft: string): ReturnType<ThreadView["measure"]> {
  const [size, set_size] = useState(() => thread.measure(draft));
  const turns = thread.turns.value.length;
  const settings = use_bench().engine.settings.value.value;
  useEffect(() => {
    const timer = setTimeout(() => set_size(thread.measure(draft)), 120);
    return () => clearTimeout(timer);
  }, [thread, draft, turns, settings]);
  return size;
}
