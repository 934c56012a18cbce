// Beginning a coding session, or joining one; or why that cannot be done here.

import { useState } from "preact/hooks";
import type { CodingStatus } from "../../engine";
import { use_bench } from "../bench";
import { Icon } from "../icon";
import { Button, Labelled, Modal, QuietButton, use_now } from "../parts";
import { t } from "../strings";
import { problem_of, use_asked } from "./asked";
import { join } from "./join";
import { CodingRow } from "./rows";
import { words } from "./strings";

export function CodingDialog() {
  const bench = use_bench();
  const [looks, set_looks] = useState(0);
  const close = () => {
    bench.dialog.value = null;
  };
  const status = use_asked(async () => (await bench.engine.coding.load()).status(), [looks]);
  return (
    <Modal label={words.title} look="narrow" close={close}>
      <header class="pane-head">
        <h2 class="grow">{words.title}</h2>
        <QuietButton icon="close" label={t.close} onClick={close} />
      </header>
      <div class="dialog-body">
        <p class="muted">{words.explain}</p>
        {status === null && <p role="status">{words.asking}</p>}
        {status && !status.ok && <Hindered problem={problem_of(status)} again={() => set_looks(looks + 1)} />}
        {status?.ok && (
          <>
            {status.value.obstacle === null ? (
              <Begin status={status.value} />
            ) : (
              <Hindered title={words.obstacle} problem={status.value.obstacle} again={() => set_looks(looks + 1)} />
            )}
            <Running />
          </>
        )}
      </div>
    </Modal>
  );
}

const Hindered = ({ title, problem, again }: { title?: string; problem: string; again: () => void }) => (
  <div class="banner warn" role="alert">
    <Icon name="warn" />
    <span class="grow" dir="auto">
      {title && <strong>{title} </strong>}
      {problem}
    </span>
    <Button look="small" onClick={again}>
      {words.again}
    </Button>
  </div>
);

function Begin({ status }: { status: CodingStatus }) {
  const bench = use_bench();
  const models = bench.engine.connection.models.value;
  const [wish, set_wish] = useState({
    workspace: status.workspace || (status.workspaces[0] ?? ""),
    engine: status.engine,
    model: "",
  });
  const [starting, set_starting] = useState(false);
  const [problem, set_problem] = useState("");
  const start = async () => {
    set_starting(true);
    set_problem("");
    const answer = await (await bench.engine.coding.load()).start(wish);
    set_starting(false);
    if (!answer.ok) return set_problem(problem_of(answer));
    bench.dialog.value = null;
    await join(bench, answer.value);
    requestAnimationFrame(() => document.getElementById("prompt")?.focus());
  };
  const choice = (field: keyof typeof wish, label: string, names: readonly string[], none?: string) => (
    <Labelled id={`coding-${field}`} label={label}>
      <select
        id={`coding-${field}`}
        class="field"
        value={wish[field]}
        onChange={(event) => set_wish({ ...wish, [field]: event.currentTarget.value })}
      >
        {none !== undefined && <option value="">{none}</option>}
        {names.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </Labelled>
  );
  return (
    <form
      class="coding-begin"
      onSubmit={(event) => {
        event.preventDefault();
        void start();
      }}
    >
      <h3>{words.fresh}</h3>
      <div class="coding-choices">
        {choice("workspace", words.workspace, status.workspaces)}
        {choice("engine", words.engine, status.engines)}
        {choice("model", words.model, models, words.default_model)}
      </div>
      {problem !== "" && (
        <p class="problem" role="alert" dir="auto">
          {problem}
        </p>
      )}
      <div class="row end">
        <Button look="main" type="submit" icon="terminal" disabled={starting}>
          {starting ? words.starting : words.start}
        </Button>
      </div>
    </form>
  );
}

function Running() {
  const bench = use_bench();
  const now = use_now(true, 30_000);
  const answer = use_asked(async () => (await bench.engine.coding.load()).sessions(), []);
  if (!answer) return null;
  return (
    <section>
      <h3>{words.join}</h3>
      {answer.ok ? (
        answer.value.length === 0 ? (
          <p class="muted">{words.none}</p>
        ) : (
          <ul class="bare">
            {answer.value.map((row) => (
              <CodingRow key={row.id} row={row} now={now} chosen={row.id === bench.coding.value?.view.id} />
            ))}
          </ul>
        )
      ) : (
        <p class="problem">{problem_of(answer)}</p>
      )}
    </section>
  );
}
