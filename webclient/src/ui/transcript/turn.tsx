// One turn: the prompt, what came of it, and how it ended. A turn out of view costs nothing: `content-visibility` in the
// styles leaves it out of layout.

import { useComputed } from "@preact/signals";
import { useContext, useState } from "preact/hooks";
import type { TurnView } from "../../engine";
import type { Received, TurnState } from "../../model";
import { inspect, use_bench } from "../bench";
import { moment, span, time } from "../format";
import { Icon } from "../icon";
import { Button, CopyButton, Near, QuietButton, StretchInView, TabStop, use_now } from "../parts";
import { t } from "../strings";
import { FailureCard } from "./failure";
import { ItemFrame, Stop } from "./item";

const amount = ({ deltas, characters, tokens }: Received): string => t.turn.received(deltas, characters, tokens);

export function Turn({ view, number, last }: { view: TurnView; number: number; last: boolean }) {
  const items = view.items.value;
  const [prompt, ...answer] = items;
  // Only turns near the view have buttons: a long session would be a third buttons, each of which is told of every
  // answer that begins or ends. What decorates a turn is made when it first comes near, and stays.
  const [in_view, set_in_view] = useState(false);
  const [seen, set_seen] = useState(false);
  const around = useContext(StretchInView);
  const near = (in_view && around) || last;
  const came_or_went = (event: { readonly skipped: boolean }) => {
    set_in_view(!event.skipped);
    if (!event.skipped) set_seen(true);
  };
  return (
    <article
      class="turn"
      data-turn={view.id}
      aria-label={t.turn.prompt_of(number)}
      {...{ onContentVisibilityAutoStateChange: came_or_went }}
    >
      <div class="turn-prompt">
        <TurnHead view={view} who={t.turn.you} near={near} at={view.created} prompt />
        {prompt && <ItemFrame view={prompt} turn={view} />}
      </div>
      <Near.Provider value={seen || last}>
        <div class="turn-answer">
          <TurnHead view={view} who={t.turn.model} near={near} />
          {answer.map((item) => (
            <ItemFrame key={item.id} view={item} turn={view} />
          ))}
          <Ending view={view} last={last} />
        </div>
      </Near.Provider>
    </article>
  );
}

function text_of(view: TurnView, kind: "userMessage" | "agentMessage"): string {
  return view.items
    .peek()
    .map((item) => item.item.peek())
    .flatMap((item) => (item.kind === kind ? [item.text] : []))
    .join("\n\n");
}

interface HeadProps {
  view: TurnView;
  who: string;
  near: boolean;
  at?: number;
  prompt?: boolean;
}

function TurnHead({ view, who, near, at, prompt = false }: HeadProps) {
  return (
    <header class="turn-head">
      <h2>{who}</h2>
      {at !== undefined && (
        <time class="muted number" dateTime={new Date(at).toISOString()} title={moment(at)}>
          {time(at)}
        </time>
      )}
      {!prompt && view.model !== "" && <span class="muted clip model-name">{view.model}</span>}
      <span class="grow" />
      {near && <Acts view={view} prompt={prompt} />}
    </header>
  );
}

/** What can be done with a prompt, or with an answer. */
function Acts({ view, prompt }: { view: TurnView; prompt: boolean }) {
  const bench = use_bench();
  const thread = bench.thread.value;
  const here = useComputed(
    () => view.items.value.some((item) => bench.is_stop(item.id).value) || bench.is_stop(`end-${view.id}`).value,
  ).value;
  const busy = !thread || thread.busy.value || thread.elsewhere.value;
  return (
    <TabStop.Provider value={here ? 0 : -1}>
      {prompt && <Siblings view={view} />}
      <span class="turn-acts">
        {prompt && thread && (
          <QuietButton
            icon="edit"
            label={t.turn.edit}
            data-act="edit"
            disabled={busy}
            onClick={() => {
              bench.editing.value = view.id;
            }}
          />
        )}
        {prompt && <CopyButton label={t.turn.copy_prompt} text={() => text_of(view, "userMessage")} />}
        {!prompt && <CopyButton label={t.turn.copy_answer} text={() => text_of(view, "agentMessage")} />}
        {!prompt && thread && (
          <QuietButton icon="retry" label={t.turn.retry} disabled={busy} onClick={() => thread.retry(view.id)} />
        )}
        {!prompt && !bench.coding.value && (
          <QuietButton
            icon="panel_right"
            label={t.turn.inspect}
            data-act="inspect"
            onClick={() => inspect(bench, view.attempts.peek().at(-1)?.id ?? null)}
          />
        )}
      </span>
    </TabStop.Provider>
  );
}

