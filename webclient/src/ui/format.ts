// Numbers, times and sizes as people read them. All of it goes through Intl, in the page's one language.

const plain = new Intl.NumberFormat("en");
const brief = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const one_place = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clock_seconds = new Intl.DateTimeFormat("en", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat("en", { month: "short", day: "numeric" });
const full = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const unit = (name: string) => new Intl.NumberFormat("en", { style: "unit", unit: name, unitDisplay: "narrow" });
const minutes = unit("minute");
const hours = unit("hour");
const days = unit("day");

/** 12,345 */
export const count = (value: number): string => plain.format(value);

/** 12.3K */
export const short_count = (value: number): string => brief.format(value);

/** A span: "640 µs" is never needed, "12 ms", "3.4 s", "2:05 min". */
export function span(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${one_place.format(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`;
}

/** Milliseconds to the tenth, for arrival times: "1,234.5". */
export const exact_ms = (ms: number): string => one_place.format(ms);

/** Bytes: "812 B", "12.3 KB" of 1,024. */
export function bytes(value: number): string {
  if (value < 1024) return `${plain.format(value)} B`;
  if (value < 1024 * 1024) return `${one_place.format(value / 1024)} KB`;
  return `${one_place.format(value / 1024 / 1024)} MB`;
}

/** Time of day. */
export const time = (at: number): string => clock.format(at);
export const time_seconds = (at: number): string => clock_seconds.format(at);

/** Date and time, for titles. */
export const moment = (at: number): string => full.format(at);

/** How long ago, in one short word. */
export function ago(at: number, now: number): string {
  const seconds = Math.max(0, (now - at) / 1000);
  if (seconds < 60) return "now";
  if (seconds < 3600) return minutes.format(Math.floor(seconds / 60));
  if (seconds < 86_400) return hours.format(Math.floor(seconds / 3600));
  if (seconds < 7 * 86_400) return days.format(Math.floor(seconds / 86_400));
  return day.format(at);
}

/** Whole seconds until then, never less than 0. */
export const seconds_until = (until: number, now: number): number => Math.max(0, Math.ceil((until - now) / 1000));

/** An id in a place too small for it. */
export const short_id = (id: string): string => (id.length > 13 ? `${id.slice(0, 8)}…` : id);
