// A hand on the page: what a user does, found by the names that users are told.
import { expect, type Locator, type Page } from "@playwright/test";
import { t } from "../src/ui/strings";
import type { Watch } from "./fixtures";
import type { Gateway } from "./stage";

export { t };

export class Bench {
  constructor(readonly page: Page, readonly watch: Watch) {}

  /** Opens the page with a key, as the link of `make demo` does; without one if that is "". */
  async open(gateway: Gateway, key = gateway.key): Promise<void> {
    this.watch.origins.add(gateway.url);
    await this.page.goto(`${gateway.url}/${key ? `#key=${key}` : ""}`);
    await this.prompt.waitFor();
  }

  get prompt(): Locator {
    return this.page.locator("#prompt");
  }

  get log(): Locator {
    return this.page.getByRole("log", { name: t.transcript.title });
  }

  /** All turns that are shown; `last` is what most tests are about. */
  get turns(): Locator {
    return this.page.locator("article.turn");
  }

  get last(): Locator {
    return this.turns.last();
  }

  get answer(): Locator {
    return this.last.locator(".turn-answer");
  }

  get failure(): Locator {
    return this.answer.locator(".failure");
  }

  /** The line at the bottom: how the connection is. */
  get status(): Locator {
    return this.page.locator(".status");
  }

  async connected(): Promise<void> {
    await expect(this.status).toContainText(t.connection.connected);
  }

  tab(name: keyof typeof t.inspector.tabs): Locator {
    return this.page.getByRole("tab", { name: t.inspector.tabs[name], exact: true });
  }

  button(name: string, within: Locator | Page = this.page): Locator {
    return within.getByRole("button", { name, exact: true });
  }

  /** Sends a prompt, and waits until it stands in the transcript. */
  async send(prompt: string): Promise<void> {
    const before = await this.turns.count();
    await this.prompt.fill(prompt);
    await this.prompt.press("Enter");
    await expect(this.turns).toHaveCount(before + 1);
  }

  /** Sends a prompt and waits until the model has no more to say. */
  async ask(prompt: string): Promise<void> {
    await this.send(prompt);
    await this.settled();
  }

  async settled(): Promise<void> {
    await expect(this.page.getByRole("button", { name: t.composer.stop, exact: true })).toHaveCount(0);
    await expect(this.answer.locator(".progress")).toHaveCount(0);
  }

  async stop(): Promise<void> {
    await this.button(t.composer.stop).click();
  }

  async new_session(): Promise<void> {
    await this.page.keyboard.press("Control+Shift+O");
    await expect(this.turns).toHaveCount(0);
  }
}
