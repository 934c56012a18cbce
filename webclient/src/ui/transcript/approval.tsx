// A question that a coding session asks before it acts. The whole of what it wants is shown; each button has a place of its
// own, whichever of the others are offered, declining first; none is focused by itself.

import type { Approval } from "../../model";
import { seconds_until } from "../format";
import { Icon } from "../icon";
import { Button, use_now } from "../parts";
import { t } from "../strings";
import { Changes } from "./diff";

/** From left to right; the styles give each its column. */
const places = ["decline", "cancel", "acceptForSession", "accept"];
const place_of = (decision: string): number => (places.includes(decision) ? places.indexOf(decision) : 1.5);

/** `decide` is missing where nobody can: in a record, or while the connection is lost. */
export function ApprovalCard({ item, decide }: { item: Approval; decide?: (decision: string) => void }) {
  const words = (decision: string) => t.approval.decision[decision] ?? decision;
  const open = item.decided === null;
  return (
    <section class={`card approval-card ${open ? "open" : ""}`}>
      <header class="card-head">
        <Icon name="key" />
        <strong class={open ? "grow" : ""}>{open ? t.approval.subject[item.subject] : outcome(item, words)}</strong>
        {!open && <code class="clip muted">{item.text || item.changes?.map((change) => change.path).join(", ")}</code>}
        {open && item.expires != null && <Countdown until={item.expires} />}
      </header>
      {open && (
        <div class="card-body">
          {item.text !== "" && <pre class="approval-text">{item.text}</pre>}
          {item.changes && <Changes changes={item.changes} />}
          <div class="approval-buttons" role="group" aria-label={t.approval.group}>
            {[...item.decisions]
              .sort((a, b) => place_of(a) - place_of(b))
              .map((decision) => (
                <Button
                  key={decision}
                  look={`approval ${decision.startsWith("accept") ? "" : "bad"}`}
                  data-decision={decision}
                  disabled={!decide}
                  onClick={() => decide?.(decision)}
                >
                  {words(decision)}
                </Button>
              ))}
          </div>
        </div>
      )}
    </section>
  );
}

function outcome({ decided, by }: Approval, words: (decision: string) => string): string {
  const who = (by && t.approval.by[by]) || "";
  if (!decided) return who || t.approval.settled;
  return t.approval.decided(words(decided)) + (who && ` (${who})`);
}

function Countdown({ until }: { until: number }) {
  const seconds = seconds_until(until, use_now(true));
  return <span class="muted number">{t.approval.declines_in(seconds)}</span>;
}
