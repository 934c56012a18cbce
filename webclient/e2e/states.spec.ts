// Every state the page can be in: reached as a user reaches it, through the real gateway; held to what it must say; and
// looked at in two themes and two widths, by axe and by whoever opens the pictures in build/webclient/states/.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "@playwright/test";
import { t } from "./bench";
import { axe, expect, test } from "./fixtures";
import { build } from "./stage";

const folder = join(build, "states");
mkdirSync(folder, { recursive: true });
const sizes = [["wide", { width: 1280, height: 800 }], ["narrow", { width: 320, height: 640 }]] as const;

/** Looks at the page as it stands, in both themes and both widths; `open` shows again what a change of width closes. */
async function look(page: Page, name: string, open = async (): Promise<void> => undefined): Promise<void> {
  const faults: string[] = [];
  for (const [width, size] of sizes) {
    await page.setViewportSize(size);
    await open();
    for (const theme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
      await page.evaluate(() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted))));
      await page.screenshot({ path: join(folder, `${name}-${width}-${theme}.png`) });
      const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (over > 0) faults.push(`${name}, ${width}: ${over} px wider than the window`);
      faults.push(...(await axe(page)).map((fault) => `${name}, ${width}, ${theme}: ${fault}`));
    }
  }
  await page.setViewportSize(sizes[0][1]);
  expect([...new Set(faults)]).toEqual([]);
}

test.describe("before anything is said", () => {
  test("empty", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await expect(page.getByRole("heading", { name: t.transcript.empty_title })).toBeVisible();
    await bench.connected();
    expect(new URL(page.url()).hash).not.toContain("key");
    await look(page, "empty");
  });

  test("no key", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway, "");
    await expect(page.getByRole("heading", { name: t.transcript.no_key_title })).toBeVisible();
    await look(page, "no-key");
  });

  test("bad key", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway, "hgw_wrong");
    await expect(page.getByRole("heading", { name: t.failure.badKey })).toBeVisible();
    await look(page, "bad-key");
  });
});

test.describe("while the model speaks", () => {
  test("connecting", async ({ bench, page, theatre }) => {
    theatre.model.lines.push({ pieces: [], hang: "head" });
    await bench.open(theatre.gateway);
    await bench.send("Are you there?");
    await expect(bench.answer.locator(".progress")).toContainText(t.turn.connecting);
    await look(page, "connecting");
    await bench.stop();
  });

  const live: readonly (readonly [string, string, string])[] = [
    ["queued", "rehearse: slow-start wait_seconds=60", t.turn.queued],
    ["streaming", "rehearse: long tokens_per_second=4", t.turn.writing.text],
    ["reasoning", "rehearse: reason tokens_per_second=1", t.turn.writing.reasoning],
    ["arguments", "rehearse: memory tokens_per_second=1", t.turn.writing.arguments],
  ];
  for (const [name, prompt, words] of live) {
    test(name, async ({ bench, page, rehearsal }) => {
      await bench.open(rehearsal.gateway);
      await bench.send(prompt);
      await expect(bench.answer.locator(".progress")).toContainText(words, { timeout: 30_000 });
      await look(page, name);
      await bench.stop();
      await bench.settled();
    });
  }
});

