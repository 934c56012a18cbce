// A coding session of the real Codex in the page: real commands, real patches, real requests for approval, in a real
// repository. `tests/real/codex/test_page.py` starts it, and names the program; without it there is nothing to test.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Locator, Page } from "@playwright/test";
import { words } from "../src/ui/coding/strings";
import { type Bench, t } from "./bench";
import { expect, test as base } from "./fixtures";
import { Repository } from "./repository";
import { Rehearsal, Stage } from "./stage";

const program = process.env.HADESGW_CODEX ?? "";
const turn_ms = 60_000;

interface Site {
  readonly stage: Stage<Rehearsal>;
  readonly workspace: string;
}

const test = base.extend<{ site: Site }>({
  site: async ({}, use) => {
    const repository = new Repository();
    const state = mkdtempSync(join(process.env.HADESGW_STATE ?? homedir(), "codex-state-")); // not among temporary files
    const settings = repository.sessions("codex")
      + `approval = "untrusted"\n[sessions.codex]\nbinary = "${program}"\nstate = "${state}"`;
    const stage = await Stage.open((place) => new Rehearsal(place, 150), settings, { whole_tree: true });
    await use({ stage, workspace: repository.path });
    await stage.close();
    repository.remove();
    rmSync(state, { recursive: true, force: true });
  },
});

test.skip(!program, "the real Codex is not named");
test.setTimeout(5 * turn_ms);

const card = (bench: Bench): Locator => bench.last.locator(".approval-card.open");
const state = (page: Page): Locator => page.locator(".composer.coding .options");

async function ready(page: Page): Promise<void> {
  await expect(page.locator(".link-banner")).toHaveCount(0);
  await expect(state(page)).toContainText(words.state.ready, { timeout: turn_ms });
}

async function say(page: Page, text: string): Promise<void> {
  const prompt = page.getByRole("textbox", { name: words.prompt });
  await prompt.fill(text);
  await prompt.press("Enter");
}

/** Answers what Codex asks, one request after the other, until the turn is over; tells how many there were. */
async function answer(page: Page, bench: Bench, decision: "accept" | "decline"): Promise<number> {
  for (let asked = 0; ; asked += 1) {
    await expect(card(bench).or(state(page).filter({ hasText: words.state.ready }))).not.toHaveCount(0, { timeout: turn_ms });
    if ((await card(bench).count()) === 0) return asked;
    const settled = bench.last.locator(".approval-card:not(.open)");
    const before = await settled.count();
    await bench.button(t.approval.decision[decision]!, card(bench).first()).click();
    await expect(settled).toHaveCount(before + 1);
  }
}

async function texts(bench: Bench): Promise<string> {
  return (await bench.turns.allInnerTexts()).join("\n").replace(/\d\d:\d\d/g, "");
}

test("the real Codex edits by leave, is refused, is interrupted, and is seen again by a page that is loaded anew", async ({ site, bench, page }) => {
  await bench.open(site.stage.gateway);
  await bench.connected();
  await bench.button(t.sessions.coding).click();
  const dialog = page.getByRole("dialog", { name: words.title });
  await dialog.getByLabel(words.engine).selectOption("codex");
  await dialog.getByRole("button", { name: words.start, exact: true }).click();
  await expect(dialog).toHaveCount(0, { timeout: turn_ms });
  await ready(page);

  // What it wants is asked for, and done after a word of the user.
  const made = join(site.workspace, "hello.py");
  await say(page, "Create hello.py that prints 'moin'.");
  await expect(card(bench).first()).toBeVisible({ timeout: turn_ms });
  expect(existsSync(made)).toBe(false);
  expect(await answer(page, bench, "accept")).toBeGreaterThan(0);
  await ready(page);
  expect(readFileSync(made, "utf8")).toContain('print("moin")');
  await expect(bench.answer).toContainText("hello.py");
  await expect(bench.answer.locator(".item.fileChange")).toContainText("hello.py");
  await expect(page.getByRole("tabpanel")).toContainText("hello.py"); // among the active files
  await page.getByRole("tab", { name: words.panel.tabs.changes }).click();
  await expect(page.getByRole("tabpanel")).toContainText("untracked");
  await expect(page.getByRole("tabpanel")).toContainText('print("moin")');

  // What it is refused is not done; the turn ends by itself.
  await say(page, "Create other.py that prints 'moin'.");
  await expect(card(bench).first()).toBeVisible({ timeout: turn_ms });
  expect(await answer(page, bench, "decline")).toBeGreaterThan(0);
  await ready(page);
  expect(existsSync(join(site.workspace, "other.py"))).toBe(false);
  await expect(bench.answer).toContainText(t.approval.decided(t.approval.decision.decline!));

  // A turn ends when the user says so, and another one works.
  await say(page, "rehearse: long tokens=3000 tokens_per_second=50");
  await expect(bench.turns).toHaveCount(3);
  await expect(bench.answer.locator(".item.agentMessage").first()).toContainText(/\w/, { timeout: turn_ms });
  await bench.button(words.stop).click();
  await expect(bench.answer).toContainText(t.turn.ended.interrupted, { timeout: turn_ms });
  await ready(page);
  await say(page, "Say hello");
  await expect(bench.turns).toHaveCount(4);
  await expect(bench.answer.locator(".item.agentMessage").first()).toContainText(/\w/, { timeout: turn_ms });
  await ready(page);

  // A page that is loaded anew is told it all again.
  const seen = await texts(bench);
  await page.reload();
  await ready(page);
  await expect(bench.turns).toHaveCount(4);
  await expect.poll(() => texts(bench)).toBe(seen);
  await expect(page.getByRole("tabpanel")).toContainText("hello.py");
});
