// Debian's chromium, one browser for all, one test at a time: the machine that runs this may have two cores.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "@playwright/test";
import { build } from "./stage";

export const chromium = process.env.CHROMIUM ?? "/usr/bin/chromium";
if (!existsSync(chromium)) {
  console.error("NOT TESTED: the web client in a browser, because chromium is not installed (Debian package chromium)");
  process.exit(0);
}

export default defineConfig({
  testDir: ".",
  outputDir: join(build, "e2e"),
  reporter: [["line"], ["json", { outputFile: join(build, "e2e.json") }]],
  fullyParallel: false,
  workers: 1,
  retries: process.env.CI ? 1 : 0, // what needs a second try is told as flaky
  timeout: 90_000,
  expect: { timeout: 15_000 },
  projects: [
    { name: "walks", testMatch: "*.spec.ts" },
    { name: "measures", testMatch: "measure.ts" },
    { name: "real", testMatch: "*.real.ts" }, // which want real programs: tests/real/codex/test_page.py brings them
  ],
  use: {
    browserName: "chromium",
    viewport: { width: 1280, height: 800 },
    launchOptions: { executablePath: chromium, args: ["--no-sandbox", "--disable-dev-shm-usage"] },
    locale: "en-GB",
    timezoneId: "Europe/Berlin",
    trace: "off",
  },
});
