// What went wrong, in words, with everything that is needed to find it in a log, and what can be done about it.

import type { ComponentChildren } from "preact";
import type { Budget, Failure } from "../../model";
import { use_bench } from "../bench";
import { count, seconds_until } from "../format";
import { Icon } from "../icon";
import { Button, Chip, CopyButton, use_now } from "../parts";
import { t } from "../strings";

function words_of(failure: Failure): string {
  switch (failure.kind) {
    case "offline":
      return t.failure.offline_words;
    case "unreachable":
      return t.failure.unreachable_words;
    case "noKey":
      return t.failure.noKey_words;
    case "badKey":
      return t.failure.badKey_words;
    case "tooLarge":
      return t.failure.tooLarge_words(failure.bytes, failure.limit);
    case "overBudget":
      return t.failure.overBudget_words;
    default:
      return "";
  }
}

/** For a bug report: no payload, no key. */
export function details_of(failure: Failure): string {
  const { kind, status, code, type, param, message, requestId, at } = failure;
  return JSON.stringify(
    { kind, status, code, type, param, message, request_id: requestId, at: new Date(at).toISOString() },
    null,
    2,
  );
}

function BudgetTable({ budget }: { budget: Budget }) {
  const rows = (Object.keys(t.failure.budget) as (keyof Budget)[]).filter(
    (key) => budget[key] !== null && budget[key] !== "",
  );
  if (rows.length === 0) return null;
  return (
    <dl class="facts">
      {rows.map((key) => (
        <div key={key}>
          <dt>{t.failure.budget[key]}</dt>
          <dd class="number">{typeof budget[key] === "number" ? count(budget[key]) : budget[key]}</dd>
        </div>
      ))}
    </dl>
  );
}

/** How many tokens may still be asked for, if the budget says enough to tell. */
function room_in(budget: Budget): number | null {
  const { prompt, contextTokens, outputTokens } = budget;
  if (outputTokens === null && contextTokens === null) return null;
  const room = Math.min(
    outputTokens ?? Infinity,
    prompt !== null && contextTokens !== null ? contextTokens - prompt : Infinity,
  );
  return Number.isFinite(room) && room >= 1 ? room : null;
}

export function FailureCard({
  failure,
  turn,
  last,
  children,
}: {
  failure: Failure;
  turn: string;
  last: boolean;
  children?: ComponentChildren;
}) {
  const bench = use_bench();
  const thread = bench.thread.value;
  const words = words_of(failure);
  const can_retry = thread !== null && last && !thread.elsewhere.value;
  const to_settings = failure.kind === "noKey" || failure.kind === "badKey" || failure.kind === "unreachable";
  const room = failure.kind === "overBudget" ? room_in(failure.budget) : null;
  const lower = () => {
    const { sampling } = bench.engine.settings.value.value;
    bench.engine.settings.change({ sampling: { ...sampling, maxTokens: room } });
    thread?.retry(turn);
  };
  return (
    <section class="card failure">
      <div class="card-body">
        <div role={last ? "alert" : undefined}>
          <h3 class="row">
            <Icon name="warn" />
            {t.failure[failure.kind]}
          </h3>
          {failure.message !== "" && failure.message !== failure.code && (
            <p class="failure-message" dir="auto">
              {failure.message}
            </p>
          )}
          {words !== "" && <p>{words}</p>}
        </div>
        {children}
        {failure.kind === "overBudget" && <BudgetTable budget={failure.budget} />}
        <div class="row wrap">
          {failure.status !== null && (
            <Chip look={failure.status < 400 ? "" : "bad"}>
              {t.failure.status} {failure.status}
            </Chip>
          )}
          {failure.code !== "" && <Chip>{failure.code}</Chip>}
          {failure.param !== "" && <Chip>{failure.param}</Chip>}
          {failure.requestId !== "" && (
            <span class="id-line">
              <span class="muted">{t.failure.request_id}</span> <code>{failure.requestId}</code>
            </span>
          )}
          <CopyButton text={() => details_of(failure)} label={t.failure.copy_details} />
        </div>
        {can_retry && (
          <div class="row wrap">
            <RetryButtons failure={failure} turn={turn} />
            {room !== null && <Button onClick={lower}>{t.failure.lower(room)}</Button>}
            {to_settings && (
              <Button
                icon="settings"
                onClick={() => {
                  bench.dialog.value = { kind: "settings", section: "connection" };
                }}
              >
                {t.failure.open_settings}
              </Button>
            )}
            {thread.canProceed(turn) && (
              <Button icon="play" title={t.turn.go_on_hint} onClick={() => thread.proceed(turn)}>
                {t.turn.go_on}
              </Button>
            )}
          </div>
        )}
      </div>
    </section>
  );
}

/** Retry, with the server's own wish for patience beside it. */
function RetryButtons({ failure, turn }: { failure: Failure; turn: string }) {
  const bench = use_bench();
  const thread = bench.thread.value!;
  const countdown = thread.countdown.value;
  const until = countdown?.turn === turn ? countdown.until : "until" in failure ? failure.until : null;
  const now = use_now(until !== null, 250);
  const left = until === null ? 0 : seconds_until(until, now);
  const automatic = countdown?.turn === turn && countdown.automatic;
  return (
    <>
      <Button icon="retry" look="main" onClick={() => thread.retry(turn)}>
        {left > 0 ? t.failure.retry_now : t.failure.retry}
      </Button>
      {left > 0 && (
        <span class="countdown number" role="timer">
          {t.failure.retry_in(left)}
        </span>
      )}
      {until !== null && (
        <label class="tick">
          <input
            type="checkbox"
            checked={bench.engine.settings.value.value.autoRetry}
            onChange={(event) => bench.engine.settings.change({ autoRetry: event.currentTarget.checked })}
          />
          {t.failure.auto_retry}
        </label>
      )}
      {automatic && <Button onClick={() => thread.cancelCountdown()}>{t.cancel}</Button>}
    </>
  );
}
