// What was said: by the user, by the model, to itself; and what nobody knows.

import { useEffect, useRef, useState } from "preact/hooks";
import type { AgentMessage, RawItem, Reasoning, UserMessage } from "../../model";
import { set_revealed, use_bench, use_revealed } from "../bench";
import { span } from "../format";
import { Icon } from "../icon";
import { Button, Chip, QuietButton } from "../parts";
import { t } from "../strings";
import { Markdown } from "./markdown";
import { Payload } from "./payload";

export function UserText({ item, turn }: { item: UserMessage; turn: string }) {
  const bench = use_bench();
  if (bench.is_edited(turn).value) return <EditPrompt text={item.text} turn={turn} />;
  return (
    <div class="prompt-text" dir="auto">
      {item.text}
    </div>
  );
}

function EditPrompt({ text, turn }: { text: string; turn: string }) {
  const bench = use_bench();
  const [draft, set_draft] = useState(text);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current!.focus(), []);
  const leave = () => {
    bench.editing.value = null;
  };
  const send = () => {
    if (!draft.trim()) return;
    leave();
    bench.thread.value?.edit(turn, draft);
  };
  const on_key = (event: KeyboardEvent) => {
    event.stopPropagation();
    if (event.key === "Escape") leave();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  };
  return (
    <form
      class="edit-prompt"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={field}
        class="field"
        rows={Math.min(12, draft.split("\n").length + 1)}
        value={draft}
        aria-label={t.turn.edit}
        dir="auto"
        onInput={(event) => set_draft(event.currentTarget.value)}
        onKeyDown={on_key}
      />
      <div class="row">
        <span class="muted grow">{t.turn.edit_hint}</span>
        <Button onClick={leave}>{t.cancel}</Button>
        <Button look="main" type="submit" disabled={!draft.trim()}>
          {t.composer.send}
        </Button>
      </div>
    </form>
  );
}

export function AgentText({ item }: { item: AgentMessage }) {
  return (
    <>
      {item.choice > 0 && <Chip>{t.turn.choice(item.choice)}</Chip>}
      {item.leaked && (
        <Chip look="warn">
          <Icon name="warn" />
          {t.turn.leaked}
        </Chip>
      )}
      {item.text !== "" && <Markdown text={item.text} done={item.state !== "open"} />}
      {item.refusal !== "" && (
        <div class="card refusal">
          <strong>{t.turn.refusal}</strong>
          <Markdown text={item.refusal} done={item.state !== "open"} />
        </div>
      )}
      {item.seams.length > 0 && <p class="hint">{t.turn.seams(item.seams)}</p>}
    </>
  );
}

/** Open while the model thinks, closed once it speaks; from then on as the reader wants it. */
export function ReasoningBlock({ item }: { item: Reasoning }) {
  const [chosen, set_chosen] = useState<boolean | null>(null);
  const open = chosen ?? item.state === "open";
  return (
    <div class="reasoning-block">
      <QuietButton look="fold" aria-expanded={open} onClick={() => set_chosen(!open)}>
        <Icon name={open ? "down" : "right"} />
        <span>{t.reasoning.title}</span>
        {item.state === "open" ? <span class="dot live" /> : <span class="muted number">{span(item.tookMs)}</span>}
        {item.choice > 0 && <span class="muted">{t.turn.choice(item.choice)}</span>}
      </QuietButton>
      {open && (
        <div class="reasoning-text">
          {item.summary !== "" && <Markdown text={item.summary} done={item.state !== "open"} />}
          {item.text !== "" && <Markdown text={item.text} done={item.state !== "open"} />}
        </div>
      )}
    </div>
  );
}

export function RawCard({ item }: { item: RawItem }) {
  const bench = use_bench();
  const revealed = use_revealed(item.id);
  return (
    <section class="card">
      <header class="card-head">
        <Icon name="warn" />
        <strong class="clip">{t.raw.title}</strong>
        <code class="clip grow">{item.name}</code>
        <QuietButton data-act="reveal" aria-pressed={revealed} onClick={() => set_revealed(bench, item.id, !revealed)}>
          {revealed ? t.tool.hide : t.tool.reveal}
        </QuietButton>
      </header>
      <div class="card-body">
        <p class="muted">{t.raw.words}</p>
        <Payload text={item.data} revealed={revealed} label={t.raw.title} />
      </div>
    </section>
  );
}
