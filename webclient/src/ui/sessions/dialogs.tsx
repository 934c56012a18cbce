// The three questions about a session: another name, really delete it, what a record of it may contain.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Thread } from "../../model";
import { tell_refusal, use_bench } from "../bench";
import { Button, Labelled, Modal } from "../parts";
import { t } from "../strings";
import { save_record } from "./records";

export function SessionDialog({ kind, thread }: { kind: "remove" | "rename" | "export"; thread: Thread }) {
  const bench = use_bench();
  const close = () => {
    bench.dialog.value = null;
  };
  if (kind === "rename") return <Rename thread={thread} close={close} />;
  if (kind === "remove") return <Remove thread={thread} close={close} />;
  return <Export thread={thread} close={close} />;
}

interface Props {
  thread: Thread;
  close: () => void;
}

function Rename({ thread, close }: Props) {
  const bench = use_bench();
  const [title, set_title] = useState(thread.title);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current!.select(), []);
  const save = () => {
    close();
    if (title.trim()) void tell_refusal(bench, bench.engine.sessions.rename(thread.id, title.trim()));
  };
  return (
    <Modal label={t.sessions.rename} look="narrow" close={close}>
      <form
        class="dialog-body"
        onSubmit={(event) => {
          event.preventDefault();
          save();
        }}
      >
        <h2>{t.sessions.rename}</h2>
        <Labelled id="session-name" label={t.sessions.name}>
          <input
            ref={field}
            id="session-name"
            class="field"
            autofocus
            value={title}
            maxLength={200}
            dir="auto"
            onInput={(event) => set_title(event.currentTarget.value)}
          />
        </Labelled>
        <div class="row end">
          <Button onClick={close}>{t.cancel}</Button>
          <Button look="main" type="submit" disabled={!title.trim()}>
            {t.save}
          </Button>
        </div>
      </form>
    </Modal>
  );
}

function Remove({ thread, close }: Props) {
  const bench = use_bench();
  return (
    <Modal label={t.sessions.remove_sure} look="narrow" close={close}>
      <div class="dialog-body">
        <h2>{t.sessions.remove_sure}</h2>
        <p>{t.sessions.remove_words(thread.title || t.sessions.untitled)}</p>
        <div class="row end">
          <Button autofocus onClick={close}>
            {t.cancel}
          </Button>
          <Button
            look="bad"
            onClick={() => {
              close();
              void tell_refusal(bench, bench.engine.sessions.remove(thread.id));
            }}
          >
            {t.sessions.remove}
          </Button>
        </div>
      </div>
    </Modal>
  );
}

function Export({ thread, close }: Props) {
  const bench = use_bench();
  const [redacted, set_redacted] = useState(true);
  return (
    <Modal label={t.sessions.export_record} look="narrow" close={close}>
      <form
        class="dialog-body"
        onSubmit={(event) => {
          event.preventDefault();
          close();
          void save_record(bench, thread.id, redacted);
        }}
      >
        <h2>{t.sessions.export_record}</h2>
        <p>{t.record.words}</p>
        <fieldset class="choices">
          <legend class="unseen">{t.record.contents}</legend>
          <label class="tick">
            <input type="radio" name="redacted" checked={redacted} onChange={() => set_redacted(true)} />
            {t.record.shapes}
          </label>
          <label class="tick">
            <input type="radio" name="redacted" checked={!redacted} onChange={() => set_redacted(false)} />
            {t.record.everything}
          </label>
        </fieldset>
        {!redacted && <p class="problem">{t.record.everything_words}</p>}
        <div class="row end">
          <Button onClick={close}>{t.cancel}</Button>
          <Button look="main" type="submit">
            {t.record.save}
          </Button>
        </div>
      </form>
    </Modal>
  );
}
