// Coding sessions in the page: a real gateway with its engine `rehearsal`, a workspace under git, real files.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Locator, Page } from "@playwright/test";
import { words } from "../src/ui/coding/strings";
import { Bench, t } from "./bench";
import { axe, expect, test as base } from "./fixtures";
import { Repository } from "./repository";
import { Rehearsal, Stage } from "./stage";

interface Site {
  readonly stage: Stage<Rehearsal>;
  readonly workspace: string;
}

const test = base.extend<{ site: Site; hand: Hand }>({
  site: async ({}, use) => {
    const repository = new Repository();
    const stage = await Stage.open((folder) => new Rehearsal(folder, 150), repository.sessions("rehearsal"), { whole_tree: true });
    await use({ stage, workspace: repository.path });
    await stage.close();
    repository.remove();
  },
  hand: async ({ page, bench }, use) => use(new Hand(page, bench)),
});

/** What a user does in a coding session. */
class Hand {
  constructor(readonly page: Page, readonly bench: Bench) {}

  get prompt(): Locator {
    return this.page.getByRole("textbox", { name: words.prompt });
  }

  get card(): Locator {
    return this.bench.last.locator(".approval-card.open");
  }

  get plan(): Locator {
    return this.page.locator(".plan-strip");
  }

  async begin(): Promise<void> {
    await this.bench.button(t.sessions.coding).click();
    const dialog = this.page.getByRole("dialog", { name: words.title });
    await dialog.getByLabel(words.engine).selectOption("rehearsal");
    await dialog.getByRole("button", { name: words.start, exact: true }).click();
    await expect(dialog).toHaveCount(0);
    await this.ready();
  }

  async ready(): Promise<void> {
    await expect(this.prompt).toBeVisible();
    await expect(this.page.locator(".link-banner")).toHaveCount(0);
    await expect(this.page.locator(".composer.coding .options")).toContainText(words.state.ready);
  }

  async say(text: string): Promise<void> {
    await this.prompt.fill(text);
    await this.prompt.press("Enter");
  }

  async texts(): Promise<string> {
    const all = await this.bench.turns.allInnerTexts();
    return all.join("\n").replace(/\d\d:\d\d/g, "");
  }
}

const ask_for = (file: string) => `Please ask me, then create ${file} that prints 'moin'`;

test("a file is made after a word of the user, and another one is not", async ({ site, bench, hand, page }) => {
  await bench.open(site.stage.gateway);
  await bench.connected();
  await hand.begin();
  await hand.say(ask_for("hello.py"));
  await expect(hand.card).toContainText("hello.py");
  await expect(hand.card).toContainText('print("moin")');
  await expect(hand.plan).toContainText("Edit");
  expect(existsSync(join(site.workspace, "hello.py"))).toBe(false);

  // It is said, it takes nobody's focus, and its buttons are large and always in the same places.
  await expect(page.getByRole("status").filter({ hasText: t.announce.approval })).toHaveCount(1);
  await expect(hand.prompt).toBeFocused();
  const names = await hand.card.locator(".approval-buttons button").allTextContents();
  expect(names).toEqual(["decline", "cancel", "acceptForSession", "accept"].map((word) => t.approval.decision[word]));
  for (const box of await Promise.all((await hand.card.locator(".approval-buttons button").all()).map((button) => button.boundingBox()))) {
    expect(box!.height).toBeGreaterThanOrEqual(44);
    expect(box!.width).toBeGreaterThanOrEqual(44);
  }
  for (const theme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: theme });
    expect(await axe(page)).toEqual([]);
  }
  await bench.button(t.approval.decision.accept!, hand.card).click();
  await hand.ready();
  expect(readFileSync(join(site.workspace, "hello.py"), "utf8")).toContain('print("moin")');
  await expect(bench.answer.locator(".item.fileChange")).toContainText("hello.py");
  await expect(page.getByRole("tabpanel")).toContainText("hello.py");
  await page.getByRole("tab", { name: words.panel.tabs.changes }).click();
  await expect(page.getByRole("tabpanel")).toContainText("untracked");
  await expect(page.getByRole("tabpanel")).toContainText('print("moin")');
  await page.getByRole("tab", { name: words.panel.tabs.history }).click();
  await expect(page.getByRole("tabpanel")).toContainText("Begin");

  await hand.say(ask_for("other.py"));
  await expect(hand.card).toContainText("other.py");
  // By keyboard, with the focus on the card and nowhere else.
  await hand.prompt.press("n");
  await expect(hand.card).toHaveCount(1);
  await hand.prompt.fill("");
  await hand.card.locator("xpath=ancestor::*[@data-stop][1]").focus();
  await page.keyboard.press("n");
  await expect(hand.card).toHaveCount(0);
  await hand.ready();
  expect(existsSync(join(site.workspace, "other.py"))).toBe(false);
  await expect(bench.answer).toContainText(t.approval.decided(t.approval.decision.decline!));
});

