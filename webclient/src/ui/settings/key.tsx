// The key: put in, moved between tab and browser, forgotten. It is never shown again and never read back.

import { useState } from "preact/hooks";
import { use_bench } from "../bench";
import { moment } from "../format";
import { Button } from "../parts";
import { t } from "../strings";

export function KeyForm({ id }: { id: string }) {
  const { key, connection } = use_bench().engine;
  const [draft, set_draft] = useState("");
  const [place, set_place] = useState<"tab" | "browser">("browser");
  const [wrong, set_wrong] = useState(false);
  const kept = key.place.value;
  const keep = () => {
    const taken = key.keep(draft.trim(), place);
    set_wrong(!taken);
    if (!taken) return;
    set_draft("");
    connection.tryNow();
  };
  return (
    <form
      class="key-form"
      onSubmit={(event) => {
        event.preventDefault();
        keep();
      }}
    >
      {kept !== "none" && (
        <div class="row wrap key-kept">
          <span class="grow">
            {t.settings.key_kept[kept]}
            {key.since.value !== null && <span class="muted"> · {t.settings.key_since(moment(key.since.value))}</span>}
          </span>
          <Button look="small" onClick={() => key.move(kept === "tab" ? "browser" : "tab")}>
            {t.settings.key_move[kept]}
          </Button>
          <Button look="small bad" onClick={() => key.forget()}>
            {t.settings.key_forget}
          </Button>
        </div>
      )}
      {/* Keepers of passwords file a key under a name. */}
      <input type="text" autocomplete="username" value={t.product} hidden readOnly />
      <label for={id}>{kept === "none" ? t.settings.key : t.settings.key_new}</label>
      <input
        id={id}
        class="field mono"
        type="password"
        autocomplete="current-password"
        spellcheck={false}
        value={draft}
        aria-invalid={wrong}
        aria-describedby={`${id}-words`}
        onInput={(event) => {
          set_draft(event.currentTarget.value);
          set_wrong(false);
        }}
      />
      <div class="row wrap">
        <label class="tick">
          <input
            type="radio"
            name={`${id}-place`}
            checked={place === "browser"}
            onChange={() => set_place("browser")}
          />
          {t.settings.key_browser}
        </label>
        <label class="tick">
          <input type="radio" name={`${id}-place`} checked={place === "tab"} onChange={() => set_place("tab")} />
          {t.settings.key_tab}
        </label>
        <span class="grow" />
        <Button look="main" type="submit" disabled={draft.trim() === ""}>
          {t.settings.key_keep}
        </Button>
      </div>
      <p class={wrong ? "problem" : "hint"} id={`${id}-words`} role={wrong ? "alert" : undefined}>
        {wrong ? t.settings.key_wrong : t.settings.key_words}
      </p>
    </form>
  );
}
