// All tool calls of the session, in order, with the state of their arguments and what is odd about them.

import { use_bench } from "../bench";
import { span } from "../format";
import { Icon } from "../icon";
import { Chip } from "../parts";
import { t } from "../strings";
import { Payload } from "../transcript/payload";
import { is_revealed } from "../bench";
import { go_to, items_of } from "./session_items";

export function ToolsPanel() {
  const bench = use_bench();
  const calls = items_of(bench, "toolCall");
  if (calls.length === 0) return <p class="hollow">{t.inspector.tools_none}</p>;
  return (
    <ol class="bare lane">
      {calls.map(({ item, number }) => (
        <li key={item.id} class="lane-row">
          <button type="button" class="lane-jump" title={t.inspector.jump} onClick={() => go_to(bench, item.id)}>
            <Icon name={item.memory ? "memory" : "tool"} />
            <code class="clip grow">{item.name || t.tool.no_name}</code>
            {item.tookMs > 0 && <span class="muted number">{span(item.tookMs)}</span>}
            <span class="muted number">{t.inspector.turn_short(number)}</span>
          </button>
          <div class="row wrap">
            <Chip look={item.verdict.kind === "complete" ? "good" : item.verdict.kind === "broken" ? "bad" : "info"}>{t.inspector.arguments_state[item.verdict.kind]}</Chip>
            <Chip look={item.result ? (item.result.failed ? "bad" : "good") : ""}>{item.result ? (item.result.failed ? t.tool.failed : t.inspector.answered) : t.inspector.unanswered}</Chip>
            {item.callId !== "" && <code class="muted clip">{item.callId}</code>}
            {item.flags.map((flag) => <Chip key={flag} look="warn"><Icon name="warn" />{t.tool.flag[flag]}</Chip>)}
          </div>
          {item.arguments.trim() !== "" && <Payload text={item.arguments} revealed={is_revealed(bench, item.id)} label={t.tool.arguments} />}
        </li>
      ))}
    </ol>
  );
}
