// One walk as a user: paste the key, prompt, inspect a tool call, answer it, see the reply, and find both ids in the
// gateway's log. Then the same by keyboard alone.
import { t } from "./bench";
import { expect, test } from "./fixtures";
import { until } from "./stage";

test("a user's walk", async ({ bench, page, rehearsal }) => {
  const { gateway } = rehearsal;
  await bench.open(gateway, "");
  const key = page.locator("#first-key");
  await expect(key).toHaveAttribute("type", "password");
  await key.fill(gateway.key);
  await key.press("Enter");
  await bench.connected();

  await bench.send("rehearse: tool-fragments");
  const card = bench.answer.locator(".card.tool");
  await expect(card).toContainText("get_weather");
  await expect(card).not.toContainText("Oslo");
  await bench.button(t.tool.reveal, card).click();
  await expect(card).toContainText("Oslo");

  await card.getByLabel(t.tool.answer_label("get_weather")).fill('{"sky": "grey as a gateway"}');
  await bench.button(t.tool.go_on, card).click();
  await bench.settled();
  await expect(bench.answer).toContainText("grey as a gateway");

  await bench.tab("request").click();
  const panel = page.getByRole("tabpanel");
  await expect(panel.locator(".echo .chip.good")).toHaveCount(2);
  const [request_id, session_id] = await panel.locator(".echo dd:first-of-type code").allTextContents();
  expect(request_id).toMatch(/^[0-9a-f-]{36}$/);
  const line = await until("the exchange is in the gateway's log", () => gateway.lines().find((line) => line.request_id === request_id));
  expect(line.conveyance_session_id).toBe(session_id);
  expect(line.client).toBe("tester");
  const together = gateway.lines().filter((line) => line.conveyance_session_id === session_id && line.route === "/v1/chat/completions");
  expect(new Set(together.map((line) => line.request_id)).size).toBe(2); // the prompt, and the tool's result
});

test("by keyboard alone", async ({ bench, page, rehearsal }) => {
  await bench.open(rehearsal.gateway);
  await page.keyboard.press("/");
  await expect(bench.prompt).toBeFocused();
  await page.keyboard.type("rehearse: tool-fragments");
  await page.keyboard.press("Enter");
  const card = bench.answer.locator(".card.tool");
  await expect(card).toBeVisible();
  await expect(bench.answer.locator(".answer-form")).toBeVisible();
  const item = card.locator("xpath=ancestor::*[@data-stop][1]");
  const focused = () => item.evaluate((element) => element === document.activeElement);
  for (let step = 0; step < 12 && !(await page.evaluate(() => document.activeElement?.matches("[data-stop]"))); step += 1) await page.keyboard.press("Shift+Tab");
  for (let step = 0; step < 6 && !(await focused()); step += 1) await page.keyboard.press("[");
  await page.keyboard.press("r");
  await expect(card).toContainText("Oslo");
  await page.keyboard.press("i");
  await expect(page.getByRole("tabpanel")).toBeVisible();
  const form = card.locator("textarea");
  for (let step = 0; step < 30 && !(await form.evaluate((field) => field === document.activeElement)); step += 1) await page.keyboard.press("Tab");
  await expect(form).toBeFocused();
  await page.keyboard.type('{"sky": "blue"}');
  await page.keyboard.press("Control+Enter");
  await bench.settled();
  await expect(bench.answer).toContainText("blue");
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toHaveCount(0);
});

test("edit, ask again, and the versions in between", async ({ bench, page, rehearsal }) => {
  await bench.open(rehearsal.gateway);
  await bench.ask("Say hello to Ada");
  await bench.button(t.turn.retry, bench.last).click();
  await bench.settled();
  await expect(bench.turns).toHaveCount(1);
  await expect(bench.last.getByRole("group", { name: t.turn.sibling(2, 2) })).toBeVisible();
  await bench.button(t.turn.edit, bench.last).click();
  const edited = bench.last.locator("textarea").first();
  await edited.fill("Say hello to Grace");
  await edited.press("Enter");
  await expect(bench.log).toContainText("Grace");
  await bench.settled();
  await bench.button(t.turn.earlier, bench.last).click();
  await expect(bench.log).toContainText("Ada");
  await page.reload();
  await expect(bench.log).toContainText("Ada");
});

test("a screen reader is told little, and at boundaries only", async ({ bench, page, rehearsal }) => {
  await bench.open(rehearsal.gateway);
  await page.evaluate(() => {
    const said: string[] = ((window as unknown as { said: string[] }).said = []);
    for (const status of document.querySelectorAll("[role=status],[aria-live=polite],[aria-live=assertive],output")) {
      new MutationObserver(() => { if (status.textContent) said.push(status.textContent); }).observe(status, { childList: true, characterData: true, subtree: true });
    }
  });
  await bench.ask("rehearse: long tokens=300");
  const said = await page.evaluate(() => (window as unknown as { said: string[] }).said);
  expect(said).toContain(t.announce.done);
  expect(said.length).toBeLessThanOrEqual(3);
  await expect(bench.log).toHaveAttribute("aria-live", "off");
});

test("the protocol of Responses", async ({ bench, page, rehearsal }) => {
  await bench.open(rehearsal.gateway);
  await page.getByLabel(t.composer.protocol).selectOption("responses");
  await bench.ask("rehearse: reason");
  await expect(bench.answer.locator(".item.reasoning")).toHaveCount(1);
  await expect(bench.answer).toContainText("rehearsal model");
  await bench.send("rehearse: tool");
  await bench.answer.locator(".answer-form textarea").fill("cold");
  await bench.button(t.tool.go_on, bench.answer).click();
  await bench.settled();
  await expect(bench.answer).toContainText("cold");
  expect(bench.watch.requests.filter((request) => request.url.endsWith("/v1/responses"))).toHaveLength(3);
});

test("without streaming the same is seen", async ({ bench, page, rehearsal }) => {
  await bench.open(rehearsal.gateway);
  await page.getByLabel(t.composer.stream, { exact: true }).uncheck();
  await bench.ask("rehearse: reason");
  await expect(bench.answer.locator(".item.reasoning")).toHaveCount(1);
  await expect(bench.answer).toContainText("rehearsal model");
  const sent = bench.watch.requests.findLast((request) => request.method === "POST")!;
  expect(JSON.parse(sent.body).stream ?? false).toBe(false);
});
