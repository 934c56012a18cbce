// What the page weighs and how fast it is, in a real browser against the real gateway: `make webclient-bench`. Each figure
// is the median of RUNS (5); the idle page is measured beside each run, because the machine may have other work.
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "@playwright/test";
import { Bench, t } from "./bench";
import { expect, test } from "./fixtures";
import { Actor, build, delta, done, type Line, project, Stage } from "./stage";

const runs = Number(process.env.RUNS ?? 5);
const large = `[limits.body]\n"/v1/chat/completions" = "64MiB"\n`;

interface Row {
  readonly what: string;
  readonly unit: string;
  readonly values: readonly number[];
  /** The most it may be; null if it is only told. */
  readonly most: number | null;
}

const rows: Row[] = [];
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
const p95 = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.max(0, Math.ceil(values.length * 0.95) - 1)] ?? NaN;
const add = (what: string, unit: string, values: readonly number[], most: number | null = null): void => void rows.push({ what, unit, values, most });

/** In the page: notes the time of every frame and every long task from now on. */
async function watch_frames(page: Page): Promise<void> {
  await page.evaluate(() => {
    const seen = { frames: [] as number[], tasks: [] as number[], on: true };
    (window as unknown as { seen: typeof seen }).seen = seen;
    let before = performance.now();
    const frame = (now: number) => {
      seen.frames.push(now - before);
      before = now;
      if (seen.on) requestAnimationFrame(frame);
    };
    requestAnimationFrame((now) => { before = now; requestAnimationFrame(frame); });
    new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask" });
  });
}

async function seen_frames(page: Page): Promise<{ frames: number[]; tasks: number[] }> {
  return page.evaluate(() => {
    const { seen } = window as unknown as { seen: { frames: number[]; tasks: number[]; on: boolean } };
    seen.on = false;
    return { frames: seen.frames, tasks: seen.tasks };
  });
}

async function fresh(browser: Browser, stage: Stage): Promise<{ bench: Bench; close: () => Promise<void> }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  const bench = new Bench(page, { origins: new Set() } as never);
  await bench.open(stage.gateway);
  return { bench, close: () => context.close() };
}

test("weight", () => {
  const dist = join(project, "hadesgw", "webclient_dist");
  interface Chunk { file: string; isEntry?: boolean; imports?: string[] }
  const manifest = JSON.parse(readFileSync(join(dist, "manifest.json"), "utf8")) as Record<string, Chunk>;
  const start = (chunk: Chunk): string[] => [chunk.file, ...(chunk.imports ?? []).flatMap((key) => start(manifest[key]!))];
  const packed = (files: Iterable<string>) => [...new Set(files)].filter((file) => file.endsWith(".js")).reduce((sum, file) => sum + statSync(join(dist, `${file}.gz`)).size, 0) / 1024;
  add("entry JS, gzip", "KiB", [packed(start(Object.values(manifest).find((chunk) => chunk.isEntry)!))], 60);
  add("all JS, gzip", "KiB", [packed(Object.values(manifest).map((chunk) => chunk.file))], 110);
});

test("first load", async ({ browser, rehearsal }) => {
  test.setTimeout(120_000);
  const figures = { requests: [] as number[], hosts: [] as number[], paint: [] as number[], usable: [] as number[] };
  for (let run = 0; run < runs; run += 1) {
    const context = await browser.newContext();
    const page = await context.newPage();
    const asked: string[] = [];
    page.on("request", (request) => asked.push(request.url()));
    await page.addInitScript(() => {
      const ready = () => {
        const prompt = document.querySelector<HTMLTextAreaElement>("#prompt");
        if (prompt && !prompt.disabled) (window as unknown as { usable: number }).usable = performance.now();
        else requestAnimationFrame(ready);
      };
      requestAnimationFrame(ready);
    });
    await page.goto(`${rehearsal.gateway.url}/#key=${rehearsal.gateway.key}`);
    await page.locator(".status", { hasText: t.connection.connected }).waitFor();
    figures.requests.push(asked.length);
    figures.hosts.push(new Set(asked.map((url) => new URL(url).host)).size);
    figures.paint.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN));
    figures.usable.push(await page.evaluate(() => (window as unknown as { usable: number }).usable));
    await context.close();
  }
  add("requests of the first load, API calls included", "", figures.requests);
  add("hosts", "", figures.hosts, 1);
  add("first contentful paint", "ms", figures.paint, 500);
  add("composer usable", "ms", figures.usable, 1000);
});

