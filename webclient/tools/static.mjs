// The built client as a folder of files for any host: node tools/static.mjs [folder]. It differs from what the gateway
// serves in what the gateway would add: ui/config.json, ui/build.json, and the policy, here in the page's own head.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { environment, page_settings, policy } from "./settings.mjs";

const built = new URL("../../hadesgw/webclient_dist", import.meta.url).pathname;
const target = resolve(process.argv[2] ?? new URL("../../build/webclient/static", import.meta.url).pathname);
if (!existsSync(join(built, "index.html"))) throw new Error("the client is not built: npm run build");
const set = environment();
const settings = { ...page_settings(set), build: JSON.parse(readFileSync(join(built, "build.json"), "utf8")) };

rmSync(target, { recursive: true, force: true });
cpSync(built, target, { recursive: true });
mkdirSync(join(target, "ui"), { recursive: true });
writeFileSync(join(target, "ui", "config.json"), `${JSON.stringify(settings, null, 2)}\n`);
cpSync(join(built, "build.json"), join(target, "ui", "build.json"));
const page = join(target, "index.html");
const text = readFileSync(page, "utf8").replace("<head>", `<head>\n    <meta http-equiv="Content-Security-Policy" content="${policy(settings.connect)}" />`);
writeFileSync(page, text);
writeFileSync(`${page}.gz`, gzipSync(text, { level: 9 }));
console.log(`${target}: a client of ${settings.base_url || "its own origin"}. The gateway must list the page's origin in [cors] origins.`);
if (set.HADES_API_KEY) console.log("HADES_API_KEY is not written into it; open the page with #key=... once, or paste the key there.");
