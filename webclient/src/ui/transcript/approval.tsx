// A question that a coding session asks before it acts. The whole of what it wants is shown; the buttons always stand in
// the same places, declining first; none is focused by itself.

import type { Approval } from "../../model";
import { Icon } from "../icon";
import { Button } from "../parts";
import { t } from "../strings";

/** From left to right, whichever of them are offered. */
const places = ["decline", "cancel", "acceptForSession", "accept"];
const place_of = (decision: string): number => (places.includes(decision) ? places.indexOf(decision) : 1.5);

/** `decide` is missing where nobody can: in a record. */
export function ApprovalCard({ item, decide }: { item: Approval; decide?: (decision: string) => void }) {
  const words = (decision: string) => t.approval.decision[decision] ?? decision;
  return (
    <section class={`card approval-card ${item.decided === null ? "open" : ""}`}>
      <header class="card-head">
        <Icon name="key" />
        <strong class="grow">
          {item.decided === null ? t.approval.subject[item.subject] : t.approval.decided(words(item.decided))}
        </strong>
      </header>
      <div class="card-body">
        <pre class="approval-text">{item.text}</pre>
        {item.decided === null && (
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
        )}
      </div>
    </section>
  );
}
