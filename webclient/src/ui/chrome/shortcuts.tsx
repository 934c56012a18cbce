// The list of all keys.

import { use_bench } from "../bench";
import { Modal, QuietButton } from "../parts";
import { t } from "../strings";

const words = t.shortcuts.list;
const everywhere: readonly [keys: string, what: string][] = [
  ["Enter", words.send],
  ["Shift Enter", words.line],
  ["Esc", words.stop],
  ["Ctrl K", words.commands],
  ["Ctrl Shift O", words.fresh],
  ["Ctrl Shift F", words.flush],
  ["Alt ↑ / ↓", words.turns],
  ["/", words.focus],
  ["?", words.list],
];
const in_transcript: readonly [keys: string, what: string][] = [
  ["[ / ]", words.items],
  ["i", words.inspect],
  ["r", words.reveal],
  ["e", words.edit],
  ["y / n", words.approve],
];

const Keys = ({ rows }: { rows: typeof everywhere }) => (
  <dl class="keys">
    {rows.map(([keys, what]) => (
      <div key={keys}>
        <dt>
          {keys
            .split(" ")
            .map((key) => (key === "/" && keys !== "/" ? <span key={key}> / </span> : <kbd key={key}>{key}</kbd>))}
        </dt>
        <dd>{what}</dd>
      </div>
    ))}
  </dl>
);

export function Shortcuts() {
  const bench = use_bench();
  const close = () => {
    bench.dialog.value = null;
  };
  return (
    <Modal label={t.shortcuts.title} look="narrow" close={close}>
      <header class="pane-head">
        <h2 class="grow" tabIndex={-1} autofocus>
          {t.shortcuts.title}
        </h2>
        <QuietButton icon="close" label={t.close} onClick={close} />
      </header>
      {/* A stop for the keyboard, because it scrolls where there is little room. */}
      <div class="dialog-body" tabIndex={0} role="group" aria-label={t.shortcuts.title}>
        <h3>{t.shortcuts.everywhere}</h3>
        <Keys rows={everywhere} />
        <h3>{t.shortcuts.in_transcript}</h3>
        {bench.engine.settings.value.value.shortcuts ? (
          <Keys rows={in_transcript} />
        ) : (
          <p class="muted">{t.shortcuts.off}</p>
        )}
      </div>
    </Modal>
  );
}
