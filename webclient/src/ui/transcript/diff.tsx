// Changes to files. Plus and minus are written, so that colour is not the only sign.

import { useMemo, useState } from "preact/hooks";
import type { DiffFile, DiffLine } from "../../engine";
import { readDiff } from "../../engine/text/diff";
import type { Diff, FileChange } from "../../model";
import { count } from "../format";
import { Icon } from "../icon";
import { Chip, CopyButton, QuietButton } from "../parts";
import { t } from "../strings";

const marks: Record<DiffLine["kind"], string> = { same: " ", added: "+", removed: "−", note: " " };
const MOST_LINES = 2000;

/** A unified diff as a table; what is none is shown as it came. */
export function DiffTable({ text }: { text: string }) {
  const [wraps, set_wraps] = useState(true);
  const files = useMemo(() => readDiff(text), [text]);
  if (!files || files.length === 0) {
    return (
      <>
        <p class="muted">{t.diff.unreadable}</p>
        <pre class="plain-text">{text}</pre>
      </>
    );
  }
  return (
    <div class={`diff ${wraps ? "wraps" : ""}`}>
      <div class="row">
        <span class="muted grow">{t.diff.files(files.length)}</span>
        <QuietButton aria-pressed={wraps} onClick={() => set_wraps(!wraps)}>
          {t.diff.wrap}
        </QuietButton>
        <CopyButton text={() => text} />
      </div>
      {files.map((file, at) => (
        <OneFile key={at} file={file} scrolls={!wraps} />
      ))}
    </div>
  );
}

function OneFile({ file, scrolls }: { file: DiffFile; scrolls: boolean }) {
  const name = file.from !== file.to && file.from && file.to ? `${file.from} → ${file.to}` : file.to || file.from;
  let room = MOST_LINES;
  return (
    <figure class="diff-file">
      <figcaption>
        <Icon name="file" />
        <code class="clip grow">{name}</code>
        <span class="number diff-plus">
          <span class="unseen">{t.diff.added} </span>+{count(file.added)}
        </span>
        <span class="number diff-minus">
          <span class="unseen">{t.diff.removed} </span>−{count(file.removed)}
        </span>
      </figcaption>
      <div class="diff-scroll" tabIndex={scrolls ? 0 : undefined} role="group" aria-label={name}>
        <table>
          {file.hunks.map((hunk, at) => {
            const lines = hunk.lines.slice(0, room);
            room -= lines.length;
            return (
              <tbody key={at}>
                {hunk.heading !== "" && (
                  <tr class="diff-heading">
                    <td colSpan={4}>{hunk.heading}</td>
                  </tr>
                )}
                {lines.map((line, row) => (
                  <tr key={row} class={`diff-${line.kind}`}>
                    <td class="diff-number">{line.before ?? ""}</td>
                    <td class="diff-number">{line.after ?? ""}</td>
                    <td class="diff-mark">{marks[line.kind]}</td>
                    <td class="diff-text">{line.text}</td>
                  </tr>
                ))}
              </tbody>
            );
          })}
        </table>
      </div>
    </figure>
  );
}

export const DiffCard = ({ item }: { item: Diff }) => (
  <section class="card">
    <header class="card-head">
      <Icon name="file" />
      <strong class="grow">{t.diff.title}</strong>
    </header>
    <div class="card-body">
      <DiffTable text={item.diff} />
    </div>
  </section>
);

export const FileChangeCard = ({ item }: { item: FileChange }) => (
  <section class="card">
    <header class="card-head">
      <Icon name="file" />
      <strong class="grow">{t.file_change.title}</strong>
      {item.state === "open" && <span class="dot live" />}
      {item.state === "declined" && <Chip look="warn">{t.command.declined}</Chip>}
    </header>
    <div class="card-body">
      {/* What is not done yet is asked for, or done in a moment: the question shows it whole. */}
      <Changes changes={item.changes} brief={item.state === "open"} />
    </div>
  </section>
);

export const Changes = ({ changes, brief = false }: Pick<FileChange, "changes"> & { brief?: boolean }) => (
  <>
    {changes.map((change) => (
      <div key={change.path}>
        <div class="row">
          <code class="clip">{change.path}</code>
          <Chip>{t.file_change[change.change] ?? change.change}</Chip>
        </div>
        {change.diff !== "" && !brief && <DiffTable text={change.diff} />}
      </div>
    ))}
  </>
);
