// A block of code: plain while it is being written, highlighted in idle time once it is whole. The highlighter is a chunk
// of its own that is loaded with the first block that wants it. Very long blocks stay plain, and so do those out of view.

import type { ComponentChildren } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import type { Highlighted } from "../../engine";
import { in_idle_time, once } from "../idle";
import { CopyButton, Near, QuietButton } from "../parts";
import { t } from "../strings";

const MOST_HIGHLIGHTED = 50_000;

type Highlighter = (text: string, language: string) => readonly Highlighted[] | null;
const load_highlighter = once<Highlighter>(() =>
  import("../../engine/text/highlight").then((chunk) => chunk.highlight),
);

function use_highlighted(text: string, language: string, whole: boolean): readonly Highlighted[] | null {
  const [tree, set_tree] = useState<{ of: string; nodes: readonly Highlighted[] | null } | null>(null);
  const wanted = useContext(Near) && whole && language !== "" && text.length <= MOST_HIGHLIGHTED;
  useEffect(() => {
    if (!wanted) return;
    let gone = false;
    const stop = in_idle_time(() => {
      load_highlighter().then(
        (highlight) => gone || set_tree({ of: text, nodes: highlight(text, language) }),
        () => undefined,
      );
    });
    return () => {
      gone = true;
      stop();
    };
  }, [text, language, wanted]);
  return wanted && tree?.of === text ? tree.nodes : null;
}

function paint(nodes: readonly Highlighted[]): ComponentChildren {
  return nodes.map((node, at) =>
    typeof node === "string" ? (
      node
    ) : (
      <span key={at} class={node.classes.join(" ")}>
        {paint(node.children)}
      </span>
    ),
  );
}

export function CodeBlock({ text, language, open = false }: { text: string; language: string; open?: boolean }) {
  const nodes = use_highlighted(text, language, !open);
  const [wraps, set_wraps] = useState(true);
  return (
    <figure class={`code ${wraps ? "wraps" : ""}`}>
      <figcaption>
        <span class="clip grow">{language || "text"}</span>
        <QuietButton aria-pressed={wraps} onClick={() => set_wraps(!wraps)}>
          {t.transcript.wrap}
        </QuietButton>
        <CopyButton text={() => text} label={t.transcript.copy_code} />
      </figcaption>
      {/* Only what scrolls by itself must be a tab stop of its own. */}
      <pre tabIndex={wraps ? undefined : 0}>
        <code>{nodes ? paint(nodes) : text}</code>
      </pre>
    </figure>
  );
}
