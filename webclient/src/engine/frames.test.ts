// @vitest-environment node
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FrameReader, type ServerEvent, textOf } from "./frames";

const utf8 = new TextEncoder();

/** Reads bytes cut at the given places. */
function read(bytes: Uint8Array, cuts: readonly number[] = []): { reader: FrameReader; events: ServerEvent[] } {
  const events: ServerEvent[] = [];
  const reader = new FrameReader((event) => events.push(event));
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const place of [...places, bytes.length]) {
    reader.push(bytes.subarray(from, place), from);
    from = place;
  }
  reader.end(from);
  return { reader, events };
}

/** What is the same however the stream was cut: all but the times. */
const cutless = (reader: FrameReader): unknown => reader.frames.map(({ atMs: _, ...frame }) => frame);

const line = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 12 }).map((text) => `data: ${text.replace(/[\r\n]/g, " ")}`),
  fc.constantFrom(": keep-alive", "event: ping", "id: 7", "retry: 10", "data", "nonsense", ""),
);
const ending = fc.constantFrom("\n", "\r\n", "\r");
const stream = fc
  .array(fc.tuple(fc.array(line, { maxLength: 3 }), ending), { maxLength: 8 })
  .chain((events) =>
    fc.tuple(
      fc.constant(events.map(([lines, end]) => lines.map((text) => text + end).join("") + end).join("")),
      fc.constantFrom("", "data: unfinished", "\uFEFF"),
    ),
  )
  .map(([whole, rest]) => (rest === "\uFEFF" ? rest + whole : whole + rest));

describe("FrameReader", () => {
  it("finds the same frames and events however the bytes are cut, also inside a character", () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(), { maxLength: 12 }), (text, cuts) => {
        const bytes = utf8.encode(text);
        const whole = read(bytes);
        const cut = read(bytes, cuts);
        expect(cut.events).toEqual(whole.events);
        expect(cutless(cut.reader)).toEqual(cutless(whole.reader));
      }),
      { numRuns: 1000 },
    );
  });

  it("gives frames that joined are the bytes received, whatever they are", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          stream.map((text) => utf8.encode(text)),
          fc.uint8Array({ maxLength: 200 }),
        ),
        fc.array(fc.nat(), { maxLength: 12 }),
        (bytes, cuts) => {
          const { reader } = read(bytes, cuts);
          const joined = reader.frames.flatMap((frame) => [...reader.bytesOf(frame)]);
          expect(joined).toEqual([...bytes]);
          expect([...reader.log.slice()]).toEqual([...bytes]);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("hands over an event at a CR alone, and counts an LF that comes later to the same frame", () => {
    const events: ServerEvent[] = [];
    const reader = new FrameReader((event) => events.push(event));
    reader.push(utf8.encode("data: a\r\n\r"), 1);
    expect(events).toEqual([{ name: "", data: "a" }]);
    reader.push(utf8.encode("\ndata: b\n\n"), 2);
    expect(reader.frames.map(({ start, end }) => [start, end])).toEqual([
      [0, 11],
      [11, 20],
    ]);
  });

  it("keeps the time at which a frame's last byte came", () => {
    const reader = new FrameReader(() => undefined);
    reader.push(utf8.encode("data: a"), 5);
    reader.push(utf8.encode("\n\ndata: b\n\n"), 8);
    reader.push(utf8.encode(": still here\n"), 11);
    reader.push(utf8.encode("\n"), 12);
    expect(reader.frames.map((frame) => [frame.kind, frame.atMs])).toEqual([
      ["event", 8],
      ["event", 8],
      ["comment", 12],
    ]);
  });

  it("reads names, several data lines and ids, and skips a byte order mark", () => {
    const { events } = read(utf8.encode("\uFEFFevent: response.created\nid: 1\ndata: {\ndata: }\n\ndata:x\n\n"));
    expect(events).toEqual([
      { name: "response.created", data: "{\n}" },
      { name: "", data: "x" },
    ]);
  });

  it("keeps what follows the last blank line as a rest that is no event", () => {
    const { reader, events } = read(utf8.encode('data: a\n\ndata: {"b'));
    expect(events).toHaveLength(1);
    expect(reader.frames.map((frame) => frame.kind)).toEqual(["event", "rest"]);
    expect(textOf(reader.bytesOf(reader.frames[1]!))).toBe('data: {"b');
  });
});
