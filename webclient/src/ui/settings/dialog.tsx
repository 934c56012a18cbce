// All settings, in one form that needs no saving: what is typed is in force, and says so itself where it cannot be.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { SettingsProblem } from "../../engine";
import type { Sampling, Settings } from "../../model";
import { use_bench } from "../bench";
import { Button, Chip, Labelled, Modal, QuietButton } from "../parts";
import { t } from "../strings";
import { parsed } from "../transcript/payload";
import { example_tools } from "./examples";
import { KeyForm } from "./key";
import { NumberField } from "./number";
import { problem_words } from "./problems";
import { words } from "./strings";

type Section = keyof typeof words.sections;
const sections = Object.keys(words.sections) as Section[];

export function SettingsDialog({ section }: { section?: string }) {
  const bench = use_bench();
  const { settings } = bench.engine;
  const body = useRef<HTMLDivElement>(null);
  const go = (name: string) => body.current?.querySelector(`#settings-${name}`)?.scrollIntoView({ block: "start" });
  useEffect(() => {
    if (section) go(section);
  }, []);
  const close = () => {
    bench.dialog.value = null;
  };
  return (
    <Modal label={t.settings.title} look="settings" close={close}>
      <header class="pane-head">
        <h2 class="grow" tabIndex={-1} autofocus>
          {t.settings.title}
        </h2>
        <QuietButton icon="close" label={t.close} onClick={close} />
      </header>
      <div class="settings-frame">
        <nav class="settings-nav" aria-label={t.settings.title}>
          {sections.map((name) => (
            <button key={name} type="button" class="button quiet" onClick={() => go(name)}>
              {words.sections[name]}
            </button>
          ))}
        </nav>
        <div ref={body} class="settings-body">
          <Connection />
          <Request />
          <SamplingFields />
          <Tools />
          <Memory />
          <Privacy />
          <Page />
          <div class="row settings-reset">
            <span class="muted grow">{words.reset_words}</span>
            <Button look="bad" onClick={() => settings.reset()}>
              {words.reset}
            </Button>
          </div>
        </div>
      </div>
    </Modal>
  );
}

function Part({ name, children }: { name: Section; children: ComponentChildren }) {
  return (
    <section class="settings-part" id={`settings-${name}`} aria-labelledby={`settings-${name}-title`}>
      <h3 id={`settings-${name}-title`}>{words.sections[name]}</h3>
      {children}
    </section>
  );
}

function use_settings() {
  const { settings } = use_bench().engine;
  const problem = (field: SettingsProblem["field"]): string | null => {
    const found = settings.problems.value.find((one) => one.field === field);
    return found ? problem_words(found) : null;
  };
  return { now: settings.value.value, change: (patch: Partial<Settings>) => settings.change(patch), problem };
}

const Kept = ({ where = "browser" }: { where?: keyof typeof words.kept }) => (
  <Chip look="kept">{words.kept[where]}</Chip>
);

type TextKey = {
  [K in keyof Settings]: Settings[K] extends string ? (string extends Settings[K] ? K : never) : never;
}[keyof Settings];

function TextField({
  field,
  label,
  hint,
  mono = false,
  rows,
}: {
  field: TextKey;
  label: string;
  hint?: string;
  mono?: boolean;
  rows?: number;
}) {
  const { now, change, problem } = use_settings();
  const id = `set-${field}`;
  const wrong = problem(field);
  const shared = {
    id,
    class: `field ${mono ? "mono" : ""}`,
    value: now[field],
    "aria-invalid": wrong !== null,
    "aria-describedby": `${id}-words`,
    spellcheck: false,
    autocomplete: "off",
  };
  return (
    <Labelled
      id={id}
      label={
        <>
          {label}
          <Kept />
        </>
      }
      hint={hint}
      problem={wrong}
    >
      {rows ? (
        <textarea
          {...shared}
          rows={rows}
          dir="auto"
          onInput={(event) => change({ [field]: event.currentTarget.value })}
        />
      ) : (
        <input {...shared} onInput={(event) => change({ [field]: event.currentTarget.value })} />
      )}
    </Labelled>
  );
}

