import { cleanup, fireEvent, render } from "@testing-library/preact";
import { afterEach, describe, expect, it } from "vitest";
import { BenchProvider, new_bench } from "../bench";
import { attempt_of, attempt_view, fixture_engine, turn_view } from "../fixtures/engine";
import { masked_preview, StreamPanel } from "./stream";
import { gap_chart } from "./timings";

const texts = Array.from(
  { length: 5000 },
  (_, at) => `data: {"choices":[{"delta":{"content":"canary ${at}"}}]}\r\n\r\n`,
);

function show() {
  const view = attempt_view(attempt_of(), texts);
  const turn = turn_view({ attempts: [view] });
  const bench = new_bench(fixture_engine({ turns: [turn] }));
  return render(
    <BenchProvider value={bench}>
      <StreamPanel shown={{ turn, view, place: 0, of: 1 }} />
    </BenchProvider>,
  );
}

afterEach(cleanup);

describe("the frames of a stream", () => {
  it("keep only the rows in view in the page, however many there are", () => {
    const { container } = show();
    const rows = container.querySelectorAll("[role=option]");
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.length).toBeLessThan(100);
    expect(rows[0]?.getAttribute("aria-setsize")).toBe("5000");
  });

  it("show lengths until bodies are revealed, then the bytes with their line ends", () => {
    const { container, getByRole, getByText } = show();
    expect(container.innerHTML).not.toContain("canary");
    fireEvent.keyDown(getByRole("listbox"), { key: "ArrowDown" });
    expect(container.innerHTML).not.toContain("canary");
    fireEvent.click(getByText("Reveal bodies"));
    expect(container.querySelector(".wire")?.textContent).toBe(
      `${texts[0]!.replaceAll("\r", "␍").replaceAll("\n", "␊\n")}`,
    );
    fireEvent.click(getByText("Hex"));
    expect(container.querySelector(".wire")?.textContent).toContain("64 61 74 61 3a 20");
  });

  it("tell what a frame brings without what is in it", () => {
    const frame = attempt_view(attempt_of(), ["x"]).frame(0);
    expect(masked_preview(frame, 'data: {"choices":[{"delta":{"role":"assistant","content":"abc"}}]}\n\n')).toBe(
      "role(9) content(3)",
    );
    expect(masked_preview(frame, 'data: {"type":"response.output_text.delta","delta":"abc"}\n\n')).toBe(
      "response.output_text.delta delta(3)",
    );
    expect(masked_preview(frame, "data: [DONE]\n\n")).toBe("event");
  });

  it("are drawn by their gaps, the largest of each stretch, in at most a hundred bars", () => {
    const chart = gap_chart(attempt_view(attempt_of(), texts), texts.length)!;
    expect(chart.count).toBe(4999);
    expect(chart.bars.length).toBeLessThanOrEqual(100);
    expect(Math.max(...chart.bars)).toBeCloseTo(318.4);
    expect(chart.p50).toBeLessThanOrEqual(chart.p95);
    expect(gap_chart(attempt_view(attempt_of(), texts.slice(0, 2)), 2)).toBeNull();
  });
});