test.describe("when the model has spoken", () => {
  test("done", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.ask("rehearse: reason");
    await bench.ask("Write hello.py that prints moin");
    await expect(bench.turns).toHaveCount(2);
    await look(page, "done");
  });

  test("long text with markdown", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.ask("rehearse: help");
    await bench.ask("rehearse: characters");
    await look(page, "markdown");
  });

  test("nothing at all", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.ask("rehearse: silence");
    await expect(bench.failure).toHaveCount(0);
    await look(page, "silence");
  });

  test("stopped", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.send("rehearse: long tokens_per_second=30");
    await expect(bench.answer).toContainText("The rehearsal model recites");
    await bench.stop();
    await expect(bench.answer).toContainText(t.turn.stopped);
    await expect(bench.answer).toContainText("The rehearsal model recites");
    await look(page, "stopped");
  });

  test("a tool is waited for, answered, and the model goes on", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.send("rehearse: tool-fragments");
    const result = bench.answer.getByLabel(t.tool.answer_label("get_weather"));
    await expect(result).toBeVisible();
    await look(page, "tool-waiting");
    await result.fill('{"temperature": 3, "sky": "grey"}');
    await bench.button(t.tool.go_on).click();
    await bench.settled();
    await expect(bench.answer).toContainText("grey");
    await look(page, "tool-answered");
  });

  test("several calls, one of them broken", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.send("rehearse: tools-parallel");
    await expect(bench.answer.locator(".card.tool")).toHaveCount(3);
    await look(page, "tools-parallel");
    await bench.new_session();
    await bench.send("rehearse: tool-broken");
    await expect(bench.answer.locator(".card.tool .chip.bad")).toBeVisible();
    await look(page, "tool-broken");
  });

  test("memory at work", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.send("rehearse: memory");
    await expect(bench.answer.locator(".card.tool.of-memory")).toHaveCount(4);
    await look(page, "memory");
    await bench.new_session();
    await bench.send("rehearse: memory-warning");
    await expect(bench.answer).toContainText(t.memory.event.warning);
    await look(page, "memory-warning");
  });
});

test.describe("when it went wrong", () => {
  const failures: readonly (readonly [string, string, string])[] = [
    ["server-500", "rehearse: 500", t.failure.server],
    ["server-503", "rehearse: 503", t.failure.server],
    ["rate-limited", "rehearse: 429 retry_after=30", t.failure.rateLimited],
    ["over-budget", "rehearse: budget", t.failure.overBudget],
    ["cut", "rehearse: cut tokens_per_second=100", "Cut after"],
    ["engine-death", "rehearse: engine-death", t.failure.inStream],
  ];
  for (const [name, prompt, words] of failures) {
    test(name, async ({ bench, page, rehearsal }) => {
      await bench.open(rehearsal.gateway);
      await bench.send(prompt);
      await expect(bench.failure).toContainText(words);
      await expect(bench.failure.locator(".id-line code")).toHaveText(/^[0-9a-f-]{36}$/);
      await expect(bench.button(t.failure.retry, bench.failure).or(bench.button(t.failure.retry_now, bench.failure))).toBeVisible();
      if (name === "rate-limited") await expect(bench.failure.getByRole("timer")).toBeVisible();
      await look(page, name);
    });
  }

  test("the gateway's own limit", async ({ bench, rehearsal }) => {
    await bench.open(rehearsal.gateway, rehearsal.gateway.slow_key);
    for (const _ of [1, 2, 3]) {
      if (await bench.failure.count()) break;
      await bench.ask("Say hello");
    }
    await expect(bench.failure).toContainText(t.failure.rateLimited);
    await expect(bench.failure.getByRole("timer")).toBeVisible();
  });

  test("over the gateway's own budget", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.prompt.fill(`Count this: ${"token ".repeat(4000)}`);
    await page.getByLabel(t.composer.max_label, { exact: true }).fill("16384");
    await bench.prompt.press("Enter");
    await expect(bench.turns).toHaveCount(1);
    await bench.settled();
  });

  test("too large to send", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.prompt.fill("x".repeat(70_000));
    await expect(page.locator("#size-words")).toHaveClass(/problem/);
    await expect(bench.button(t.composer.send)).toBeDisabled();
    await look(page, "too-large");
  });

  test("a key that was taken back", async ({ bench, page, theatre }) => {
    theatre.model.lines.push({ status: 401, headers: { "content-type": "application/json" }, pieces: ['{"error":{"message":"gone","type":"invalid_request_error","code":"invalid_api_key"}}'] });
    await bench.open(theatre.gateway);
    await bench.send("Hello?");
    await expect(bench.failure).toContainText(t.failure.badKey);
    await look(page, "key-refused");
  });

  test("offline, and back", async ({ bench, page, context, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.ask("Say hello");
    await context.setOffline(true);
    await expect(bench.status).toContainText(t.connection.offline);
    await look(page, "offline");
    await context.setOffline(false);
    await bench.connected();
  });

  test("sent while offline", async ({ bench, page, context, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await context.setOffline(true);
    await bench.send("Can you hear me?");
    await expect(bench.failure).toContainText(t.failure.offline);
    await look(page, "sent-offline");
    await context.setOffline(false);
    await bench.button(t.failure.retry, bench.failure).click();
    await bench.settled();
    await expect(bench.answer).toContainText("rehearsal model");
  });

  test("reconnecting", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.ask("Say hello");
    await rehearsal.gateway.kill();
    try {
      await bench.send("Still there?");
      await expect(bench.failure).toContainText(t.failure.unreachable);
      await expect(bench.status).toContainText(t.connection.lost);
      await look(page, "reconnecting");
    } finally {
      await rehearsal.gateway.start();
    }
    await bench.connected();
  });

  test("the model server is away", async ({ bench, page, theatre }) => {
    await bench.open(theatre.gateway);
    await theatre.model.stop();
    try {
      await bench.send("Hello?");
      await expect(bench.failure).toContainText(t.failure.server);
      await look(page, "model-away");
    } finally {
      await theatre.model.start();
    }
  });

  test("an answer that is no stream", async ({ bench, page, theatre }) => {
    theatre.model.lines.push({ headers: { "content-type": "text/html" }, pieces: ["<h1>Welcome to nginx</h1>"] });
    await bench.open(theatre.gateway);
    await bench.send("Hello?");
    await expect(bench.failure).toContainText(t.failure.unreadable);
    await look(page, "unreadable");
  });

  test("a newer client", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await page.route("**/ui/build.json", (route) => route.fulfill({ json: { version: "9.9.9", hash: "another" } }));
    await rehearsal.gateway.kill();
    await expect(bench.status).toContainText(t.connection.lost, { timeout: 60_000 });
    await rehearsal.gateway.start();
    await expect(page.getByText(t.connection.newer)).toBeVisible();
    await look(page, "newer-client");
  });
});