type FlagKey = { [K in keyof Settings]: Settings[K] extends boolean ? K : never }[keyof Settings];

function Flag({ field, label, hint }: { field: FlagKey; label: string; hint?: string }) {
  const { now, change } = use_settings();
  return (
    <div class="labelled">
      <label class="tick">
        <input
          type="checkbox"
          checked={now[field]}
          onChange={(event) => change({ [field]: event.currentTarget.checked })}
        />
        {label}
        <Kept />
      </label>
      {hint && <p class="hint">{hint}</p>}
    </div>
  );
}

type ChoiceKey = "engine" | "toolChoice" | "theme";

function Choice<K extends ChoiceKey>({
  field,
  label,
  choices,
}: {
  field: K;
  label: string;
  choices: Record<Settings[K], string>;
}) {
  const { now, change } = use_settings();
  const id = `set-${field}`;
  return (
    <Labelled
      id={id}
      label={
        <>
          {label}
          <Kept />
        </>
      }
    >
      <select
        id={id}
        class="field"
        value={now[field]}
        onChange={(event) => change({ [field]: event.currentTarget.value })}
      >
        {(Object.keys(choices) as Settings[K][]).map((value) => (
          <option key={value} value={value}>
            {choices[value]}
          </option>
        ))}
      </select>
    </Labelled>
  );
}

