// How the page comes: from one host, in few requests, whole without a network beyond it; and from another host, which is
// what CORS is for.
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { Bench } from "./bench";
import { expect, test } from "./fixtures";
import { free_port, project, Rehearsal, Stage } from "./stage";

test("six requests, one host, nothing inline", async ({ bench, page, rehearsal, watch }) => {
  await bench.open(rehearsal.gateway);
  await bench.connected();
  const files = watch.requests.filter(({ url }) => !/\/(v1|healthz|readyz)/.test(url));
  expect(files.map(({ url }) => new URL(url).origin)).toEqual(files.map(() => rehearsal.gateway.url));
  const names = files.map(({ url }) => new URL(url).pathname.replace(/-[\w-]{8}\./, ".")).sort();
  expect(names.length, names.join(" ")).toBeLessThanOrEqual(6);
  const html = await (await page.request.get(rehearsal.gateway.url)).text();
  expect(html).not.toMatch(/<style|<script(?![^>]*\ssrc=)|\son\w+=|\sstyle=/i);
  expect(html.replaceAll("http://www.w3.org/2000/svg", "")).not.toMatch(/https?:\/\//);
});

test("the key of the link is stored, and is nowhere to be seen", async ({ bench, page, rehearsal, watch }) => {
  const { key } = rehearsal.gateway;
  await bench.open(rehearsal.gateway);
  await bench.ask("Say hello");
  expect(page.url()).not.toContain(key);
  expect(await page.evaluate(() => history.length)).toBeLessThanOrEqual(2);
  expect(await page.content()).not.toContain(key);
  expect(watch.requests.filter(({ url, body }) => url.includes(key) || body.includes(key))).toEqual([]);
  for (const field of await page.locator("input").all()) expect(await field.inputValue()).not.toContain(key);
  await page.reload();
  await bench.connected();
});

const types: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json" };

test("built for another host, it calls the gateway across origins", async ({ page, watch }) => {
  const port = await free_port();
  const origin = `http://localhost:${port}`;
  const stage = await Stage.open((folder) => new Rehearsal(folder), `[cors]\norigins = ["${origin}"]\n`);
  const site = mkdtempSync(join(tmpdir(), "hgw-static-"));
  execFileSync(process.execPath, [join(project, "webclient", "tools", "static.mjs"), site], {
    env: { ...process.env, HADES_API_BASE_URL: stage.gateway.url, HADES_API_KEY: stage.gateway.key, HADES_DEFAULT_MODEL: "" },
  });
  const server = createServer((request, response) => {
    const path = join(site, new URL(request.url ?? "/", origin).pathname.replace(/\/$/, "/index.html"));
    if (!path.startsWith(site) || !existsSync(path)) return void response.writeHead(404).end();
    response.writeHead(200, { "content-type": types[extname(path)] ?? "text/plain" }).end(readFileSync(path));
  });
  await new Promise<void>((done) => server.listen(port, "localhost", done));
  try {
    watch.origins.add(origin);
    watch.origins.add(stage.gateway.url);
    const bench = new Bench(page, watch);
    await page.goto(`${origin}/#key=${stage.gateway.key}`);
    await bench.ask("Say hello");
    await expect(bench.answer).toContainText("rehearsal model");
    await bench.tab("request").click();
    await expect(page.getByRole("tabpanel").locator(".echo .chip.good")).toHaveCount(2); // the gateway exposes its ids
    for (const file of ["index.html", "ui/config.json", "ui/build.json"]) {
      expect(readFileSync(join(site, file), "utf8")).not.toContain(stage.gateway.key);
    }
  } finally {
    server.closeAllConnections();
    server.close();
    await stage.close();
    rmSync(site, { recursive: true, force: true });
  }
});

test("the policy is in force: markup, inline code and foreign hosts are refused", async ({ bench, page, rehearsal, watch }) => {
  await bench.open(rehearsal.gateway);
  const attempts = await page.evaluate(async () => {
    const outcome = async (act: () => unknown): Promise<string> => {
      try {
        await act();
        return "allowed";
      } catch (error) {
        return (error as Error).name;
      }
    };
    const element = document.createElement("div");
    return {
      markup: await outcome(() => { element.innerHTML = "<b>x</b>"; }),
      // In a task of its own: what the debugger itself evaluates is free of the policy.
      code: await new Promise<string>((told) => setTimeout(() => void outcome(() => new Function("return 1")()).then(told))),
      policy: await outcome(() => (window as unknown as { trustedTypes: { createPolicy(name: string, rules: object): unknown } }).trustedTypes.createPolicy("x", {})),
      elsewhere: await outcome(() => fetch("https://elsewhere.invalid/")),
      style: (() => { element.setAttribute("style", "color: red"); return element.style.color; })(),
    };
  });
  expect(attempts).toEqual({ markup: "TypeError", code: "EvalError", policy: "TypeError", elsewhere: "TypeError", style: "" });
  expect(watch.faults.length).toBeGreaterThanOrEqual(4); // so the watch of all tests would have seen it
  watch.faults.length = 0;
});