test.describe("beside the transcript", () => {
  for (const tab of ["request", "stream", "tools", "memory", "timings", "raw"] as const) {
    test(`inspector: ${tab}`, async ({ bench, page, rehearsal }) => {
      await bench.open(rehearsal.gateway);
      await bench.send("rehearse: memory-warning");
      await expect(bench.answer.locator(".card.tool")).toHaveCount(2);
      await bench.tab(tab).click();
      await expect(page.getByRole("tabpanel")).toBeVisible();
      await look(page, `inspector-${tab}`, async () => {
        const show = bench.button(t.inspector.show);
        if (await show.count()) await show.click();
      });
    });
  }

  test("an id that came back changed", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await page.route("**/v1/chat/completions", async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, headers: { ...response.headers(), "x-request-id": "another" } });
    });
    await bench.ask("Say hello");
    await expect(page.getByText(t.inspector.mismatch)).toBeVisible();
    await look(page, "id-changed");
  });

  const dialogs: readonly (readonly [string, string])[] = [["palette", "Control+k"], ["shortcuts", "?"]];
  for (const [name, key] of dialogs) {
    test(name, async ({ bench, page, rehearsal }) => {
      await bench.open(rehearsal.gateway);
      await bench.ask("Say hello");
      await bench.last.locator("[data-stop]").last().focus();
      await page.keyboard.press(key);
      await expect(page.getByRole("dialog")).toBeVisible();
      await look(page, name);
      await page.keyboard.press("Escape");
      await expect(page.getByRole("dialog")).toHaveCount(0);
    });
  }

  test("settings", async ({ bench, page, rehearsal }) => {
    await bench.open(rehearsal.gateway);
    await bench.button(t.settings.title).click();
    await expect(page.getByRole("dialog")).toBeVisible();
    await look(page, "settings");
  });
});
