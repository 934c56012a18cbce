// What the page weighs and how fast it is, in a real browser against the real gateway: `make webclient-bench`. Each figure
// is the median of RUNS (5); the idle page is measured beside each run, because the machine may have other work.
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "@playwright/test";
import { Bench, t } from "./bench";
import { expect, test } from "./fixtures";
import { Actor, build, delta, done, type Line, project, Stage, usage } from "./stage";

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

const turns = Number(process.env.TURNS ?? 1000);
const strokes = 200;

/** What the actor says in each turn of the long session. */
const short_answer: Line = {
  pieces: [delta({ role: "assistant", content: "" }) + delta({ content: "A short answer with `code`, **weight** and a list:\n\n- one\n- two\n" }) + delta({}, "stop") + usage(20, 18) + done],
};

/** 500 tokens a second for eight seconds, ten of them in a piece. */
const long_answer: Line = {
  pieces: [
    delta({ role: "assistant", content: "" }),
    ...Array.from({ length: 400 }, (_, piece) => Array.from({ length: 10 }, (_, at) => delta({ content: (piece * 10 + at) % 60 === 59 ? ".\n\n" : " word" })).join("")),
    delta({}, "stop") + done,
  ],
  pause_ms: 20,
};

/** In the page, as fast as it goes: what a user does a thousand times. Gives how long each turn took, in ms. */
function hold_conversation(page: Page): Promise<number[]> {
  return page.evaluate(async (turns) => {
    const field = document.querySelector<HTMLTextAreaElement>("#prompt")!;
    const shown = document.getElementsByTagName("article");
    const composer = document.querySelector(".composer")!;
    const until = async (found: () => boolean) => { while (!found()) await new Promise((go) => setTimeout(go, 2)); };
    const took: number[] = [];
    for (let turn = 0; turn < turns; turn += 1) {
      const began = performance.now();
      field.value = `Prompt ${turn}`;
      field.dispatchEvent(new InputEvent("input", { bubbles: true }));
      await new Promise((go) => setTimeout(go));
      field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
      await until(() => shown.length > turn && !composer.querySelector(".stop"));
      took.push(performance.now() - began);
    }
    return took;
  }, turns);
}

/** Types, and gives for each key how long it took from the event to the frame that shows it, in ms. */
async function type(page: Page, keys: number): Promise<number[]> {
  await page.locator("#prompt").focus();
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
  for (let key = 0; key < keys; key += 1) {
    await page.keyboard.press(key % 40 === 39 ? "Shift+Enter" : "abcdefgh "[key % 9]!);
    await page.waitForTimeout(30);
  }
  return page.evaluate(() => (window as unknown as { latencies: number[] }).latencies);
}

interface Typed {
  /** From key to frame, in ms. */
  readonly p95: number;
  /** Of the page's main thread for one key, in ms: it does not depend on what else the machine does. */
  readonly cpu: number;
}

async function typed(page: Page): Promise<Typed> {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const spent = async () => (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration")!.value * 1000;
  const before = await spent();
  const latencies = await type(page, strokes);
  const cpu = (await spent() - before) / strokes;
  await session.detach();
  return { p95: p95(latencies), cpu };
}

async function heap_of(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return usedSize / 1024 / 1024;
}

test(`a session of ${turns} turns`, async ({ browser }) => {
  test.setTimeout(1_800_000);
  // A step that cannot be done is a fault of its own, not a long wait.
  const step_ms = 30_000;
  const stage = await Stage.open((folder) => new Actor(folder), large);
  stage.model.lines.push(...Array.from({ length: turns }, () => short_answer));
  const { bench, close } = await fresh(browser, stage);
  const { page } = bench;
  page.setDefaultTimeout(step_ms);
  const of = (what: string) => `${turns} turns: ${what}`;
  const took = await hold_conversation(page);
  add(of("a turn, the first hundred"), "ms", took.slice(0, 100));
  add(of("a turn, the last hundred"), "ms", took.slice(-100));
  add(of("JS heap when all were held in one page"), "MiB", [await heap_of(page)]);

  const keys: Typed[] = [], empty: Typed[] = [], first: number[] = [], whole: number[] = [], scrolled: number[] = [], heap: number[] = [];
  const idle: number[] = [], busy: number[] = [], tasks: number[] = [], edited: number[] = [];
  for (let run = 0; run < runs; run += 1) {
    await page.reload({ waitUntil: "commit" });
    const began = performance.now();
    await expect(bench.log).toContainText(`Prompt ${turns - 1}`);
    first.push(performance.now() - began);
    await expect(bench.turns).toHaveCount(turns + run, { timeout: 60_000 }); // the earlier ones come when the page is idle
    whole.push(performance.now() - began);
    heap.push(await heap_of(page));
    await watch_frames(page);
    await page.waitForTimeout(2000);
    idle.push(p95((await seen_frames(page)).frames));

    keys.push(await typed(page));
    await bench.prompt.fill("");
    const beside = await fresh(browser, stage);
    empty.push(await typed(beside.bench.page));
    await beside.close();
    await page.bringToFront();

    await bench.log.hover();
    await watch_frames(page);
    for (let turn = 0; turn < 60; turn += 1) {
      await page.mouse.wheel(0, -1500);
      await page.waitForTimeout(20);
    }
    scrolled.push(p95((await seen_frames(page)).frames));

    stage.model.lines.push(long_answer);
    await bench.prompt.fill("At length");
    await bench.prompt.press("Enter");
    await expect(bench.answer).toContainText("word");
    await watch_frames(page);
    await page.getByRole("button", { name: t.composer.stop, exact: true }).waitFor({ state: "detached", timeout: 60_000 });
    const seen = await seen_frames(page);
    busy.push(p95(seen.frames));
    tasks.push(seen.tasks.length);

    // Editing an early turn begins a branch of its own; the arrow leads back to the long one, for the next run.
    stage.model.lines.push(short_answer);
    await bench.log.hover();
    await page.mouse.wheel(0, -1000); // who reads elsewhere is not taken to the end
    await bench.turns.nth(9).scrollIntoViewIfNeeded();
    await bench.button(t.turn.edit, bench.turns.nth(9)).click();
    const field = page.getByRole("textbox", { name: t.turn.edit });
    await field.fill("Another prompt");
    const sent = performance.now();
    await field.press("Enter");
    await expect(bench.turns).toHaveCount(10);
    edited.push(performance.now() - sent);
    await bench.settled();
    for (let back = 0; back <= run; back += 1) await bench.button(t.turn.earlier, bench.turns.nth(Math.min(9, (await bench.turns.count()) - 1))).click();
    await expect(bench.log).toContainText("At length");
  }
  add("an empty session: key to frame p95", "ms", empty.map((one) => one.p95));
  add(of(`key to frame p95 of ${strokes}`), "ms", keys.map((one) => one.p95), 50);
  add("an empty session: CPU of a key", "ms", empty.map((one) => one.cpu));
  add(of("CPU of a key"), "ms", keys.map((one) => one.cpu));
  add(of("from reload to the last of them"), "ms", first);
  add(of("from reload to all of them"), "ms", whole);
  add(of("idle: frame p95"), "ms", idle);
  add(of("scrolled through: frame p95"), "ms", scrolled);
  add(of("500 tok/s at the end: frame p95"), "ms", busy);
  add(of("500 tok/s at the end: long tasks"), "", tasks);
  add(of("an early prompt edited: shown after"), "ms", edited);
  add(of("JS heap after a reload"), "MiB", heap);
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
