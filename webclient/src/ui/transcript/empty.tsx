// What stands in the transcript before there is one: how to begin, or what is missing for it.

import { use_bench } from "../bench";
import { Icon } from "../icon";
import { KeyForm } from "../settings/key";
import { t } from "../strings";

export function Empty({ coding }: { coding: boolean }) {
  const bench = use_bench();
  const state = bench.engine.connection.state.value;
  const thread = bench.thread.value;
  if (state.kind === "noKey" || state.kind === "badKey") {
    return (
      <section class="empty">
        <Icon name="key" />
        <h2>{state.kind === "noKey" ? t.transcript.no_key_title : t.failure.badKey}</h2>
        <p>{state.kind === "noKey" ? t.transcript.no_key_words : t.failure.badKey_words}</p>
        {state.kind === "badKey" && state.message !== "" && (
          <p class="muted" dir="auto">
            {state.message}
          </p>
        )}
        <KeyForm id="first-key" />
      </section>
    );
  }
  return (
    <section class="empty">
      <h2>{coding ? t.transcript.coding_title : t.transcript.empty_title}</h2>
      <p>{coding ? t.transcript.coding_words : t.transcript.empty_words}</p>
      {thread && (
        <>
          <p class="muted">{t.transcript.try_one}</p>
          <ul class="bare chips">
            {t.transcript.rehearsals.map((words) => (
              <li key={words}>
                <button
                  type="button"
                  class="button small mono"
                  onClick={() => {
                    thread.draft.value = words;
                    document.getElementById("prompt")?.focus();
                  }}
                >
                  {words}
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}
