import { act, cleanup, fireEvent, render } from "@testing-library/preact";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { App } from "./app";
import { new_bench } from "./bench";
import { type Acts, fixture_engine, item, type Scene, turn_view } from "./fixtures/engine";
import { scenes } from "./fixtures/scenes";

// happy-dom has no layout: a wide screen, and sizes that never change.
beforeEach(() => {
  vi.stubGlobal("matchMedia", () => ({ matches: true, addEventListener: () => undefined }));
});
afterEach(cleanup);

const settle = () => act(() => new Promise((resolve) => setTimeout(resolve, 20)));

async function show(scene: Scene) {
  const acts: Acts = [];
  const bench = new_bench(fixture_engine(scene, acts));
  const page = render(<App bench={bench} />);
  await settle();
  return { acts, bench, ...page };
}

describe("the page", () => {
  it.each(Object.keys(scenes).filter((name) => name !== "long"))(
    "paints the state %s without a fault, with one tab stop in the transcript",
    async (name) => {
      const { container } = await show(scenes[name]!());
      const stops = [...container.querySelectorAll("[data-stop]")];
      expect(stops.filter((stop) => stop.getAttribute("tabindex") === "0").length).toBe(stops.length > 0 ? 1 : 0);
      expect(container.querySelector("[role=log]")?.getAttribute("aria-live")).toBe("off");
      expect(container.querySelectorAll("[role=status]").length).toBe(1);
    },
  );

  it("sends on Enter, breaks the line on Shift+Enter, and sends nothing blank", async () => {
    const { acts, bench, getByLabelText } = await show({ turns: [] });
    const field = getByLabelText("Prompt", { selector: "textarea" });
    fireEvent.keyDown(field, { key: "Enter" });
    fireEvent.input(field, { target: { value: "moin" } });
    fireEvent.keyDown(field, { key: "Enter", shiftKey: true });
    expect(acts).toEqual([]);
    fireEvent.keyDown(field, { key: "Enter" });
    expect(acts).toEqual([["send", "moin"]]);
    expect(bench.thread.value?.draft.value).toBe("moin");
  });

  it("says how many bytes a prompt is too large, and does not send it", async () => {
    const { acts, container, getByLabelText } = await show({ turns: [], weight: 65_530, draft: "too long by four" });
    await act(() => new Promise((resolve) => setTimeout(resolve, 200)));
    expect(container.textContent).toContain("10 B too large to send");
    fireEvent.keyDown(getByLabelText("Prompt", { selector: "textarea" }), { key: "Enter" });
    expect(acts).toEqual([]);
  });

  it("stops on Escape while an answer streams", async () => {
    const { acts } = await show(scenes.streaming!());
    fireEvent.keyDown(document.body, { key: "Escape" });
    expect(acts).toEqual([["stop"]]);
  });

  it("paints what has arrived on Ctrl+Shift+F, and begins a session on Ctrl+Shift+O", async () => {
    const { acts } = await show(scenes.full!());
    fireEvent.keyDown(document.body, { key: "F", ctrlKey: true, shiftKey: true });
    fireEvent.keyDown(document.body, { key: "O", ctrlKey: true, shiftKey: true });
    expect(acts).toEqual([["flush"], ["create"]]);
  });

  it("goes item by item with ] and [, and reveals with r, while an item has the focus", async () => {
    const { container } = await show(scenes.tools!());
    const stops = [...container.querySelectorAll<HTMLElement>("[data-stop]")];
    act(() => stops[0]!.focus());
    fireEvent.keyDown(stops[0]!, { key: "]" });
    expect(document.activeElement).toBe(stops[1]);
    fireEvent.keyDown(stops[1]!, { key: "[" });
    expect(document.activeElement).toBe(stops[0]);
    const card = stops.find((stop) => stop.classList.contains("toolCall"))!;
    act(() => card.focus());
    fireEvent.keyDown(card, { key: "r" });
    expect(card.textContent).toContain("Rome");
  });

  it("leaves single letters alone where they are switched off", async () => {
    const { container } = await show({ ...scenes.tools!(), settings: { shortcuts: false } });
    const card = container.querySelector<HTMLElement>(".toolCall")!;
    act(() => card.focus());
    fireEvent.keyDown(card, { key: "r" });
    expect(card.textContent).not.toContain("Rome");
  });

  it("edits a prompt in its place", async () => {
    const turn = turn_view({ id: "turn", items: [item("userMessage", { text: "old words" })] });
    const { acts, getAllByLabelText, getByLabelText, container } = await show({ turns: [turn] });
    fireEvent.click(getAllByLabelText("Edit and send again")[0]!);
    const field = getByLabelText("Edit and send again", { selector: "textarea" });
    fireEvent.input(field, { target: { value: "new words" } });
    fireEvent.keyDown(field, { key: "Enter" });
    expect(acts).toEqual([["edit", "turn", "new words"]]);
    expect(container.querySelector(".edit-prompt")).toBeNull();
  });

  it("marks an id that came back changed, or not at all, as an alert", async () => {
    const { container } = await show(scenes.mismatch!());
    expect(container.querySelectorAll(".echo.mismatch").length).toBe(2);
    expect(container.querySelector(".inspector [role=alert]")?.textContent).toContain("did not come back");
  });

  it("counts down to the moment the server named, and retries when asked", async () => {
    const { acts, container, getByText } = await show(scenes.rate_limited!());
    expect(container.querySelector("[role=timer]")?.textContent).toMatch(/retry in 1[12] s/);
    fireEvent.click(getByText("Retry now"));
    expect(acts[0]?.[0]).toBe("retry");
  });

  it("lowers the limit on output to what the budget leaves", async () => {
    const { acts, getByText } = await show(scenes.over_budget!());
    fireEvent.click(getByText("Ask for 1,191 tokens at most"));
    expect(acts.map(([name]) => name)).toEqual(["change", "retry"]);
    expect(acts[0]?.[1]).toMatchObject({ sampling: { maxTokens: 1191 } });
  });

  it("asks before it deletes a session", async () => {
    const { acts, bench, findByText } = await show(scenes.full!());
    bench.dialog.value = { kind: "remove", thread: "thread-1" };
    const sure = await findByText("Delete", {}, { timeout: 20_000 });
    expect(acts).toEqual([]);
    fireEvent.click(sure);
    expect(acts).toEqual([["remove", "thread-1"]]);
  });

  it("announces the boundaries of an answer, and no token of it", async () => {
    const scene = scenes.streaming!();
    const { container } = await show(scene);
    const status = container.querySelector("[role=status]")!;
    expect(status.textContent).toBe("");
    const turn = scene.turns![0]! as ReturnType<typeof turn_view>;
    act(() => {
      turn.state.value = { kind: "streaming", what: "text", since: 0 };
    });
    expect(status.textContent).toBe("");
    act(() => {
      turn.state.value = { kind: "done", finish: "stop" };
    });
    await settle();
    expect(status.textContent).toBe("The answer is complete.");
  });
});
