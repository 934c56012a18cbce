// How full something is, as a drawing with words: the drawing is an SVG because its width is data, and the page's policy
// admits no inline style.

export function Bar({
  value,
  most,
  words,
  shown = false,
}: {
  value: number;
  most: number;
  words: string;
  shown?: boolean;
}) {
  const part = most > 0 ? Math.min(1, value / most) : 0;
  const look = part >= 0.95 ? "bad" : part >= 0.8 ? "warn" : "good";
  return (
    <span class={`meter ${look}`} title={words}>
      <svg class="meter-bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label={words}>
        <rect class="meter-rest" width="100" height="8" rx="2" />
        <rect class="meter-fill" width={Math.max(part * 100, part > 0 ? 2 : 0)} height="8" rx="2" />
      </svg>
      {shown && <span class="number">{words}</span>}
    </span>
  );
}
