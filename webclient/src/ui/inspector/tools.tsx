// All tool calls of the session, in order, with the state of their arguments and what is odd about them.

import type { ToolCall } from "../../model";
import { all_of, is_revealed, set_revealed, use_bench, use_revealed } from "../bench";
import { span } from "../format";
import { Icon } from "../icon";
import { Chip, QuietButton } from "../parts";
import { t } from "../strings";
import { Payload } from "../transcript/payload";
import { go_to, items_of, type Placed } from "./session_items";

const verdict_looks: Record<ToolCall["verdict"]["kind"], string> = {
  empty: "",
  prefix: "info",
  complete: "good",
  broken: "bad",
};

export function ToolsPanel() {
  const bench = use_bench();
  const calls = items_of(bench, "toolCall");
  if (calls.length === 0) return <p class="hollow">{t.inspector.tools_none}</p>;
  const all = is_revealed(bench, all_of(bench));
  return (
    <>
      {bench.engine.settings.value.value.redaction && (
        <div class="row stream-head">
          <span class="grow number">{t.inspector.calls(calls.length)}</span>
          <QuietButton
            icon={all ? "eye_off" : "eye"}
            aria-pressed={all}
            onClick={() => set_revealed(bench, all_of(bench), !all)}
          >
            {all ? t.inspector.hide_all : t.inspector.reveal_all}
          </QuietButton>
        </div>
      )}
      <ol class="bare lane">
        {calls.map((call) => (
          <Call key={call.item.id} {...call} />
        ))}
      </ol>
    </>
  );
}

function Call({ item, number }: Placed<ToolCall>) {
  const bench = use_bench();
  const revealed = use_revealed(item.id);
  return (
    <li class="lane-row">
      <button type="button" class="lane-jump" title={t.inspector.jump} onClick={() => go_to(bench, item.id)}>
        <Icon name={item.memory ? "memory" : "tool"} />
        <code class="clip grow">{item.name || t.tool.no_name}</code>
        {item.tookMs > 0 && <span class="muted number">{span(item.tookMs)}</span>}
        <span class="muted number">{t.inspector.turn_short(number)}</span>
      </button>
      <div class="row wrap">
        <Chip look={verdict_looks[item.verdict.kind]}>{t.inspector.arguments_state[item.verdict.kind]}</Chip>
        {item.result ? (
          <Chip look={item.result.failed ? "bad" : "good"}>
            {item.result.failed ? t.tool.failed : t.inspector.answered}
          </Chip>
        ) : (
          <Chip>{t.inspector.unanswered}</Chip>
        )}
        {item.callId !== "" && <code class="muted clip">{item.callId}</code>}
        {item.flags.map((flag) => (
          <Chip key={flag} look="warn">
            <Icon name="warn" />
            {t.tool.flag[flag]}
          </Chip>
        ))}
      </div>
      {item.arguments.trim() !== "" && <Payload text={item.arguments} revealed={revealed} label={t.tool.arguments} />}
      {item.result && <Payload text={item.result.text} revealed={revealed} label={t.tool.result} />}
    </li>
  );
}