const paces = [
  { pace: 500, tokens: 5000, most: 17 },
  { pace: 2000, tokens: 10_000, most: 33 },
] as const;
for (const { pace, tokens, most } of paces) {
  test(`${pace} tokens a second`, async ({ browser, rehearsal }) => {
    test.setTimeout(60_000 + runs * 60_000);
    const idle: number[] = [], busy: number[] = [], tasks: number[] = [], over: number[] = [];
    for (let run = 0; run < runs; run += 1) {
      const { bench, close } = await fresh(browser, rehearsal);
      await watch_frames(bench.page);
      await bench.page.waitForTimeout(3000);
      idle.push(p95((await seen_frames(bench.page)).frames));
      await bench.prompt.focus();
      await bench.send(`rehearse: long tokens=${tokens} tokens_per_second=${pace}`);
      await expect(bench.answer).toContainText("recites");
      await watch_frames(bench.page);
      await bench.page.getByRole("button", { name: t.composer.stop, exact: true }).waitFor({ state: "detached", timeout: 50_000 });
      const seen = await seen_frames(bench.page);
      busy.push(p95(seen.frames));
      tasks.push(seen.tasks.length);
      over.push(p95(seen.frames) / idle[run]!);
      await close();
    }
    add(`idle page: frame p95`, "ms", idle);
    add(`${pace} tok/s, ${tokens} tokens: frame p95`, "ms", busy, most);
    add(`${pace} tok/s: the same over idle`, "×", over);
    add(`${pace} tok/s: long tasks`, "", tasks, pace === 500 ? 0 : null);
  });
}

test("a session of 1,000 turns", async ({ browser }) => {
  test.setTimeout(1_800_000);
  const turns = Number(process.env.TURNS ?? 1000);
  const stage = await Stage.open((folder) => new Actor(folder), large);
  const says: Line = { pieces: [delta({ role: "assistant", content: "" }) + delta({ content: "A short answer with `code`, **weight** and a list:\n\n- one\n- two\n" }) + delta({}, "stop") + done] };
  stage.model.lines.push(...Array.from({ length: turns }, () => says));
  const { bench, close } = await fresh(browser, stage);
  const { page } = bench;
  // In the page, as fast as it goes: what a user does a thousand times.
  const began = performance.now();
  await page.evaluate(async (turns) => {
    const field = document.querySelector<HTMLTextAreaElement>("#prompt")!;
    const shown = document.getElementsByTagName("article");
    const composer = document.querySelector(".composer")!;
    const until = async (found: () => boolean) => { while (!found()) await new Promise((go) => setTimeout(go, 2)); };
    for (let turn = 0; turn < turns; turn += 1) {
      field.value = `Prompt ${turn}`;
      field.dispatchEvent(new InputEvent("input", { bubbles: true }));
      await new Promise((go) => setTimeout(go));
      field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
      await until(() => shown.length > turn && !composer.querySelector(".stop"));
    }
  }, turns);
  add(`${turns} turns: a turn, in the mean`, "ms", [(performance.now() - began) / turns]);
  expect(await bench.turns.count()).toBe(turns);

  const keys: number[] = [], shown: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    await page.reload();
    const began = performance.now();
    await expect(bench.log).toContainText(`Prompt ${turns - 1}`);
    shown.push(performance.now() - began);
    await expect(bench.turns).toHaveCount(turns, { timeout: 60_000 }); // the earlier ones come when the page is idle
    await bench.prompt.focus();
    await page.evaluate(() => {
      const latencies: number[] = ((window as unknown as { latencies: number[] }).latencies = []);
      document.addEventListener("keydown", (event) => {
        requestAnimationFrame(() => {
          const { port1, port2 } = new MessageChannel(); // its message comes when the frame has been painted
          port1.onmessage = () => latencies.push(performance.now() - event.timeStamp);
          port2.postMessage(null);
        });
      }, { capture: true });
    });
    for (let key = 0; key < 40; key += 1) {
      await page.keyboard.press("abcdefgh "[key % 9]!);
      await page.waitForTimeout(60);
    }
    keys.push(p95(await page.evaluate(() => (window as unknown as { latencies: number[] }).latencies)));
  }
  add(`${turns} turns: from reload to the last of them`, "ms", shown);
  add(`${turns} turns: key to frame p95`, "ms", keys, 50);
  const heap = await page.context().newCDPSession(page).then(async (session) => {
    await session.send("HeapProfiler.collectGarbage");
    return session.send("Runtime.getHeapUsage");
  });
  add(`${turns} turns: JS heap`, "MiB", [heap.usedSize / 1024 / 1024]);
  await close();
  await stage.close();
});

test.afterAll(() => {
  const shape = (value: number) => (Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : 1));
  const table = rows.map(({ what, unit, values, most }) => {
    const is = median(values);
    const verdict = most === null ? "" : is <= most ? "ok" : "OVER";
    return [what, `${shape(is)} ${unit}`.trim(), `${shape(Math.min(...values))} to ${shape(Math.max(...values))}`, most === null ? "" : `${most} ${unit}`.trim(), verdict];
  });
  const head = ["", `median of ${runs}`, "range", "at most", ""];
  const widths = head.map((_, at) => Math.max(...[head, ...table].map((row) => row[at]!.length)));
  const line = (row: string[]) => `| ${row.map((cell, at) => cell.padEnd(widths[at]!)).join(" | ")} |`;
  const text = [line(head), `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`, ...table.map(line)].join("\n");
  const machine = `${cpus().length} CPUs (${cpus()[0]?.model ?? "unknown"}), load ${loadavg().map((load) => load.toFixed(1)).join(" ")}`;
  console.log(`\n${text}\n\n${machine}`);
  writeFileSync(join(build, "measures.json"), `${JSON.stringify({ at: new Date().toISOString(), runs, machine, rows }, null, 2)}\n`);
});
