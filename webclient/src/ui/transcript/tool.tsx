// A tool call: what the model wants, how far its arguments have come, what is odd about them, and the result, which the
// user may give by hand.

import { useState } from "preact/hooks";
import type { TurnView } from "../../engine";
import type { ArgumentsVerdict, ToolCall } from "../../model";
import { inspect, set_revealed, use_bench, use_revealed } from "../bench";
import { count, span } from "../format";
import { Icon } from "../icon";
import { Button, Chip, CopyButton, QuietButton } from "../parts";
import { t } from "../strings";
import { Payload, parsed } from "./payload";

function verdict_chip(verdict: ArgumentsVerdict, ended: boolean): { look: string; words: string } {
  switch (verdict.kind) {
    case "empty":
      return { look: ended ? "warn" : "", words: t.tool.verdict.empty };
    case "prefix":
      return { look: ended ? "bad" : "info", words: t.tool.verdict.prefix(verdict.depth) };
    case "complete":
      return verdict.object
        ? { look: "good", words: t.tool.verdict.complete }
        : { look: "warn", words: t.tool.verdict.not_object };
    case "broken":
      return { look: "bad", words: t.tool.verdict.broken(verdict.at) };
  }
}

export function ToolCard({ item, turn }: { item: ToolCall; turn: TurnView }) {
  const bench = use_bench();
  const revealed = use_revealed(item.id);
  const verdict = verdict_chip(item.verdict, item.state !== "open");
  const waiting = bench.thread.value?.elsewhere.value === false ? waits_for(turn, item.id) : 0;
  return (
    <section class={`card tool ${item.memory ? "of-memory" : ""}`}>
      <header class="card-head">
        <Icon name={item.memory ? "memory" : "tool"} />
        <code class="tool-name clip">{item.name || t.tool.no_name}</code>
        {item.memory && (
          <Chip look="memory">
            {t.memory.tier[item.memory.tier]} · {t.memory.action[item.memory.action]}
          </Chip>
        )}
        {item.state === "open" ? <span class="dot live" /> : null}
        <span class="grow" />
        {item.tookMs > 0 && <span class="muted number">{span(item.tookMs)}</span>}
        <QuietButton
          icon={revealed ? "eye_off" : "eye"}
          data-act="reveal"
          aria-pressed={revealed}
          title={t.tool.reveal_hint}
          onClick={() => set_revealed(bench, item.id, !revealed)}
        >
          {revealed ? t.tool.hide : t.tool.reveal}
        </QuietButton>
        <QuietButton icon="panel_right" label={t.turn.inspect} onClick={() => inspect(bench, item.attempt, "tools")} />
      </header>
      <div class="card-body">
        <div class="row wrap">
          <span class="part-name">{t.tool.arguments}</span>
          <Chip look={verdict.look}>{verdict.words}</Chip>
          <span class="muted number">{count(item.arguments.length)} chars</span>
          {item.flags.map((flag) => (
            <Chip key={flag} look="warn">
              <Icon name="warn" />
              {t.tool.flag[flag]}
            </Chip>
          ))}
          <span class="grow" />
          {revealed && <CopyButton text={() => item.arguments} />}
        </div>
        {item.arguments.trim() !== "" && <Payload text={item.arguments} revealed={revealed} label={t.tool.arguments} />}
        {item.result && <Result item={item} revealed={revealed} />}
        {waiting > 0 && <AnswerForm item={item} last={waiting === 1} />}
      </div>
    </section>
  );
}

function Result({ item, revealed }: { item: ToolCall; revealed: boolean }) {
  const result = item.result!;
  return (
    <>
      <div class="row wrap">
        <span class="part-name">{t.tool.result}</span>
        <Chip look={result.failed ? "bad" : "good"}>{result.failed ? t.tool.failed : t.tool.by[result.by]}</Chip>
        <span class="grow" />
        {revealed && <CopyButton text={() => result.text} />}
      </div>
      <Payload text={result.text} revealed={revealed} label={t.tool.result} />
    </>
  );
}

/** How many results the turn still waits for, if this item's is one of them; else 0. */
function waits_for(turn: TurnView, item: string): number {
  const state = turn.state.value;
  return state.kind === "tools" && state.waiting.includes(item) ? state.waiting.length : 0;
}

function AnswerForm({ item, last }: { item: ToolCall; last: boolean }) {
  const bench = use_bench();
  const [text, set_text] = useState("");
  const [failed, set_failed] = useState(false);
  const id = `answer-${item.id}`;
  const put = () => bench.thread.value?.answer(item.id, text, failed);
  const on_key = (event: KeyboardEvent) => {
    event.stopPropagation();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      put();
    }
    if (event.key === "Escape") event.currentTarget instanceof HTMLElement && event.currentTarget.blur();
  };
  return (
    <form
      class="answer-form"
      onSubmit={(event) => {
        event.preventDefault();
        put();
      }}
    >
      <label for={id}>{t.tool.answer_label(item.name)}</label>
      <textarea
        id={id}
        class="field mono"
        rows={3}
        value={text}
        placeholder={t.tool.answer_placeholder}
        spellcheck={false}
        aria-describedby={`${id}-hint`}
        onInput={(event) => set_text(event.currentTarget.value)}
        onKeyDown={on_key}
      />
      <div class="row wrap">
        <span class="muted grow" id={`${id}-hint`}>
          {text.trim() !== "" && !parsed(text) ? t.tool.not_json : t.tool.answer_hint}
        </span>
        <label class="tick">
          <input type="checkbox" checked={failed} onChange={(event) => set_failed(event.currentTarget.checked)} />
          {t.tool.answer_failed}
        </label>
        <Button look="main" type="submit">
          {last ? t.tool.go_on : t.tool.put}
        </Button>
      </div>
    </form>
  );
}
