// What every browser test has: a stage, a page that is watched for what must never happen, and a hand that uses it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test as base, expect, type BrowserContext, type Page } from "@playwright/test";
import { Bench } from "./bench";
import { Actor, Rehearsal, Stage } from "./stage";

const axe_source = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What a page did that no page of ours may do. */
export class Watch {
  readonly faults: string[] = [];
  /** Origins it may speak to. */
  readonly origins = new Set<string>();
  readonly requests: { readonly url: string; readonly method: string; readonly body: string }[] = [];

  async over(context: BrowserContext): Promise<void> {
    await context.exposeBinding("hadesgw_violation", (_, words: string) => this.faults.push(`policy violated: ${words}`));
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        const report = (window as unknown as { hadesgw_violation(words: string): void }).hadesgw_violation;
        report(`${event.effectiveDirective} by ${event.blockedURI} ${event.sample} at ${event.sourceFile}:${event.lineNumber}`);
      });
    });
    context.on("page", (page) => this.see(page));
    for (const page of context.pages()) this.see(page);
  }

  private see(page: Page): void {
    page.on("pageerror", (error) => this.faults.push(`uncaught: ${error.stack ?? error.message}`));
    page.on("dialog", (dialog) => { this.faults.push(`dialog: ${dialog.message()}`); void dialog.dismiss(); });
    page.on("console", (message) => {
      if (/Content Security Policy|TrustedHTML|TrustedScript/.test(message.text())) this.faults.push(`console: ${message.text()}`);
    });
    page.on("request", (request) => {
      const url = new URL(request.url());
      this.requests.push({ url: request.url(), method: request.method(), body: request.postData() ?? "" });
      if (url.protocol !== "blob:" && !this.origins.has(url.origin)) this.faults.push(`a request left for ${request.url()}`);
    });
    page.on("frameattached", (frame) => this.faults.push(`a frame appeared: ${frame.url()}`));
    page.on("popup", (popup) => this.faults.push(`a window opened: ${popup.url()}`));
  }
}

interface PerTest {
  watch: Watch;
  bench: Bench;
}

interface PerWorker {
  /** The gateway before the rehearsal model. */
  rehearsal: Stage<Rehearsal>;
  /** The gateway before an actor. */
  theatre: Stage<Actor>;
}

export const test = base.extend<PerTest, PerWorker>({
  rehearsal: [async ({}, use) => {
    const stage = await Stage.open((folder) => new Rehearsal(folder));
    await use(stage);
    await stage.close();
  }, { scope: "worker" }],
  theatre: [async ({}, use) => {
    const stage = await Stage.open((folder) => new Actor(folder));
    await use(stage);
    await stage.close();
  }, { scope: "worker" }],
  watch: [async ({ context }, use) => {
    const watch = new Watch();
    await watch.over(context);
    await use(watch);
    expect(watch.faults).toEqual([]);
  }, { auto: true }],
  bench: async ({ page, watch }, use) => use(new Bench(page, watch)),
});

/** Every finding of axe on the page as it is now, as lines; all rules of WCAG 2.0 to 2.2 A and AA, and best practice. */
export async function axe(page: Page): Promise<string[]> {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe_source);
  return page.evaluate(async () => {
    const { axe } = window as unknown as { axe: typeof import("axe-core") };
    const found = await axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      resultTypes: ["violations"],
    });
    return found.violations.flatMap((violation) => violation.nodes.map((node) =>
      `${violation.id} (${violation.impact}): ${node.target.join(" ")}: ${node.any.concat(node.all, node.none).map((check) => check.message).join("; ")}`));
  });
}

export { expect };
