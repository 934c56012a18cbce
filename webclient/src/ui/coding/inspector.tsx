// The right pane of a coding session: what is in its workspace, what has changed there, and what was committed.

import { useRef, useState } from "preact/hooks";
import type { CodingView } from "../../engine";
import { use_bench } from "../bench";
import { bytes, moment } from "../format";
import { Icon } from "../icon";
import { Chip, QuietButton } from "../parts";
import { t } from "../strings";
import { CodeBlock } from "../transcript/code";
import { DiffTable } from "../transcript/diff";
import { use_asked } from "./asked";
import { words } from "./strings";

const w = words.panel;
type Tab = keyof typeof w.tabs;
const tabs = Object.keys(w.tabs) as Tab[];

export function CodingInspector() {
  const bench = use_bench();
  const { view } = bench.coding.value!;
  const [tab, set_tab] = useState<Tab>("files");
  const [looks, set_looks] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const go = (to: Tab) => {
    set_tab(to);
    list.current?.querySelector<HTMLElement>(`#tab-${to}`)?.focus();
  };
  const on_key = (event: KeyboardEvent) => {
    const at = tabs.indexOf(tab);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(tabs[(to + tabs.length) % tabs.length]!);
  };
  const Panel = panels[tab];
  // What is shown may have changed when a file became active, and when a turn is over.
  const when = `${looks} ${view.files.value.join("\n")} ${view.standing.value.state} ${view.link.value.kind}`;
  return (
    <>
      <header class="pane-head">
        <h2 class="grow">{w.title}</h2>
        <QuietButton icon="retry" label={w.refresh} onClick={() => set_looks(looks + 1)} />
        <QuietButton
          icon="close"
          look="pane-close"
          label={t.inspector.hide}
          onClick={() => {
            bench.inspector_open.value = false;
          }}
        />
      </header>
      <div ref={list} class="tabs" role="tablist" aria-label={w.tabs_label} onKeyDown={on_key}>
        {tabs.map((one) => (
          <button
            key={one}
            type="button"
            role="tab"
            id={`tab-${one}`}
            aria-selected={one === tab}
            aria-controls="inspector-panel"
            tabIndex={one === tab ? 0 : -1}
            onClick={() => go(one)}
          >
            {w.tabs[one]}
          </button>
        ))}
      </div>
      <div class="panel" role="tabpanel" id="inspector-panel" aria-labelledby={`tab-${tab}`} tabIndex={0}>
        <Panel view={view} when={when} />
      </div>
    </>
  );
}

interface Looking {
  readonly view: CodingView;
  /** Another value when it is time to look again. */
  readonly when: string;
}

const panels: Record<Tab, (props: Looking) => preact.ComponentChildren> = {
  files: Files,
  changes: Changes,
  history: History,
};

/** What one call shows, in the gateway's words if it cannot. Of another call it shows nothing of this one's. */
const Looked = (looked: LookedAt) => <Kept key={`${looked.path} ${JSON.stringify(looked.query)}`} {...looked} />;

type LookedAt = Looking & {
  path: string;
  query?: Readonly<Record<string, string>>;
  // biome-ignore lint/suspicious/noExplicitAny: the gateway's answers; each use takes what it knows
  children: (value: any) => preact.ComponentChildren;
};

function Kept({ view, when, path, query, children }: LookedAt) {
  const answer = use_asked(() => view.look(path, query), [when]);
  if (!answer) return <p class="hollow">{w.loading}</p>;
  if (!answer.ok) return <p class="hollow">{answer.problem || words.unreachable}</p>;
  return <>{children(answer.value)}</>;
}

