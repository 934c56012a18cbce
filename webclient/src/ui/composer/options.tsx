// What is asked for with a prompt, in one line: the model, how it answers, and how much.

import { useMemo } from "preact/hooks";
import type { ThreadView } from "../../engine";
import type { EngineKind } from "../../model";
import { use_bench } from "../bench";
import { parsed } from "../transcript/payload";
import { NumberField } from "../settings/number";
import { t } from "../strings";

export function Options({ thread }: { thread: ThreadView }) {
  const bench = use_bench();
  const { settings, connection } = bench.engine;
  const now = settings.value.value;
  const { model, engine } = thread.thread.value;
  const names = connection.models.value;
  const default_model = now.defaultModel || connection.config.value.defaultModel || names[0] || "";
  const offered = useMemo(() => tool_count(now.toolDefinitions), [now.toolDefinitions]);
  const sampling = (patch: Partial<typeof now.sampling>) =>
    settings.change({ sampling: { ...now.sampling, ...patch } });
  return (
    <fieldset class="options">
      <legend class="unseen">{t.composer.options}</legend>
      <select
        class="field quiet-field model-field"
        aria-label={t.composer.model}
        title={t.composer.model}
        value={model}
        onChange={(event) => thread.useModel(event.currentTarget.value)}
      >
        <option value="">{t.composer.default_model(default_model)}</option>
        {model !== "" && !names.includes(model) && <option value={model}>{model}</option>}
        {names.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
      {engine !== "codex" && (
        <select
          class="field quiet-field"
          aria-label={t.composer.protocol}
          title={t.composer.protocol}
          value={engine}
          disabled={thread.busy.value}
          onChange={(event) => {
            const chosen = event.currentTarget.value as EngineKind;
            if (chosen !== "codex") return thread.useEngine(chosen);
            // Such a session is the gateway's; it is chosen or begun in a dialog, and this one stays what it is.
            event.currentTarget.value = engine;
            bench.dialog.value = { kind: "coding" };
          }}
        >
          <option value="chat">{t.composer.short_protocols.chat}</option>
          <option value="responses">{t.composer.short_protocols.responses}</option>
          <option value="codex">{t.composer.short_protocols.codex}</option>
        </select>
      )}
      <label class="tick" title={t.composer.stream_hint}>
        <input
          type="checkbox"
          checked={now.stream}
          onChange={(event) => settings.change({ stream: event.currentTarget.checked })}
        />
        {t.composer.stream}
      </label>
      <label class="tick" title={t.composer.tools_hint(offered)}>
        <input
          type="checkbox"
          checked={now.tools}
          onChange={(event) => settings.change({ tools: event.currentTarget.checked })}
        />
        {t.composer.tools}
        {now.tools && <span class="muted number"> {offered}</span>}
      </label>
      <label class="tick" title={t.composer.temperature_label}>
        <span aria-hidden="true">{t.composer.temperature}</span>
        <NumberField
          label={t.composer.temperature_label}
          value={now.sampling.temperature}
          change={(temperature) => sampling({ temperature })}
          placeholder="–"
          look="quiet-field"
        />
      </label>
      <label class="tick" title={t.composer.max_label}>
        <span aria-hidden="true">{t.composer.max}</span>
        <NumberField
          label={t.composer.max_label}
          value={now.sampling.maxTokens}
          change={(maxTokens) => sampling({ maxTokens })}
          placeholder="–"
          look="quiet-field"
        />
      </label>
    </fieldset>
  );
}

function tool_count(definitions: string): number {
  const value = parsed(definitions)?.json;
  return Array.isArray(value) ? value.length : 0;
}
