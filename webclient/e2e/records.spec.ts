// Records: out of the page and back into it, byte for byte, and never with what was not to be in them.
import { readFileSync } from "node:fs";
import type { Download, Page } from "@playwright/test";
import { type Bench, t } from "./bench";
import { expect, test } from "./fixtures";
import { delta, done, event, type Actor, type Stage } from "./stage";
import { cut_up, seeded, stream } from "./streams";

const streams = 200;
const a_session = 20;

async function downloaded(page: Page, act: () => Promise<void>): Promise<{ name: string; bytes: Buffer }> {
  const [download] = await Promise.all([page.waitForEvent("download"), act()]) as [Download, void];
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

async function exported(bench: Bench, redacted: boolean): Promise<string> {
  const { page } = bench;
  await bench.button(t.sessions.export_record).first().click();
  await page.getByLabel(redacted ? t.record.shapes : t.record.everything, { exact: true }).check();
  const { bytes } = await downloaded(page, () => bench.button(t.record.save, page.getByRole("dialog")).click());
  return bytes.toString();
}

/** The bodies of all attempts of a record, in order. */
function bodies(record: string): Buffer[] {
  const { attempts } = JSON.parse(record) as { attempts: { chunks: { data: string }[] }[] };
  return attempts.map(({ chunks }) => Buffer.concat(chunks.map(({ data }) => Buffer.from(data, "base64"))));
}

test(`${streams} streams are exported as the model's socket wrote them`, async ({ bench, theatre }) => {
  test.setTimeout(300_000);
  const random = seeded(20261121);
  await bench.open(theatre.gateway);
  for (let first = 0; first < streams; first += a_session) {
    await bench.new_session();
    const written: Buffer[] = [];
    for (let at = 0; at < a_session; at += 1) {
      const bytes = stream(random);
      written.push(bytes);
      theatre.model.lines.push({ pieces: cut_up(bytes, random) });
      await bench.ask(`Stream ${first + at}`);
    }
    const found = bodies(await exported(bench, false));
    expect(found).toHaveLength(written.length);
    for (const [at, bytes] of written.entries()) expect(found[at]!.equals(bytes), `stream ${first + at}`).toBe(true);
  }
});

test("the bytes can be saved from the inspector as they came", async ({ bench, page, theatre }) => {
  const bytes = stream(seeded(7));
  theatre.model.lines.push({ pieces: cut_up(bytes, seeded(8)) });
  await bench.open(theatre.gateway);
  await bench.ask("Save me");
  await bench.tab("stream").click();
  await page.getByRole("button", { name: t.inspector.reveal }).click();
  const saved = await downloaded(page, () => bench.button(t.inspector.frame_save).click());
  expect(saved.bytes.equals(bytes)).toBe(true);
});

const canary = `canary-${"7f3e9ab1c4"}-do-not-show`;

/** A session in which the canary is in a tool's arguments and result. */
async function with_canary(bench: Bench, theatre: Stage<Actor>): Promise<void> {
  await bench.open(theatre.gateway);
  const call = { index: 0, id: "call_1", type: "function", function: { name: "lookup", arguments: JSON.stringify({ secret: canary, list: [canary] }) } };
  theatre.model.lines.push({ pieces: [delta({ role: "assistant", content: "" }), delta({ tool_calls: [call] }), delta({}, "tool_calls"), done] });
  await bench.send("Look it up");
  const result = bench.answer.locator(".answer-form textarea");
  await result.fill(JSON.stringify({ found: canary }));
  theatre.model.lines.push({ pieces: [delta({ content: "Found." }), delta({}, "stop"), done] });
  await result.press("Control+Enter");
  await bench.settled();
}

test("what is masked is not in the page, nor in a record", async ({ bench, page, theatre }) => {
  await with_canary(bench, theatre);
  for (const tab of Object.values(t.inspector.tabs)) {
    const handle = page.getByRole("tab", { name: tab });
    if (await handle.count()) await handle.click();
    expect(await page.content(), tab).not.toContain(canary);
  }
  expect(await page.evaluate(() => [...document.querySelectorAll("input, textarea")].map((field) => (field as HTMLInputElement).value).join())).not.toContain(canary);
  const search = page.getByRole("searchbox", { name: t.sessions.find });
  await search.fill(canary.slice(0, 6));
  await expect(page.locator(".hit mark")).toHaveText("••••••");
  expect(await page.content()).not.toContain(canary);
  await search.fill("");
  const record = await exported(bench, true);
  expect(record).not.toContain(canary);
  expect(bodies(record).map(String).join()).not.toContain(canary);
  for (const encoded of [Buffer.from(canary).toString("base64").slice(2, -4), encodeURIComponent(canary)]) expect(record).not.toContain(encoded);
  expect(record).not.toContain(theatre.gateway.key);

  await bench.button(t.tool.reveal, bench.answer).first().click();
  expect(await page.content()).toContain(canary);
  await page.reload();
  await expect(bench.turns).toHaveCount(1);
  expect(await page.content()).not.toContain(canary);
});

test("a record is read in the page and sent nowhere", async ({ bench, page, theatre, watch }) => {
  await with_canary(bench, theatre);
  const record = await exported(bench, false);
  expect(record).toContain("Found.");
  expect(record).not.toContain(theatre.gateway.key);
  const asked = theatre.model.asked.length;
  const before = watch.requests.length;
  await page.locator("input[type=file]").setInputFiles({ name: "record.json", mimeType: "application/json", buffer: Buffer.from(record) });
  await expect(page.getByText(t.transcript.replaying)).toBeVisible();
  await expect(bench.log).toContainText("Found.");
  await page.getByLabel(t.record.position).focus();
  await page.keyboard.press("Home");
  await page.getByLabel(t.record.speed).selectOption("50");
  await bench.button(t.record.play).click();
  await expect(bench.log).toContainText("Found.");
  const since = watch.requests.slice(before).filter(({ url }) => !/\/(readyz|healthz|ui\/build\.json|v1\/models)$/.test(url));
  expect(since.filter(({ url }) => !url.startsWith("blob:") && !url.includes("/assets/"))).toEqual([]);
  expect(watch.requests.slice(before).filter(({ body }) => body !== "")).toEqual([]);
  expect(theatre.model.asked).toHaveLength(asked);
  expect(await page.locator("input[type=file]").count()).toBe(1);
});

test("a record is replayed without a network, as it was", async ({ bench, page, context, theatre }) => {
  await with_canary(bench, theatre);
  const live = await bench.log.innerText();
  const record = await exported(bench, false);
  await context.setOffline(true);
  await page.locator("input[type=file]").setInputFiles({ name: "record.json", mimeType: "application/json", buffer: Buffer.from(record) });
  await expect(page.getByText(t.transcript.replaying)).toBeVisible();
  const words = (text: string) => text.replace(/\d\d:\d\d(:\d\d)?|\d+(\.\d+)? (ms|s)\b/g, "").replace(/\s+/g, " ").trim();
  await expect.poll(async () => words(await bench.log.innerText())).toBe(words(live));
  await context.setOffline(false);
});

test("a file that is no record is told so", async ({ bench, page, rehearsal }) => {
  await bench.open(rehearsal.gateway);
  for (const text of ["not json", "{}", JSON.stringify({ format: "hadesgw-record", version: 99 }), `{"__proto__":{"pwned":1}}`, "[".repeat(100_000)]) {
    await page.locator("input[type=file]").setInputFiles({ name: "x.json", mimeType: "application/json", buffer: Buffer.from(text) });
    await expect(page.getByText(t.transcript.replaying)).toHaveCount(0);
  }
  await bench.ask("Say hello");
  await expect(bench.answer).toContainText("rehearsal model");
});

test("an unknown event is shown as it came", async ({ bench, theatre }) => {
  await bench.open(theatre.gateway);
  theatre.model.lines.push({ pieces: [delta({ content: "Known. " }), event({ object: "of.tomorrow", value: 42 }), delta({}, "stop"), done] });
  await bench.ask("What is new?");
  await expect(bench.answer.locator(".item.raw")).toBeVisible();
});
