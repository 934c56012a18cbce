// What is said never becomes more than text: 500 strings and more, in each place where text of others is shown.
import type { Page } from "@playwright/test";
import { t } from "./bench";
import { expect, test } from "./fixtures";
import { groups, hostile } from "./hostile";
import { delta, done, event, type Line } from "./stage";

/** Elements and attributes of the page that none of ours has; and whatever an attack would have left. */
function intruders(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    const body = document.body;
    const never = "script,style,link,meta,base,iframe,frame,frameset,object,embed,portal,img,image,picture,video,audio,source,track,canvas,template,math,marquee,applet,form[action],input[type=image],svg script,svg use,svg image,svg foreignObject,svg a";
    for (const element of body.querySelectorAll(never)) found.push(element.outerHTML.slice(0, 200));
    for (const element of body.querySelectorAll("*")) {
      for (const { name, value } of element.attributes) {
        if (/^on/i.test(name) || ["srcdoc", "srcset", "formaction", "ping", "background", "poster"].includes(name)) found.push(`${element.tagName} has ${name}`);
        if (["href", "src", "action", "xlink:href", "data"].includes(name) && !/^(https?:|mailto:|#)/.test(value)) found.push(`${element.tagName} ${name}=${value.slice(0, 100)}`);
      }
      if (element instanceof HTMLAnchorElement && /^https?:/.test(element.getAttribute("href") ?? "") && !(element.relList.contains("noopener") && element.relList.contains("noreferrer"))) found.push(`a link tells who follows it: ${element.href}`);
    }
    if ((window as unknown as { pwned?: unknown }).pwned !== undefined || ({} as { pwned?: unknown }).pwned !== undefined) found.push("something ran");
    if (document.querySelectorAll("#app").length !== 1) found.push("#app was made twice");
    return found;
  });
}

/** An answer that has every string of `all` as text, as reasoning, as a diff, and in the arguments of a call. */
function answer(all: readonly string[]): Line {
  const chunk = (index: number, change: unknown, finish: string | null = null) =>
    event({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: all.join(" "), choices: [{ index, delta: change, finish_reason: finish }] });
  const diff = (text: string) => `\`\`\`diff\n--- a/${text.replace(/\n/g, " ")}\n+++ b/x\n@@ -1,2 +1,2 @@ ${text.replace(/\n/g, " ")}\n-${text.replace(/\n/g, "\n-")}\n+${text.replace(/\n/g, "\n+")}\n \`\`\`\n`;
  const pieces = all.flatMap((text, at) => [
    chunk(at, { role: "assistant", reasoning: text }),
    chunk(at, { content: text }),
    chunk(at, { content: `\n\n${diff(text)}` }),
  ]);
  const call = { index: 0, id: all[0], type: "function", function: { name: all[0], arguments: JSON.stringify({ [all[0]!]: all }) } };
  return { pieces: [...pieces, chunk(0, { tool_calls: [call] }), ...all.map((_, at) => chunk(at, {}, at ? "stop" : "tool_calls")), done] };
}

/** Opens whatever hides text: cards, reasoning, every tab of the inspector. */
async function open_all(page: Page): Promise<void> {
  for (const hidden of await page.locator("details:not([open]) > summary").all()) await hidden.click().catch(() => undefined);
  for (const masked of await page.getByRole("button", { name: t.tool.reveal, exact: true }).all()) await masked.click().catch(() => undefined);
  for (const tab of Object.values(t.inspector.tabs)) {
    const handle = page.getByRole("tab", { name: tab });
    if (!(await handle.count())) continue;
    await handle.click();
    const reveal = page.getByRole("button", { name: t.inspector.reveal });
    if (await reveal.count()) await reveal.first().click();
    expect(await intruders(page), tab).toEqual([]);
  }
}

test("there are enough of them", () => {
  expect(hostile.length).toBeGreaterThanOrEqual(500);
});

for (const [number, group] of groups(hostile, 70).entries()) {
  test(`hostile strings, part ${number + 1}`, async ({ bench, page, theatre }) => {
    theatre.model.lines.length = 0;
    await bench.open(theatre.gateway);
    theatre.model.lines.push(answer(group));
    await bench.send(group.join("\n").slice(0, 8000)); // as a prompt, and as the session's title
    const result = bench.answer.locator(".answer-form textarea").first();
    await expect(result).toBeVisible();
    expect(await intruders(page)).toEqual([]);
    await result.fill(JSON.stringify(group));
    theatre.model.lines.push({ status: 500, headers: { "content-type": "application/json" }, pieces: [JSON.stringify({ error: { message: group.join("\n"), type: group[0], code: group[1], param: group[2] } })] });
    await result.press("Control+Enter"); // as a tool's result, and the answer to it as an error's text
    await expect(bench.failure).toContainText(t.failure.server);
    await open_all(page);
    expect(await intruders(page)).toEqual([]);
    const shown = await page.locator("body").innerText();
    expect(shown).toContain("window.pwned=1");

    await bench.new_session();
    theatre.model.lines.push({ pieces: [delta({ content: "So " }), event({ error: { message: group.join(" "), type: group[0], code: 500 } })] });
    await bench.send("And in the middle of a stream?");
    await expect(bench.failure).toBeVisible();
    expect(await intruders(page)).toEqual([]);
  });
}

test("names of models", async ({ bench, page, rehearsal }) => {
  await page.route("**/v1/models", (route) => route.fulfill({ json: { object: "list", data: hostile.map((id) => ({ id, object: "model" })) } }));
  await bench.open(rehearsal.gateway);
  await expect.poll(() => page.locator("option").count()).toBeGreaterThan(100);
  expect(await intruders(page)).toEqual([]);
});

test("markup in a link's address is shown, and goes nowhere", async ({ bench, page, theatre }) => {
  theatre.model.lines.push({ pieces: [delta({ content: "[inside](#x) [outside](https://outside.invalid/a) <https://auto.invalid>" }), delta({}, "stop"), done] });
  await bench.open(theatre.gateway);
  await bench.ask("Give me links");
  for (const link of await bench.answer.locator("a[href^=https]").all()) {
    expect(await link.getAttribute("rel")).toContain("noopener");
    expect(await link.getAttribute("rel")).toContain("noreferrer");
  }
  expect(await intruders(page)).toEqual([]);
});