function Connection() {
  const { connection } = use_bench().engine;
  const { now, change } = use_settings();
  const config = connection.config.value;
  const names = connection.models.value;
  return (
    <Part name="connection">
      <TextField field="baseUrl" label={words.base_url} hint={words.base_url_hint} mono />
      {!connection.reachable.value && (
        <p class="problem" role="alert">
          {words.not_reachable}
        </p>
      )}
      <KeyForm id="set-key" />
      <Labelled
        id="set-defaultModel"
        label={
          <>
            {words.default_model}
            <Kept />
          </>
        }
        hint={words.default_model_hint(names.length)}
      >
        <select
          id="set-defaultModel"
          class="field"
          value={now.defaultModel}
          onChange={(event) => change({ defaultModel: event.currentTarget.value })}
        >
          <option value="">{words.gateway_default(config.defaultModel)}</option>
          {now.defaultModel !== "" && !names.includes(now.defaultModel) && (
            <option value={now.defaultModel}>{now.defaultModel}</option>
          )}
          {names.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </Labelled>
      <div class="columns">
        <TextField
          field="requestIdHeader"
          label={words.request_id}
          hint={words.header_hint(config.requestIdHeader)}
          mono
        />
        <TextField
          field="sessionIdHeader"
          label={words.session_id}
          hint={words.header_hint(config.sessionIdHeader)}
          mono
        />
      </div>
    </Part>
  );
}

function Request() {
  return (
    <Part name="request">
      <Choice
        field="engine"
        label={words.engine}
        choices={{ chat: t.composer.protocols.chat, responses: t.composer.protocols.responses }}
      />
      <Flag field="stream" label={words.stream} />
      <Flag field="includeUsage" label={words.include_usage} />
      <Flag field="autoRetry" label={words.auto_retry} />
      <TextField field="systemPrompt" label={words.system_prompt} rows={4} />
    </Part>
  );
}

/** vLLM's own values, shown where nothing is sent. */
const server_values: Partial<Record<keyof Sampling, string>> = {
  temperature: "1",
  topP: "1",
  topK: "0",
  minP: "0",
  frequencyPenalty: "0",
  presencePenalty: "0",
  repetitionPenalty: "1",
  minTokens: "0",
};

function SamplingFields() {
  const { now, change, problem } = use_settings();
  const put = (patch: Partial<Sampling>) => change({ sampling: { ...now.sampling, ...patch } });
  const numbers = Object.keys(words.sampling) as (keyof typeof words.sampling)[];
  return (
    <Part name="sampling">
      <p class="hint">
        {words.sampling_hint} <Kept />
      </p>
      <div class="columns three">
        {numbers.map((field) => {
          const id = `set-sampling-${field}`;
          const wrong = problem(`sampling.${field}`);
          return (
            <Labelled key={field} id={id} label={words.sampling[field]} problem={wrong}>
              <NumberField
                id={id}
                value={now.sampling[field]}
                change={(value) => put({ [field]: value })}
                placeholder={server_values[field] ?? words.unset}
                invalid={wrong !== null}
                described_by={wrong ? `${id}-words` : undefined}
              />
            </Labelled>
          );
        })}
        <Labelled id="set-ignoreEos" label={words.ignore_eos}>
          <select
            id="set-ignoreEos"
            class="field"
            value={String(now.sampling.ignoreEos)}
            onChange={(event) =>
              put({
                ignoreEos:
                  ({ null: null, true: true, false: false } as Record<string, boolean | null>)[
                    event.currentTarget.value
                  ] ?? null,
              })
            }
          >
            <option value="null">{words.unset}</option>
            <option value="true">{words.yes}</option>
            <option value="false">{words.no}</option>
          </select>
        </Labelled>
      </div>
      <Labelled id="set-stop" label={words.stop} hint={words.stop_hint} problem={problem("sampling.stop")}>
        <LinesField id="set-stop" value={now.sampling.stop} change={(stop) => put({ stop })} />
      </Labelled>
    </Part>
  );
}

/** A list of texts, one a line. An empty line is kept while it is being typed, and means nothing. */
function LinesField({
  id,
  value,
  change,
}: {
  id: string;
  value: readonly string[];
  change: (lines: string[]) => void;
}) {
  const field = useRef<HTMLTextAreaElement>(null);
  const text = value.join("\n");
  useEffect(() => {
    const typed = field
      .current!.value.split("\n")
      .filter((line) => line !== "")
      .join("\n");
    if (typed !== text) field.current!.value = text;
  }, [text]);
  return (
    <textarea
      ref={field}
      id={id}
      class="field mono"
      rows={2}
      spellcheck={false}
      defaultValue={text}
      aria-describedby={`${id}-words`}
      onInput={(event) => change(event.currentTarget.value.split("\n").filter((line) => line !== ""))}
    />
  );
}

function Tools() {
  const { now, change } = use_settings();
  const value = parsed(now.toolDefinitions)?.json;
  const format = () => {
    if (value !== undefined) change({ toolDefinitions: JSON.stringify(value, null, 2) });
  };
  const insert = () =>
    change({
      toolDefinitions: JSON.stringify([...(Array.isArray(value) ? value : []), ...example_tools], null, 2),
      tools: true,
    });
  return (
    <Part name="tools">
      <Flag field="tools" label={words.tools} />
      <TextField
        field="toolDefinitions"
        label={words.tool_definitions}
        hint={words.tool_definitions_hint(Array.isArray(value) ? value.length : 0)}
        mono
        rows={10}
      />
      <div class="row">
        <Button look="small" onClick={insert}>
          {words.tool_example}
        </Button>
        <Button look="small" onClick={format} disabled={value === undefined}>
          {words.tool_format}
        </Button>
      </div>
      <div class="columns">
        <Choice
          field="toolChoice"
          label={words.tool_choice}
          choices={{ auto: "auto", required: "required", none: "none" }}
        />
        <Flag field="parallelToolCalls" label={words.parallel} />
      </div>
    </Part>
  );
}

function Memory() {
  const { now, change } = use_settings();
  return (
    <Part name="memory">
      <Labelled
        id="set-memoryTools"
        label={
          <>
            {words.memory_tools}
            <Kept />
          </>
        }
        hint={words.memory_tools_hint}
      >
        <LinesField id="set-memoryTools" value={now.memoryTools} change={(memoryTools) => change({ memoryTools })} />
      </Labelled>
    </Part>
  );
}

const Privacy = () => (
  <Part name="privacy">
    <Flag field="redaction" label={words.redaction} />
    <Flag field="telemetry" label={words.telemetry} hint={words.telemetry_hint} />
  </Part>
);

const Page = () => (
  <Part name="page">
    <Choice field="theme" label={words.theme} choices={words.themes} />
    <Flag field="shortcuts" label={words.shortcuts} />
  </Part>
);
