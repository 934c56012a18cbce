// What was sent and what came back: ids side by side, headers, body.

import type { Attempt, Echo, Header } from "../../model";
import { use_bench, use_revealed } from "../bench";
import { time_seconds } from "../format";
import { Icon } from "../icon";
import { Chip, CopyButton, QuietButton } from "../parts";
import { t } from "../strings";
import { Payload } from "../transcript/payload";
import { curl, steering } from "./curl";
import { BodiesSwitch, type Shown } from "./inspector";

const outcome_looks: Record<Attempt["outcome"]["kind"], string> = {
  running: "info",
  whole: "good",
  stopped: "warn",
  failed: "bad",
};

export function RequestPanel({ shown }: { shown: Shown }) {
  const bench = use_bench();
  const attempt = shown.view.attempt.value;
  const { request, response } = attempt;
  const revealed = use_revealed(attempt.id);
  return (
    <>
      <section class="panel-part">
        <div class="row wrap">
          <code class="request-line grow">
            {request.method} {path_of(request.url)}
          </code>
          {response && (
            <Chip look={response.status < 400 ? "good" : "bad"}>
              {response.status} {response.statusText}
            </Chip>
          )}
          <Chip look={outcome_looks[attempt.outcome.kind]}>{t.inspector.outcome[attempt.outcome.kind]}</Chip>
        </div>
        <div class="row wrap">
          <span class="muted number">{time_seconds(request.at)}</span>
          <span class="grow" />
          <CopyButton text={() => curl(request, revealed)} label={t.inspector.curl}>
            {t.inspector.curl}
          </CopyButton>
          <QuietButton
            icon="out"
            onClick={() => {
              bench.dialog.value = { kind: "export", thread: attempt.thread };
            }}
            disabled={bench.replay.value !== null}
          >
            {t.inspector.record}
          </QuietButton>
        </div>
      </section>
      <Ids attempt={attempt} />
      <Headers title={t.inspector.headers_sent} headers={request.headers} />
      <section class="panel-part">
        <div class="row">
          <h3 class="grow">{t.inspector.body}</h3>
          <BodiesSwitch id={attempt.id} />
          {revealed && <CopyButton text={() => request.body} />}
        </div>
        <Payload text={request.body} revealed={revealed} label={t.inspector.body} open={steering} />
      </section>
      {response ? (
        <Headers title={t.inspector.headers_received} headers={response.headers} note={t.inspector.headers_hidden} />
      ) : (
        <p class="hollow">{t.inspector.no_answer}</p>
      )}
    </>
  );
}

function path_of(url: string): string {
  try {
    return new URL(url).pathname;
  } catch {
    return url;
  }
}

const verdict_looks: Record<Echo["verdict"], string> = {
  pending: "info",
  same: "good",
  missing: "bad",
  changed: "bad",
};
const is_alert = (echo: Echo): boolean => echo.verdict === "missing" || echo.verdict === "changed";

function Ids({ attempt }: { attempt: Attempt }) {
  const linked = [
    [t.inspector.retries, attempt.retries],
    [t.inspector.continues, attempt.continues],
  ] as const;
  return (
    <section class="panel-part">
      <h3>{t.inspector.ids}</h3>
      {attempt.echo.some(is_alert) && (
        <p class="problem row" role="alert">
          <Icon name="warn" />
          {t.inspector.mismatch}
        </p>
      )}
      {attempt.echo.map((echo) => (
        <div key={echo.header} class={`echo ${is_alert(echo) ? "mismatch" : ""}`}>
          <div class="row">
            <span class="echo-name grow">{echo.header}</span>
            <Chip look={verdict_looks[echo.verdict]}>{t.inspector.verdict[echo.verdict]}</Chip>
            <CopyButton text={() => echo.sent} />
          </div>
          <dl class="pair">
            <dt>{t.inspector.sent}</dt>
            <dd>
              <code>{echo.sent}</code>
            </dd>
            <dt>{t.inspector.received}</dt>
            <dd>
              <code>{echo.received ?? "–"}</code>
            </dd>
          </dl>
        </div>
      ))}
      {linked.map(
        ([name, id]) =>
          id !== null && (
            <dl key={name} class="pair">
              <dt>{name}</dt>
              <dd>
                <code>{id}</code>
              </dd>
            </dl>
          ),
      )}
    </section>
  );
}

function Headers({ title, headers, note }: { title: string; headers: readonly Header[]; note?: string }) {
  return (
    <section class="panel-part">
      <h3>{title}</h3>
      <dl class="headers">
        {headers.map(([name, value], at) => (
          <div key={at}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {note && <p class="hint">{note}</p>}
    </section>
  );
}