function Files({ view, when }: Looking) {
  const [folder, set_folder] = useState("");
  const [file, set_file] = useState<string | null>(null);
  if (file !== null) return <OneFile view={view} when={when} file={file} back={() => set_file(null)} />;
  const active = view.files.value;
  return (
    <>
      <section class="panel-part">
        <h3>{w.active}</h3>
        {active.length === 0 && <p class="muted">{w.no_active}</p>}
        <ul class="bare file-list">
          {active.map((path) => (
            <FileRow key={path} name={path} open={() => set_file(path)} />
          ))}
        </ul>
      </section>
      <section class="panel-part">
        <h3>
          {w.all} {folder && <code>{folder}/</code>}
        </h3>
        <ul class="bare file-list">
          {folder !== "" && (
            <FileRow name={w.up} icon="up" open={() => set_folder(folder.split("/").slice(0, -1).join("/"))} />
          )}
          <Looked view={view} when={when} path="files" query={{ path: folder }}>
            {({ entries = [], truncated }: { entries?: readonly Entry[]; truncated?: boolean }) => (
              <>
                {entries.length === 0 && <li class="muted">{w.empty}</li>}
                {entries.map((entry) => (
                  <FileRow
                    key={entry.path}
                    name={entry.name}
                    icon={entry.kind === "folder" ? "box" : "file"}
                    size={entry.size}
                    open={
                      entry.kind === "folder"
                        ? () => set_folder(entry.path)
                        : entry.kind === "file"
                          ? () => set_file(entry.path)
                          : undefined
                    }
                  />
                ))}
                {truncated && <li class="muted">{w.truncated}</li>}
              </>
            )}
          </Looked>
        </ul>
      </section>
    </>
  );
}

interface Entry {
  readonly name: string;
  readonly path: string;
  readonly kind: string;
  readonly size: number | null;
}

function FileRow({
  name,
  icon = "file",
  size = null,
  open,
}: {
  name: string;
  icon?: "file" | "box" | "up";
  size?: number | null;
  open?: () => void;
}) {
  return (
    <li>
      <button type="button" class="lane-jump wide" disabled={!open} onClick={open}>
        <Icon name={icon} />
        <span class="clip grow mono">{name}</span>
        {size !== null && <span class="muted number">{bytes(size)}</span>}
      </button>
    </li>
  );
}

function OneFile({ view, when, file, back }: Looking & { file: string; back: () => void }) {
  return (
    <section class="panel-part">
      <div class="row">
        <QuietButton icon="left" label={w.back} onClick={back} />
        <code class="clip grow">{file}</code>
      </div>
      <Looked view={view} when={when} path="files/content" query={{ path: file }}>
        {({ text, truncated }: { text: string | null; truncated?: boolean }) => (
          <>
            {text === null ? <p class="muted">{w.no_text}</p> : <CodeBlock text={text} language={language_of(file)} />}
            {truncated && <p class="muted">{w.truncated}</p>}
          </>
        )}
      </Looked>
    </section>
  );
}

const language_of = (file: string): string => file.split(".").at(-1) ?? "";

function Changes(looking: Looking) {
  const turn_diff = looking.view.diff.value;
  return (
    <>
      <section class="panel-part">
        <Looked {...looking} path="git/status">
          {(status: { branch: string | null; changes?: readonly { path: string; status: string }[] }) => (
            <>
              <h3>{status.branch ? w.branch(status.branch) : w.no_branch}</h3>
              <ul class="bare" aria-label={w.status}>
                {status.changes?.map((change) => (
                  <li key={change.path} class="row">
                    <code class="clip grow">{change.path}</code>
                    <Chip>{change.status}</Chip>
                  </li>
                ))}
              </ul>
            </>
          )}
        </Looked>
      </section>
      {turn_diff !== "" && (
        <section class="panel-part">
          <h3>{w.turn_diff}</h3>
          <DiffTable text={turn_diff} />
        </section>
      )}
      <section class="panel-part">
        <h3>{w.diff}</h3>
        <Looked {...looking} path="git/diff">
          {({ diff = "", truncated }: { diff?: string; truncated?: boolean }) => (
            <>
              {diff === "" ? <p class="muted">{w.clean}</p> : <DiffTable text={diff} />}
              {truncated && <p class="muted">{w.truncated}</p>}
            </>
          )}
        </Looked>
      </section>
    </>
  );
}

function History(looking: Looking) {
  return (
    <section class="panel-part">
      <h3>{w.commits}</h3>
      <Looked {...looking} path="git/log" query={{ limit: "50" }}>
        {({ commits = [] }: { commits?: readonly Commit[] }) => (
          <ul class="bare commit-list">
            {commits.length === 0 && <li class="muted">{w.no_commits}</li>}
            {commits.map((commit) => (
              <li key={commit.commit}>
                <span dir="auto">{commit.subject}</span>
                <span class="muted number">
                  <code>{commit.commit.slice(0, 8)}</code> {commit.author} · {moment(commit.when * 1000)}
                </span>
              </li>
            ))}
          </ul>
        )}
      </Looked>
    </section>
  );
}

interface Commit {
  readonly commit: string;
  readonly author: string;
  readonly when: number;
  readonly subject: string;
}
