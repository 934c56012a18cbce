// Two tabs of one browser on one session: nothing is lost to the other one.
import { Bench, t } from "./bench";
import { expect, test } from "./fixtures";
import { says } from "./stage";

test("a session is written in by one tab, seen in the other, and handed over when it is asked for", async ({ bench, context, theatre, watch }) => {
  await bench.open(theatre.gateway);
  theatre.model.lines.push(says("The first answer."), says("The second answer."), says("From the other tab."));
  await bench.ask("One");

  const other = new Bench(await context.newPage(), watch);
  await other.page.goto(theatre.gateway.url);
  await other.page.locator(".session-open").first().click();
  await expect(other.log).toContainText("The first answer.");
  await expect(other.page.getByText(t.elsewhere.words)).toBeVisible();
  await expect(other.prompt).toHaveCount(0);

  await bench.page.bringToFront();
  await bench.ask("Two");
  await expect(other.log).toContainText("The second answer.");

  await other.page.bringToFront();
  await bench.button(t.elsewhere.take, other.page).click();
  await other.ask("Three");
  await expect(other.log).toContainText("From the other tab.");
  await expect(bench.page.getByText(t.elsewhere.words)).toBeVisible();
  await expect(bench.log).toContainText("From the other tab.");

  // The tab that is closed leaves the session to the one that is still there.
  await other.page.close();
  await expect(bench.prompt).toBeVisible();
  await bench.page.reload();
  await expect(bench.turns).toHaveCount(3);
  await expect(bench.prompt).toBeVisible();
});