test("where there are no coding sessions, or none can be started, that is said in words", async ({ bench, page, rehearsal }) => {
  await bench.open(rehearsal.gateway);
  await page.getByLabel(t.composer.protocol).selectOption("codex");
  const dialog = page.getByRole("dialog", { name: words.title });
  await expect(dialog.getByRole("alert")).toContainText(words.none_here);
  await page.keyboard.press("Escape");
  await expect(page.getByLabel(t.composer.protocol)).toHaveValue("chat");
  await page.route("**/api/codex/status", (route) => route.fulfill({ json: { obstacle: "No workspace is configured; name one." } }));
  await bench.button(t.sessions.coding).click();
  await expect(dialog.getByRole("alert")).toContainText("No workspace is configured; name one.");
  await expect(dialog.getByRole("button", { name: words.start, exact: true })).toHaveCount(0);
  expect(await axe(page)).toEqual([]);
});

test("a turn is steered, and interrupted; the next one works", async ({ site, bench, hand, page }) => {
  await bench.open(site.stage.gateway);
  await hand.begin();
  await hand.say("rehearse: long tokens=2000 tokens_per_second=50");
  await expect(bench.answer.locator(".item.agentMessage")).toContainText(/\w/);
  await hand.say("and be brief");
  await expect(bench.turns).toHaveCount(1);
  await expect(bench.answer.locator(".item.userMessage")).toHaveText("and be brief");
  await bench.button(words.stop).click();
  await expect(bench.answer).toContainText(t.turn.ended.interrupted);
  await hand.ready();
  await hand.say("/ls");
  await expect(bench.turns).toHaveCount(2);
  await expect(bench.answer).toContainText("calc.py");
  await expect(bench.answer.locator(".ending")).toHaveCount(0);
  await page.reload();
  await hand.ready();
  await expect(bench.turns).toHaveCount(2);
  await expect(bench.turns.first()).toContainText(t.turn.ended.interrupted);
  await expect(bench.answer).toContainText("calc.py");
});

test("two pages see the same, and an approval that one answers leaves the other", async ({ site, bench, hand, context }) => {
  await bench.open(site.stage.gateway);
  await hand.begin();
  const second = await context.newPage();
  const other = new Hand(second, new Bench(second, bench.watch));
  await other.bench.open(site.stage.gateway);
  await other.bench.button(t.sessions.coding).click();
  await second.getByRole("dialog").locator(".session-open", { hasText: "project" }).click();
  await other.ready();
  await hand.say(ask_for("both.py"));
  await expect(other.card).toContainText("both.py");
  await expect(hand.card).toContainText("both.py");
  await bench.button(t.approval.decision.accept!, other.card).click();
  await expect(hand.card).toHaveCount(0);
  await hand.ready();
  await other.ready();
  expect(await hand.texts()).toBe(await other.texts());
  expect(existsSync(join(site.workspace, "both.py"))).toBe(true);
  await second.close();
});

test("a lost connection is said to be lost, and what was missed is told afterwards", async ({ site, bench, hand, context, page }) => {
  // A page of ours cannot cut its own socket: this one's sockets are within reach.
  await page.addInitScript(() => {
    const sockets: WebSocket[] = ((window as unknown as { sockets: WebSocket[] }).sockets = []);
    window.WebSocket = class extends WebSocket {
      constructor(address: string | URL, protocols?: string | string[]) {
        super(address, protocols);
        sockets.push(this);
      }
    };
  });
  await bench.open(site.stage.gateway);
  await hand.begin();
  await hand.say(ask_for("away.py"));
  await expect(hand.card).toContainText("away.py");
  await context.setOffline(true);
  await page.evaluate(() => (window as unknown as { sockets: WebSocket[] }).sockets.at(-1)!.close());
  await expect(page.locator(".link-banner")).toContainText(words.link.waiting);
  await expect(hand.card.getByRole("button", { name: t.approval.decision.accept!, exact: true })).toBeDisabled();
  const { gateway } = site.stage;
  const headers = { Authorization: `Bearer ${gateway.key}`, "Content-Type": "application/json" };
  const all = (await (await fetch(`${gateway.url}/api/codex/sessions`, { headers })).json()) as { sessions: { session_id: string; approvals: { approval_id: string }[] }[] };
  const [session] = all.sessions;
  const address = `${gateway.url}/api/codex/sessions/${session!.session_id}/approvals/${session!.approvals[0]!.approval_id}`;
  expect((await fetch(address, { method: "POST", headers, body: '{"decision": "accept"}' })).ok).toBe(true);
  await context.setOffline(false);
  await hand.ready();
  await expect(hand.card).toHaveCount(0);
  await expect(bench.turns).toHaveCount(1);
  await expect(bench.answer).toContainText(t.approval.decided(t.approval.decision.accept!));
  const seen = await hand.texts();
  await page.reload();
  await hand.ready();
  expect(await hand.texts()).toBe(seen);
});

test("a gateway that is killed and comes again knows no session any more, and that is what is said", async ({ site, bench, hand, page }) => {
  await bench.open(site.stage.gateway);
  await hand.begin();
  await hand.say("rehearse: long tokens=2000 tokens_per_second=50");
  await expect(bench.answer.locator(".item.agentMessage")).toContainText(/\w/);
  await site.stage.gateway.kill();
  await expect(page.locator(".link-banner")).toContainText(words.link.waiting);
  await site.stage.gateway.start();
  await expect(page.locator(".link-banner")).toContainText(words.link.gone);
  await expect(bench.answer).toContainText(t.turn.ended.lost);
  await expect(bench.answer.locator(".item.agentMessage")).toContainText(/\w/);
  await bench.button(words.leave).click();
  await hand.begin();
  await expect(bench.turns).toHaveCount(0);
});
