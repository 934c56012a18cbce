// Some turns in a row. The browser looks at each box of the transcript whenever it lays out or paints; of a thousand turns
// it looks at the stretches, and into those that are near the view.

import { useState } from "preact/hooks";
import type { TurnView } from "../../engine";
import { StretchInView } from "../parts";
import { Turn } from "./turn";

/** So many turns are one. */
export const STRETCH = 16;

interface Props {
  turns: readonly TurnView[];
  /** How many turns there are before it. */
  before: number;
  /** Whether the transcript ends with it. */
  last: boolean;
}

export function Stretch({ turns, before, last }: Props) {
  const [in_view, set_in_view] = useState(last);
  const came_or_went = (event: Event & { readonly skipped: boolean }) => {
    if (event.target === event.currentTarget) set_in_view(!event.skipped);
  };
  return (
    <div class="stretch" {...{ onContentVisibilityAutoStateChange: came_or_went }}>
      <StretchInView.Provider value={in_view}>
        {turns.map((view, at) => (
          <Turn key={view.id} view={view} number={before + at + 1} last={last && at === turns.length - 1} />
        ))}
      </StretchInView.Provider>
    </div>
  );
}
