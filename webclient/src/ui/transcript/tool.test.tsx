import { cleanup, fireEvent, render } from "@testing-library/preact";
import { afterEach, describe, expect, it } from "vitest";
import { BenchProvider, new_bench } from "../bench";
import { type Acts, fixture_engine, item, item_view, type Scene, turn_view } from "../fixtures/engine";
import { ItemFrame } from "./item";

const SECRET = "canary-7f3a";
const call = () =>
  item("toolCall", {
    name: "store_core",
    arguments: JSON.stringify({ key: "name", value: SECRET }),
    result: { text: `{"said":"${SECRET}"}`, at: 0, by: "user", failed: false },
  });

function show(value: ReturnType<typeof call>, scene: Scene = {}, acts: Acts = []) {
  const turn = turn_view({
    id: "turn",
    items: [],
    state: value.result ? { kind: "done", finish: null } : { kind: "tools", waiting: [value.id, "other"] },
  });
  const bench = new_bench(fixture_engine({ ...scene, turns: [turn] }, acts));
  const page = render(
    <BenchProvider value={bench}>
      <ItemFrame view={item_view(value)} turn={turn} />
    </BenchProvider>,
  );
  return { bench, ...page };
}

afterEach(cleanup);

describe("a tool call's card", () => {
  it("has no payload in the document until it is revealed, and none after it is hidden again", () => {
    const { container, getByText } = show(call());
    expect(container.innerHTML).not.toContain(SECRET);
    expect(container.textContent).toContain(`string(${SECRET.length})`);
    fireEvent.click(getByText("Reveal"));
    expect(container.textContent).toContain(SECRET);
    fireEvent.click(getByText("Hide"));
    expect(container.innerHTML).not.toContain(SECRET);
  });

  it("shows payloads at once where redaction is off", () => {
    expect(show(call(), { settings: { redaction: false } }).container.textContent).toContain(SECRET);
  });

  it("offers no copy of what is masked", () => {
    expect(show(call()).queryByLabelText("Copy")).toBeNull();
  });

  it("says where arguments cease to be JSON, and what else is odd about the call", () => {
    const odd = item("toolCall", {
      arguments: "{nope",
      verdict: { kind: "broken", at: 1 },
      flags: ["missingId", "oneLump"],
    });
    const words = show(odd as ReturnType<typeof call>).container.textContent;
    expect(words).toContain("not JSON from character 1 on");
    expect(words).toContain("no id");
    expect(words).toContain("arguments in one piece");
  });

  it("hands a result that was typed to the engine, marked as failed if it was so", () => {
    const acts: Acts = [];
    const open = { ...call(), result: null };
    const { getByLabelText, getByText } = show(open, {}, acts);
    fireEvent.input(getByLabelText("Result of store_core"), { target: { value: "out of paper" } });
    fireEvent.click(getByLabelText("The tool failed"));
    fireEvent.click(getByText("Set result"));
    expect(acts).toEqual([["answer", open.id, "out of paper", true]]);
  });
});
