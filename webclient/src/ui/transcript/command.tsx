// A command that a coding session ran, with its output in its own colours.

import { useState } from "preact/hooks";
import type { CommandExecution } from "../../model";
import { set_revealed, use_bench, use_revealed } from "../bench";
import { span } from "../format";
import { Icon } from "../icon";
import { Chip, CopyButton, QuietButton } from "../parts";
import { t } from "../strings";
import { pieces_of } from "./ansi";

/** Escape codes become classes; whatever else they ask for is dropped. */
const Output = ({ text }: { text: string }) => (
  <>
    {pieces_of(text).map((piece, at) => (
      <span key={at} class={piece.classes}>
        {piece.text}
      </span>
    ))}
  </>
);

export function CommandCard({ item }: { item: CommandExecution }) {
  const bench = use_bench();
  const [open, set_open] = useState(true);
  const revealed = use_revealed(item.id);
  const bad = item.exitCode !== null && item.exitCode !== 0;
  return (
    <section class="card command">
      <header class="card-head">
        <Icon name="terminal" />
        <code class="clip grow" title={item.cwd}>
          $ {item.command}
        </code>
        {item.state === "open" && <span class="dot live" />}
        {item.state === "declined" && <Chip look="warn">{t.command.declined}</Chip>}
        {item.exitCode !== null && <Chip look={bad ? "bad" : "good"}>{t.command.exit(item.exitCode)}</Chip>}
        {item.tookMs !== null && <span class="muted number">{span(item.tookMs)}</span>}
        <CopyButton text={() => item.command} />
        <QuietButton
          data-act="reveal"
          icon={revealed ? "eye_off" : "eye"}
          label={revealed ? t.tool.hide : t.tool.reveal}
          aria-pressed={revealed}
          onClick={() => set_revealed(bench, item.id, !revealed)}
        />
        <QuietButton
          icon={open ? "down" : "right"}
          label={t.command.output}
          aria-expanded={open}
          onClick={() => set_open(!open)}
        />
      </header>
      {open && revealed && (
        <pre class="card-body ansi">
          {item.output ? <Output text={item.output} /> : <span class="muted">{t.command.no_output}</span>}
        </pre>
      )}
    </section>
  );
}
