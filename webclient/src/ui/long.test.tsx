// What a long session costs: what one change makes the page paint must not grow with what was said before.
import { act, cleanup, fireEvent, render } from "@testing-library/preact";
import { type Component, options, type VNode } from "preact";
import type { Signal } from "@preact/signals";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Engine, startEngine, type TurnView } from "../engine";
import { settle, type Stage, stage } from "../engine/testing";
import type { Item } from "../model";
import { App } from "./app";
import { type Bench, new_bench } from "./bench";
import { fixture_engine, item, turn_view } from "./fixtures/engine";
import { STRETCH } from "./transcript/stretch";

// Preact tells of each component that it paints by this hook, under the name its own tools use.
interface Hooks {
  __r?: (vnode: VNode & { readonly __c: Component & { readonly __P: Element } }) => void;
}
const hooks = options as Hooks;

let painted: { readonly name: string; readonly turn: string | null }[];
let before: Hooks["__r"];

beforeEach(() => {
  vi.stubGlobal("matchMedia", () => ({ matches: true, addEventListener: () => undefined }));
  painted = [];
  before = hooks.__r;
  hooks.__r = (vnode) => {
    const name = typeof vnode.type === "function" ? vnode.type.name : "";
    painted.push({ name, turn: vnode.__c.__P.closest?.("article")?.dataset.turn ?? null });
    before?.(vnode);
  };
});

let engine: Engine | null = null;

afterEach(async () => {
  hooks.__r = before;
  cleanup();
  await engine?.close();
  engine = null;
});

/** What was painted since the last time, by name. */
function counts(): Map<string, number> {
  const found = new Map<string, number>();
  for (const { name } of painted) found.set(name, (found.get(name) ?? 0) + 1);
  painted = [];
  return found;
}

describe("a turn at the end of a long session", () => {
  let gateway: Stage;
  let bench: Bench;

  async function one_turn(prompt: string): Promise<void> {
    await act(async () => {
      bench.thread.value!.send(prompt);
      await settle();
      gateway.gateway.last.head().delta({ role: "assistant", content: "" });
      await settle();
      gateway.frame();
    });
    await act(async () => {
      gateway.gateway.last.delta({ content: "one" });
      await settle();
      gateway.frame();
      gateway.gateway.last.delta({ content: " and two" }, "stop").done();
      await settle();
      gateway.frame();
    });
  }

  async function open(): Promise<void> {
    gateway = stage();
    engine = startEngine(gateway);
    bench = new_bench(engine);
    render(<App bench={bench} />);
    await act(async () => {
      await engine!.boot();
      await settle();
    });
  }

  it("paints no more than one at its beginning, and nothing within the turns before the last", async () => {
    await open();
    // Each stretch is as full, and the inspector's list of what was sent as short, at both measurements.
    for (let turn = 0; turn < 4; turn += 1) await one_turn(`Prompt ${turn}`);
    counts();
    await one_turn("early");
    const early = counts();
    for (let turn = 0; turn < STRETCH - 1; turn += 1) await one_turn(`Prompt ${turn}`);
    const old = bench.thread.value!.turns.value.slice(0, -1).map(({ id }) => id);
    counts();
    await one_turn("late");
    expect(early.get("Turn")).toBeGreaterThan(0);
    expect(painted.filter(({ turn }) => turn !== null && old.includes(turn))).toEqual([]);
    const late = counts();
    for (const name of ["Turn", "TurnHead", "Acts", "ItemFrame", "Stop", "Markdown", "Log", "Composer", "Open"])
      expect([name, late.get(name)]).toEqual([name, early.get(name)]);
  });
});

describe("a long session", () => {
  const turns = Array.from({ length: 5 * STRETCH }, (_, at) => {
    const items: Item[] = [item("userMessage", { text: `Prompt ${at}` }), item("toolCall", {})];
    return turn_view({ id: `turn-${at}`, items });
  });

  const completed = (container: Element) =>
    vi.waitFor(() => expect(container.querySelectorAll("article").length).toBe(turns.length), 10_000);

  async function show(): Promise<{ bench: Bench; container: Element }> {
    const bench = new_bench(fixture_engine({ turns }));
    const { container } = render(<App bench={bench} />);
    expect(container.querySelectorAll("article").length).toBeLessThan(turns.length / 2);
    await completed(container);
    counts();
    return { bench, container };
  }

  it("is painted from its end on, bit by bit, also when another branch of it is shown", async () => {
    const { bench, container } = await show();
    const shown = bench.thread.value!.turns as Signal<readonly TurnView[]>;
    act(() => {
      shown.value = turns.slice(0, 3);
    });
    expect(container.querySelectorAll("article").length).toBe(3);
    counts();
    act(() => {
      shown.value = turns;
    });
    expect(counts().get("Turn")).toBeLessThan(turns.length / 2);
    expect([...container.querySelectorAll("article")].at(-1)!.textContent).toContain(`Prompt ${turns.length - 1}`);
    await completed(container);
  });

  it("paints the item that the focus came from and the one it goes to, and no other", async () => {
    const { container } = await show();
    act(() => container.querySelector<HTMLElement>("[data-stop]")?.focus());
    expect(counts().get("Stop")).toBe(2);
  });

  it("opens an early prompt to be edited without a look at the others", async () => {
    const { bench } = await show();
    act(() => {
      bench.editing.value = "turn-3";
    });
    expect(counts().get("UserText")).toBe(1);
  });

  it("reveals one payload without a look at the others", async () => {
    const { container } = await show();
    act(() => void fireEvent.click(container.querySelector("[data-act=reveal]")!));
    expect(counts().get("ToolCard")).toBe(1);
  });

  it("has the buttons of a turn only while it is near the view", async () => {
    const { container } = await show();
    const turn = container.querySelector<HTMLElement>("article[data-turn=turn-40]")!;
    const tell = (target: Element, skipped: boolean) =>
      void act(() => {
        const event = Object.assign(new Event("contentvisibilityautostatechange", { bubbles: true }), { skipped });
        target.dispatchEvent(event);
      });
    const acts = () => turn.querySelectorAll(".turn-acts").length;
    expect(acts()).toBe(0);
    tell(turn.closest(".stretch")!, false);
    tell(turn, false);
    expect(acts()).toBe(2);
    tell(turn, true);
    expect(acts()).toBe(0);
    tell(turn, false);
    // What is within a stretch that goes out of view hears nothing more.
    tell(turn.closest(".stretch")!, true);
    expect(acts()).toBe(0);
  });
});
