// @vitest-environment node
import { expect, it } from "vitest";
import { Painter } from "./painter";

function screen() {
  let now = 0;
  let frames: (() => void)[] = [];
  const painter = new Painter(
    (call) => void frames.push(call),
    () => now,
  );
  return {
    painter,
    /** The next frame of the screen, so many milliseconds later. */
    frame: (ms: number) => {
      now += ms;
      const calls = frames;
      frames = [];
      for (const call of calls) call();
    },
  };
}

it("publishes each change once a frame, and nothing without one", () => {
  const { painter, frame } = screen();
  let published = 0;
  const painting = { publish: () => void (published += 1) };
  for (let count = 0; count < 100; count += 1) painter.request(painting);
  expect(published).toBe(0);
  frame(16);
  frame(16);
  expect(published).toBe(1);
  painter.request(painting);
  painter.flush();
  expect(published).toBe(2);
  frame(16);
  expect(published).toBe(2);
});

it("leaves frames out when painting is slow, and comes back when it is not", () => {
  const { painter, frame } = screen();
  let published = 0;
  const painting = { publish: () => void (published += 1) };
  const run = (frames: number, ms: number): number => {
    const before = published;
    for (let count = 0; count < frames; count += 1) {
      painter.request(painting);
      frame(ms);
    }
    return published - before;
  };
  expect(run(30, 16)).toBe(30);
  expect(run(30, 60)).toBeLessThanOrEqual(12);
  run(5, 16);
  expect(run(30, 16)).toBe(30);
});
