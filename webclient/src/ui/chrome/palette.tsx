// All that can be done, found by typing.

import { useMemo, useRef, useState } from "preact/hooks";
import { use_bench } from "../bench";
import { Icon, type IconName } from "../icon";
import { Modal } from "../parts";
import { t } from "../strings";
import { commands } from "./commands";

export function Palette() {
  const bench = use_bench();
  const [query, set_query] = useState("");
  const [at, set_at] = useState(0);
  const list = useRef<HTMLUListElement>(null);
  const all = useMemo(() => commands(bench), []);
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = all.filter((command) => words.every((word) => command.name.toLowerCase().includes(word))).slice(0, 40);
  const close = () => {
    bench.dialog.value = null;
  };
  const run = (place: number) => {
    const command = found[place];
    if (!command) return;
    close();
    // After the dialog has given the focus back, so that a command may take it.
    setTimeout(command.run);
  };
  const on_key = (event: KeyboardEvent) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) {
      event.preventDefault();
      const next = (at + by + found.length) % Math.max(1, found.length);
      set_at(next);
      list.current?.children[next]?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(at);
    }
  };
  return (
    <Modal label={t.palette.title} look="palette" close={close}>
      <div class="palette-field">
        <Icon name="search" />
        <input
          autofocus
          role="combobox"
          aria-label={t.palette.label}
          aria-expanded="true"
          aria-controls="palette-list"
          aria-activedescendant={found[at] ? `command-${at}` : undefined}
          autocomplete="off"
          placeholder={t.palette.label}
          value={query}
          onInput={(event) => {
            set_query(event.currentTarget.value);
            set_at(0);
          }}
          onKeyDown={on_key}
        />
      </div>
      <ul ref={list} class="bare palette-list" id="palette-list" role="listbox" aria-label={t.palette.title}>
        {found.map((command, place) => (
          <li
            key={command.name}
            id={`command-${place}`}
            role="option"
            aria-selected={place === at}
            onMouseMove={() => set_at(place)}
            onClick={() => run(place)}
          >
            <Icon name={command.icon as IconName} />
            <span class="clip grow">{command.name}</span>
            {command.keys && <kbd>{command.keys}</kbd>}
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="hollow">{t.palette.none}</p>}
    </Modal>
  );
}
