// A number that may be absent. What is typed stays as typed until it is a number or nothing.

import { useEffect, useState } from "preact/hooks";

interface Props {
  id?: string;
  label?: string;
  value: number | null;
  change: (value: number | null) => void;
  placeholder?: string;
  look?: string;
  invalid?: boolean;
  described_by?: string;
}

const read = (text: string): number | null => (text.trim() === "" ? null : Number(text.replace(",", ".")));
const is_read = (value: number | null): boolean => value === null || Number.isFinite(value);

export function NumberField({
  id,
  label,
  value,
  change,
  placeholder,
  look = "",
  invalid = false,
  described_by,
}: Props) {
  const shown = value === null ? "" : String(value);
  const [text, set_text] = useState(shown);
  // Another place may change it too; what is typed wins as long as it means the same.
  useEffect(() => {
    if (read(text) !== value) set_text(shown);
  }, [value]);
  const type = (typed: string) => {
    set_text(typed);
    const next = read(typed);
    if (is_read(next) && next !== value) change(next);
  };
  return (
    <input
      id={id}
      class={`field number-field ${look}`}
      type="text"
      inputMode="decimal"
      autocomplete="off"
      aria-label={label}
      aria-invalid={invalid || !is_read(read(text))}
      aria-describedby={described_by}
      value={text}
      placeholder={placeholder}
      onInput={(event) => type(event.currentTarget.value)}
      onBlur={() => {
        if (!is_read(read(text))) set_text(shown);
      }}
    />
  );
}
