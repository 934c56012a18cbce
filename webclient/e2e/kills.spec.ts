// The gateway dies while it streams, as often as asked: nothing that was painted is lost, the page says what is true, and
// it is alive again as soon as the gateway is.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { t } from "./bench";
import { expect, test } from "./fixtures";
import { build } from "./stage";

const kills = Number(process.env.KILLS ?? 4);
const most_ms = 1000;

test(`${kills} kills in mid-stream`, async ({ bench, rehearsal }) => {
  test.setTimeout(60_000 + kills * 30_000);
  const { gateway } = rehearsal;
  await bench.open(gateway);
  const text = bench.last.locator(".item.agentMessage").last();
  const revived: number[] = [];
  for (let kill = 0; kill < kills; kill += 1) {
    await bench.new_session();
    await bench.send("rehearse: long tokens=4000 tokens_per_second=150");
    const enough = 150 + ((kill * 397) % 1500);
    await expect.poll(async () => ((await text.textContent().catch(() => "")) ?? "").length, { timeout: 30_000, intervals: [20] }).toBeGreaterThan(enough);
    const painted = (await text.innerText()).trimEnd();
    await gateway.kill();
    await expect(bench.failure).toContainText("Cut after");
    await expect(bench.failure).not.toContainText("stopped");
    expect((await text.innerText()).slice(0, painted.length)).toBe(painted);
    await expect(bench.status).toContainText(t.connection.lost);

    await gateway.start();
    const answering = performance.now();
    await bench.connected();
    revived.push(performance.now() - answering);
    expect((await text.innerText()).slice(0, painted.length)).toBe(painted);

    const go_on = bench.button(kill % 2 ? t.failure.retry : t.turn.go_on, bench.failure);
    await go_on.click();
    await expect(bench.answer.locator(".progress")).toContainText(t.turn.writing.text);
    if (kill % 2 === 0) expect((await bench.answer.innerText()).includes(painted)).toBe(true);
    await bench.stop();
    await bench.settled();
  }
  writeFileSync(join(build, "kills.json"), JSON.stringify({ kills, lost: 0, revived_ms: revived.map(Math.round) }));
  const median = [...revived].sort((a, b) => a - b)[Math.floor(kills / 2)];
  expect(median).toBeLessThan(most_ms);
  expect(Math.max(...revived)).toBeLessThan(2 * most_ms); // the machine may have other work
});

test("a page that is reloaded in mid-stream keeps what was there", async ({ bench, page, rehearsal }) => {
  await bench.open(rehearsal.gateway);
  await bench.send("rehearse: long tokens=4000 tokens_per_second=150");
  const text = bench.last.locator(".item.agentMessage").last();
  await expect.poll(async () => ((await text.textContent().catch(() => "")) ?? "").length).toBeGreaterThan(400);
  const painted = (await text.innerText()).slice(0, 300);
  await page.reload();
  await expect(bench.turns).toHaveCount(1);
  await expect(bench.failure).toContainText("Cut after");
  await expect(bench.failure).toContainText(t.failure.reloaded);
  expect((await text.innerText()).slice(0, 300)).toBe(painted);
  await expect(bench.button(t.failure.retry, bench.failure)).toBeVisible();
});

test("sessions come back after a reload, each with its own", async ({ bench, page, rehearsal }) => {
  await bench.open(rehearsal.gateway);
  await bench.ask("Say hello to Ada");
  await bench.new_session();
  await bench.ask("Say hello to Grace");
  await page.reload();
  await expect(bench.log).toContainText("Grace");
  await page.getByRole("button", { name: /Say hello to Ada/ }).first().click();
  await expect(bench.log).toContainText("Ada");
  await expect(bench.log).not.toContainText("Grace");
});
