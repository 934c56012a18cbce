// Keeping the end of a growing transcript in view, until the reader shows by a gesture that he reads elsewhere. Distance
// alone decides nothing: a long block that arrives at once must not look like a reader who left.

import { signal, type ReadonlySignal } from "@preact/signals";

export interface Follow {
  readonly following: ReadonlySignal<boolean>;
  /** From now on the end is kept in view. */
  start(): void;
  end(): void;
}

/** Told to an element of the transcript that is gone to by a command: the reader is there now, and not at the end. */
export const LEAVE = "leavefollow";

const UPWARDS = new Set(["PageUp", "Home", "ArrowUp"]);
const NEAR = 8;

/** `content` is what grows inside of `scroller`. */
export function follow(scroller: HTMLElement, content: HTMLElement): Follow {
  const following = signal(true);
  const ending = new AbortController();
  const options = { signal: ending.signal, passive: true } as const;
  let last_top = 0;
  let held = false;
  let touched_at = 0;

  const to_end = () => {
    scroller.scrollTop = scroller.scrollHeight;
  };
  const leave = () => {
    following.value = false;
  };
  const watch = new ResizeObserver(() => {
    if (following.value) to_end();
  });
  watch.observe(content);
  watch.observe(scroller);

  scroller.addEventListener(LEAVE, leave, options);
  scroller.addEventListener(
    "wheel",
    (event) => {
      if (event.deltaY < 0) leave();
    },
    options,
  );
  scroller.addEventListener(
    "keydown",
    (event) => {
      if (UPWARDS.has(event.key) || event.key === "[") leave();
    },
    options,
  );
  scroller.addEventListener(
    "touchstart",
    (event) => {
      touched_at = event.touches[0]?.clientY ?? 0;
    },
    options,
  );
  scroller.addEventListener(
    "touchmove",
    (event) => {
      if ((event.touches[0]?.clientY ?? 0) > touched_at) leave();
    },
    options,
  );
  scroller.addEventListener(
    "pointerdown",
    () => {
      held = true;
    },
    options,
  );
  window.addEventListener(
    "pointerup",
    () => {
      held = false;
    },
    options,
  );
  scroller.addEventListener(
    "scroll",
    () => {
      const top = scroller.scrollTop;
      if (held && top < last_top) leave();
      if (top > last_top && scroller.scrollHeight - top - scroller.clientHeight < NEAR) following.value = true;
      last_top = top;
    },
    options,
  );

  return {
    following,
    start: () => {
      following.value = true;
      to_end();
    },
    end: () => {
      ending.abort();
      watch.disconnect();
    },
  };
}
