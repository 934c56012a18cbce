// Below the transcript of a coding session: how it stands, what waits for an answer, the plan, and where to write.

import { useEffect, useRef, useState } from "preact/hooks";
import type { CodingView } from "../../engine";
import { to_threads, use_bench } from "../bench";
import { seconds_until } from "../format";
import { Icon } from "../icon";
import { Button, QuietButton, use_now } from "../parts";
import { reach } from "../transcript/keys";
import { PlanSteps } from "../transcript/plan";
import { dots } from "./rows";
import { words } from "./strings";

export function CodingComposer() {
  const bench = use_bench();
  const { view } = bench.coding.value!;
  const problem = view.problem.value;
  useEffect(() => {
    if (problem) bench.toast.value = problem;
  }, [problem]);
  return (
    <div class="composer coding">
      <LinkBanner view={view} />
      <Unheard view={view} />
      <Waiting view={view} />
      <PlanStrip view={view} />
      <Field key={view.id} view={view} />
      <Foot view={view} />
    </div>
  );
}

/** Says only what is known: that the connection is lost, that nobody is let in, that there is no such session any more. */
function LinkBanner({ view }: { view: CodingView }) {
  const link = view.link.value;
  const now = use_now(link.kind === "waiting", 250);
  if (link.kind === "open") return view.trimmed.value ? <p class="hint">{words.trimmed}</p> : null;
  const look = link.kind === "connecting" ? "" : link.kind === "waiting" ? "warn" : "bad";
  return (
    <div class={`banner link-banner ${look}`} role={link.kind === "connecting" ? undefined : "alert"}>
      <span class={`dot ${link.kind === "connecting" ? "live" : look}`} />
      <span class="grow" dir="auto">
        {words.link[link.kind]}
        {link.kind === "gone" && ` ${words.reason[link.reason] ?? link.reason}`}
        {(link.kind === "refused" || link.kind === "waiting") && link.problem && ` ${link.problem}`}
        {link.kind === "waiting" && (
          <span class="number" aria-live="off">
            {" "}
            {words.tries(link.attempt, seconds_until(link.next, now))}
          </span>
        )}
      </span>
      {(link.kind === "waiting" || link.kind === "refused") && (
        <Button look="small" onClick={() => view.retry()}>
          {words.now}
        </Button>
      )}
    </div>
  );
}

/** What was written while the connection was lost: it is said when there is one again, if ever. */
function Unheard({ view }: { view: CodingView }) {
  const texts = view.unheard.value;
  if (texts.length === 0 || view.link.value.kind === "open") return null;
  return (
    <div class="notice gap">
      <Icon name="pause" />
      <span>
        {words.unheard}
        {texts.map((text, at) => (
          <span key={at} class="unheard" dir="auto">
            {text}
          </span>
        ))}
      </span>
    </div>
  );
}

function Waiting({ view }: { view: CodingView }) {
  const waiting = view.waiting.value;
  if (waiting.length === 0) return null;
  return (
    <div class="banner warn waiting-strip">
      <Icon name="key" />
      <span class="grow">{words.waits(waiting.length)}</span>
      <Button look="small" onClick={() => reach({ item: waiting[0]! })}>
        {words.show}
      </Button>
    </div>
  );
}

function PlanStrip({ view }: { view: CodingView }) {
  const steps = view.plan.value;
  if (steps.length === 0 || !view.busy.value) return null;
  const done = steps.filter((step) => step.status === "completed").length;
  const now = steps.find((step) => step.status === "inProgress");
  return (
    <details class="plan-strip">
      <summary>
        <Icon name="plan" />
        <span class="unseen">{words.plan}: </span>
        <span class="plan-dots" aria-hidden="true">
          {steps.map((step, at) => (
            <span key={at} class={step.status} />
          ))}
        </span>
        <span class="number">{words.plan_of(done, steps.length)}</span>
        <span class="clip grow" dir="auto">
          {now?.step}
        </span>
      </summary>
      <PlanSteps steps={steps} />
    </details>
  );
}

function Field({ view }: { view: CodingView }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const draft = view.draft.value;
  const busy = view.busy.value;
  const link = view.link.value.kind;
  const blank = draft.trim() === "";
  const over = link === "gone" || link === "refused";
  const say = () => {
    if (blank || over) return;
    view.say(draft);
    view.draft.value = "";
    field.current?.focus();
  };
  const steer = () => {
    if (view.steer(draft)) view.draft.value = "";
    field.current?.focus();
  };
  // What begins with a slash is for the session, not for the turn that runs.
  const main = busy && !draft.trimStart().startsWith("/") ? steer : say;
  const on_key = (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    main();
  };
  return (
    <form
      class="composer-box"
      aria-label={words.prompt}
      onSubmit={(event) => {
        event.preventDefault();
        main();
      }}
    >
      <textarea
        ref={field}
        id="prompt"
        class="composer-field"
        rows={1}
        value={draft}
        dir="auto"
        aria-label={words.prompt}
        placeholder={over ? words.placeholder_over : busy ? words.placeholder_busy : words.placeholder}
        onInput={(event) => {
          view.draft.value = event.currentTarget.value;
        }}
        onKeyDown={on_key}
      />
      <div class="composer-row">
        <Standing view={view} />
        <span class="grow" />
        {busy && (
          <>
            <Button title={words.queue_hint} disabled={blank || over} onClick={say}>
              {words.queue}
            </Button>
            <Button
              look="stop"
              icon="stop"
              title={words.stop_hint}
              disabled={link !== "open"}
              onClick={() => view.interrupt()}
            >
              {words.stop}
            </Button>
          </>
        )}
        <Button
          look="main"
          icon="send"
          type="submit"
          title={busy ? words.steer_hint : undefined}
          disabled={blank || over || (busy && link !== "open")}
        >
          {busy && main === steer ? words.steer : words.send}
        </Button>
      </div>
    </form>
  );
}

/** Which agent works where, and how it stands as far as this page has been told. */
function Standing({ view }: { view: CodingView }) {
  const { state, workspace, engine, model } = view.standing.value;
  const known = view.link.value.kind === "open" ? state : "unknown";
  return (
    <span class="options">
      <span class={`dot ${dots[known] ?? ""}`} />
      <span>{words.state[view.link.value.kind === "gone" ? "gone" : known]}</span>
      <span class="muted clip" title={model}>
        {[engine, workspace].filter(Boolean).join(" · ")}
      </span>
    </span>
  );
}

function Foot({ view }: { view: CodingView }) {
  const bench = use_bench();
  const [sure, set_sure] = useState(false);
  const tokens = view.tokens.value;
  const end = async () => {
    set_sure(false);
    const answer = await view.stop();
    if (!answer.ok) bench.toast.value = answer.problem || words.unreachable;
  };
  const gone = view.link.value.kind === "gone";
  return (
    <div class="composer-foot">
      {tokens && (
        <span class="muted number" title={words.tokens_title(tokens.context)}>
          {words.tokens(tokens.input, tokens.cached, tokens.output)}
        </span>
      )}
      <span class="grow" />
      {sure ? (
        <span class="row">
          <span>{words.end_sure}</span>
          <QuietButton look="bad" onClick={() => void end()}>
            {words.end_now}
          </QuietButton>
        </span>
      ) : (
        !gone && <QuietButton onClick={() => set_sure(true)}>{words.end}</QuietButton>
      )}
      <QuietButton title={words.leave_hint} onClick={() => to_threads(bench)}>
        {words.leave}
      </QuietButton>
    </div>
  );
}
