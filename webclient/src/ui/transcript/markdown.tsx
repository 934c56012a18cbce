// A document of the model as elements. Blocks that are settled are painted once: a long answer is cut into segments of
// sixteen blocks, and a segment whose blocks are all settled is the same vnode every time, which Preact does not look into.

import type { ComponentChildren, VNode } from "preact";
import { useContext, useMemo, useRef } from "preact/hooks";
import { type Block, type BlockNode, type InlineNode, type ListEntry, MarkdownReader } from "../../engine";
import { TabStop } from "../parts";
import { CodeBlock } from "./code";

const SEGMENT = 16;
/** Headings of the model stand below the turn's own heading, which is of the page's second level. */
const HEADING_SHIFT = 2;

interface Painted {
  readonly blocks: readonly Block[];
  readonly vnode: VNode;
}

/** `done`: no more text will come, so the last blocks are settled too; if some comes after all, it is read from the start. */
export function Markdown({ text, done }: { text: string; done: boolean }) {
  const was_done = useRef(done);
  const anew = useRef(0);
  if (was_done.current && !done) anew.current += 1;
  was_done.current = done;
  const reader = useMemo(() => new MarkdownReader(), [anew.current]);
  const painted = useRef<Painted[]>([]);
  const blocks = reader.read(text, done);
  const segments: VNode[] = [];
  for (let start = 0; start < blocks.length; start += SEGMENT) {
    const place = start / SEGMENT;
    const part = blocks.slice(start, start + SEGMENT);
    const old = painted.current[place];
    if (!old || old.blocks.length !== part.length || part.some((block, at) => block !== old.blocks[at])) {
      painted.current[place] = { blocks: part, vnode: <Segment key={place} blocks={part} /> };
    }
    segments.push(painted.current[place]!.vnode);
  }
  painted.current.length = segments.length;
  return (
    <div class="prose" dir="auto">
      {segments}
    </div>
  );
}

function Segment({ blocks }: { blocks: readonly Block[] }) {
  return (
    <div class="segment">
      {blocks.map((block) => (
        <OneBlock key={block.id} block={block} />
      ))}
    </div>
  );
}

function OneBlock({ block }: { block: Block }) {
  return useMemo(() => <BlockOf node={block.node} />, [block]);
}

function BlockOf({ node }: { node: BlockNode }): VNode {
  switch (node.kind) {
    case "paragraph":
      return (
        <p>
          <Inline nodes={node.children} />
        </p>
      );
    case "heading": {
      const Heading = `h${Math.min(6, node.depth + HEADING_SHIFT)}` as "h3";
      return (
        <Heading class={`depth-${node.depth}`}>
          <Inline nodes={node.children} />
        </Heading>
      );
    }
    case "code":
      return <CodeBlock text={node.text} language={node.language} open={node.open} />;
    case "quote":
      return (
        <blockquote>
          <Blocks nodes={node.children} />
        </blockquote>
      );
    case "list":
      return node.ordered ? (
        <ol start={node.start}>
          <Entries entries={node.entries} />
        </ol>
      ) : (
        <ul>
          <Entries entries={node.entries} />
        </ul>
      );
    case "table":
      return <Table node={node} />;
    case "rule":
      return <hr />;
    case "literal":
      return <pre class="literal">{node.text}</pre>;
  }
}

const Blocks = ({ nodes }: { nodes: readonly BlockNode[] }) => (
  <>
    {nodes.map((node, at) => (
      <BlockOf key={at} node={node} />
    ))}
  </>
);

function Entries({ entries }: { entries: readonly ListEntry[] }) {
  return (
    <>
      {entries.map((entry, at) => (
        <li key={at} class={entry.checked === null ? undefined : "task"}>
          {entry.checked !== null && (
            <span class="task-mark" role="img" aria-label={entry.checked ? "done" : "to do"}>
              {entry.checked ? "☑" : "☐"}
            </span>
          )}
          <Blocks nodes={entry.children} />
        </li>
      ))}
    </>
  );
}

function Table({ node }: { node: Extract<BlockNode, { kind: "table" }> }) {
  const side = (at: number) => node.align[at] ?? undefined;
  return (
    <div class="table-scroll" tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>
            {node.head.map((cell, at) =>
              cell.length === 0 ? (
                <td key={at} />
              ) : (
                <th key={at} scope="col" class={side(at)}>
                  <Inline nodes={cell} />
                </th>
              ),
            )}
          </tr>
        </thead>
        <tbody>
          {node.rows.map((row, line) => (
            <tr key={line}>
              {row.map((cell, at) => (
                <td key={at} class={side(at)}>
                  <Inline nodes={cell} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Inline({ nodes }: { nodes: readonly InlineNode[] }): VNode {
  return <>{nodes.map(inline)}</>;
}

function inline(node: InlineNode, at: number): ComponentChildren {
  switch (node.kind) {
    case "text":
      return node.text;
    case "strong":
      return (
        <strong key={at}>
          <Inline nodes={node.children} />
        </strong>
      );
    case "emphasis":
      return (
        <em key={at}>
          <Inline nodes={node.children} />
        </em>
      );
    case "strike":
      return (
        <s key={at}>
          <Inline nodes={node.children} />
        </s>
      );
    case "code":
      return <code key={at}>{node.text}</code>;
    case "break":
      return <br key={at} />;
    case "link":
      return (
        <Link key={at} href={node.href} host={node.host}>
          <Inline nodes={node.children} />
        </Link>
      );
    case "image":
      return (
        <span key={at} class="image-words">
          [{node.alt || "image"}: {node.address}]
        </span>
      );
  }
}

/** Where a link leads is written beside it: what a model calls a link is its own choice. */
function Link({ href, host, children }: { href: string; host: string; children: ComponentChildren }) {
  const tab = useContext(TabStop);
  return (
    <a
      href={href}
      tabIndex={tab === 0 ? undefined : -1}
      target={host ? "_blank" : undefined}
      rel="noopener noreferrer"
      title={href}
    >
      {children}
      {host && <span class="link-host"> ({host})</span>}
    </a>
  );
}
