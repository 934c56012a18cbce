// The smallest parts that several panes share: buttons with names, copying, chips, elements that know the roving focus.

import { createContext, type ButtonHTMLAttributes, type ComponentChildren } from "preact";
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { copy, use_bench } from "./bench";
import { Icon, type IconName } from "./icon";
import { t } from "./strings";

/** -1 inside an item of the transcript that has not the roving focus: its controls are no tab stops then. */
export const TabStop = createContext<0 | -1>(0);

/** Whether the stretch of turns around is near the view; what is within one that is not is told of no coming and going. */
export const StretchInView = createContext(true);

/** Whether the turn around is, or has been, near the view: what only decorates it can wait until then. */
export const Near = createContext(true);

type Native = Omit<ButtonHTMLAttributes<HTMLButtonElement>, "class" | "icon" | "label" | "size">;

interface ButtonProps extends Native {
  /** The accessible name; also the tooltip where there is no text. */
  label?: string;
  icon?: IconName;
  look?: string;
  children?: ComponentChildren;
}

export function Button({ label, icon, look = "", children, title, ...rest }: ButtonProps) {
  const tab = useContext(TabStop);
  const bare = children === undefined;
  return (
    <button
      type="button"
      tabIndex={tab === 0 ? undefined : -1}
      {...rest}
      class={`button ${look} ${bare ? "square" : ""}`}
      aria-label={label}
      title={title ?? (bare ? label : undefined)}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

export const QuietButton = (props: ButtonProps) => <Button {...props} look={`quiet small ${props.look ?? ""}`} />;

/** Copies what `text` gives at the time of the click. */
export function CopyButton({
  text,
  label = t.copy,
  children,
}: {
  text: () => string;
  label?: string;
  children?: ComponentChildren;
}) {
  const bench = use_bench();
  const [copied, set_copied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => set_copied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  const click = async () => {
    await copy(bench, text(), { copied: t.copied, failed: t.copy_failed });
    set_copied(true);
  };
  return (
    <QuietButton label={copied ? t.copied : label} icon={copied ? "check" : "copy"} onClick={click}>
      {children}
    </QuietButton>
  );
}

export function Chip({ look = "", title, children }: { look?: string; title?: string; children: ComponentChildren }) {
  return (
    <span class={`chip ${look}`} title={title}>
      {children}
    </span>
  );
}

/** The present time, anew every so many milliseconds while `live`. */
export function use_now(live: boolean, every = 1000): number {
  const [now, set_now] = useState(() => Date.now());
  useEffect(() => {
    if (!live) return;
    set_now(Date.now());
    const timer = setInterval(() => set_now(Date.now()), every);
    return () => clearInterval(timer);
  }, [live, every]);
  return now;
}

/** A value that a chunk of the page brings, loaded when it is first wanted; null until then. `failed`: it did not come. */
export function use_loaded<T>(load: (() => Promise<T>) | null, failed?: () => void): T | null {
  const [value, set_value] = useState<{ loaded: T } | null>(null);
  const wanted = load !== null && value === null;
  useEffect(() => {
    if (!wanted) return;
    let gone = false;
    load().then(
      (loaded) => gone || set_value({ loaded }),
      () => gone || failed?.(),
    );
    return () => {
      gone = true;
    };
  }, [wanted]);
  return value?.loaded ?? null;
}

/** A modal dialog of the platform: it keeps the focus, closes by Escape, and gives the focus back. */
export function Modal({
  label,
  look = "",
  close,
  children,
}: {
  label: string;
  look?: string;
  close: () => void;
  children: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current!;
    const before = document.activeElement;
    if (!dialog.open) dialog.showModal();
    return () => {
      if (dialog.open) dialog.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={`modal ${look}`}
      aria-label={label}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
      onMouseDown={(event) => event.target === event.currentTarget && close()}
    >
      {children}
    </dialog>
  );
}

/** A labelled field of a form, with its hint and what is wrong with it. */
export function Labelled({
  id,
  label,
  hint,
  problem,
  children,
}: {
  id: string;
  label: ComponentChildren;
  hint?: string;
  problem?: string | null;
  children: ComponentChildren;
}) {
  return (
    <div class="labelled">
      <label for={id}>{label}</label>
      {children}
      {problem ? (
        <p class="problem" id={`${id}-words`} role="alert">
          {problem}
        </p>
      ) : hint ? (
        <p class="hint" id={`${id}-words`}>
          {hint}
        </p>
      ) : null}
    </div>
  );
}