function Siblings({ view }: { view: TurnView }) {
  const bench = use_bench();
  const { ids, place } = view.siblings.value;
  if (ids.length < 2) return null;
  const show = (at: number) => {
    const id = ids[at];
    if (id) bench.thread.value?.show(id);
  };
  const fixed = !bench.thread.value || bench.thread.value.busy.value;
  return (
    <span class="siblings" role="group" aria-label={t.turn.sibling(place + 1, ids.length)}>
      <QuietButton icon="left" label={t.turn.earlier} disabled={fixed || place === 0} onClick={() => show(place - 1)} />
      <span class="number">
        {place + 1}/{ids.length}
      </span>
      <QuietButton
        icon="right"
        label={t.turn.later}
        disabled={fixed || place === ids.length - 1}
        onClick={() => show(place + 1)}
      />
    </span>
  );
}

/** How the turn stands, below what came of it. */
function Ending({ view, last }: { view: TurnView; last: boolean }) {
  const state = view.state.value;
  const usage = view.usage.value;
  switch (state.kind) {
    case "connecting":
    case "queued":
    case "streaming":
    case "running":
      return <Progress state={state} />;
    case "tools":
      return (
        <p class="ending warn">
          <Icon name="pause" />
          {t.tool.waiting(state.waiting.length)}
        </p>
      );
    case "approval":
      return (
        <p class="ending warn">
          <Icon name="pause" />
          {t.state.approval}
        </p>
      );
    case "failed":
      return (
        <EndStop view={view}>
          <FailureCard failure={state.failure} turn={view.id} last={last} />
        </EndStop>
      );
    case "cut":
      return (
        <EndStop view={view}>
          <FailureCard failure={state.failure} turn={view.id} last={last}>
            <p>
              <strong>{t.turn.cut(amount(state.received))}.</strong> {t.turn.cut_words}
            </p>
          </FailureCard>
        </EndStop>
      );
    case "stopped":
      return (
        <EndStop view={view}>
          <Ended words={`${t.turn.stopped} · ${amount(state.received)}`} view={view} last={last} />
        </EndStop>
      );
    case "ended":
      return (
        <EndStop view={view}>
          <Ended words={t.turn.ended[state.how]} view={view} last={last} />
        </EndStop>
      );
    case "done": {
      const odd = state.finish !== null ? t.turn.finish[state.finish] : undefined;
      if (odd)
        return (
          <EndStop view={view}>
            <Ended words={odd} view={view} last={last} />
          </EndStop>
        );
      return usage ? <p class="ending muted number">{t.turn.tokens(usage.prompt, usage.completion)}</p> : null;
    }
  }
}

const EndStop = ({ view, children }: { view: TurnView; children: preact.ComponentChildren }) => (
  <Stop
    id={`end-${view.id}`}
    name={t.state[view.state.value.kind]}
    look="item end"
    turn={view.id}
    attempt={view.attempts.value.at(-1)?.id ?? null}
  >
    {children}
  </Stop>
);

function Ended({ words, view, last }: { words: string; view: TurnView; last: boolean }) {
  const thread = use_bench().thread.value;
  return (
    <div class="ending row wrap">
      <Icon name="stop" />
      <span>{words}</span>
      {thread && last && !thread.elsewhere.value && (
        <>
          <Button look="small" icon="retry" onClick={() => thread.retry(view.id)}>
            {t.failure.retry}
          </Button>
          {thread.canProceed(view.id) && (
            <Button look="small" icon="play" title={t.turn.go_on_hint} onClick={() => thread.proceed(view.id)}>
              {t.turn.go_on}
            </Button>
          )}
        </>
      )}
    </div>
  );
}

type Live = Extract<TurnState, { since: number }>;

function words_of(state: Live): string {
  switch (state.kind) {
    case "connecting":
      return t.turn.connecting;
    case "queued":
      return t.turn.queued;
    case "streaming":
      return t.turn.writing[state.what];
    case "running":
      return t.turn.running;
  }
}

function Progress({ state }: { state: Live }) {
  const now = use_now(true, 500);
  return (
    <p class="ending progress">
      <span class="dot live" />
      <span>{words_of(state)}</span>
      <span class="muted number">{span(Math.max(0, Math.floor((now - state.since) / 500) * 500))}</span>
    </p>
  );
}
