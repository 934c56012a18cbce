// The line between transcript and inspector: dragged, or moved by the arrow keys. Its place is a property of the root,
// set through the CSS object model, which a policy without inline styles admits.

import { useEffect, useState } from "preact/hooks";
import { t } from "../strings";

const LEAST = 20;
const MOST = 48;

export function Splitter() {
  const [width, set_width] = useState(26);
  useEffect(() => document.documentElement.style.setProperty("--inspector", `${width}rem`), [width]);
  const put = (rem: number) => set_width(Math.min(MOST, Math.max(LEAST, rem)));
  const drag = (event: PointerEvent) => {
    const handle = event.currentTarget as HTMLElement;
    handle.setPointerCapture(event.pointerId);
    const unit = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const move = (moved: PointerEvent) => put((document.documentElement.clientWidth - moved.clientX) / unit);
    const end = new AbortController();
    handle.addEventListener("pointermove", move, { signal: end.signal });
    for (const over of ["pointerup", "pointercancel"] as const)
      handle.addEventListener(over, () => end.abort(), { once: true });
  };
  const on_key = (event: KeyboardEvent) => {
    const by = { ArrowLeft: 1, ArrowRight: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    put(width + by);
  };
  return (
    <div
      class="splitter"
      role="separator"
      aria-orientation="vertical"
      aria-label={t.inspector.resize}
      aria-valuemin={LEAST}
      aria-valuemax={MOST}
      aria-valuenow={Math.round(width)}
      tabIndex={0}
      onPointerDown={drag}
      onKeyDown={on_key}
    />
  );
}
