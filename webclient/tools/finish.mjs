// After Vite: the licences of what is shipped, a stored .gz beside each text file, and build.json, which tells a page
// that is open while the gateway is upgraded that there is a newer client. Two runs over one source write the same bytes.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const root = new URL("..", import.meta.url).pathname;
const dist = join(root, "../hadesgw/webclient_dist");
const read = (path) => readFileSync(path, "utf8");
const by_name = (a, b) => (a < b ? -1 : 1);

/** Every package that the page contains: the stated dependencies, and theirs. */
function shipped(names, found = new Set()) {
  for (const name of names) {
    const manifest = join(root, "node_modules", name, "package.json");
    if (found.has(name) || name.startsWith("@types/") || !existsSync(manifest)) continue;
    found.add(name);
    shipped(Object.keys(JSON.parse(read(manifest)).dependencies ?? {}), found);
  }
  return [...found].sort(by_name);
}

function licence(name) {
  const home = join(root, "node_modules", name);
  const { version, license } = JSON.parse(read(join(home, "package.json")));
  const file = readdirSync(home).sort(by_name).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name} comes without the text of its licence`);
  return `${name} ${version} (${license})\n\n${read(join(home, file)).replace(/\r/g, "").trim()}\n`;
}

/** All files below a folder, the same order everywhere. */
const files = (folder) => readdirSync(folder, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)).sort(by_name);

const packages = shipped(Object.keys(JSON.parse(read(join(root, "package.json"))).dependencies));
const line = "-".repeat(78);
writeFileSync(join(dist, "LICENSES.txt"),
  `This web client contains the following packages.\n\n${packages.map((name) => `${line}\n${licence(name)}`).join("\n")}`);

const digest = createHash("sha256");
for (const path of files(dist)) digest.update(path.slice(dist.length)).update(readFileSync(path));
const { version } = JSON.parse(read(join(root, "package.json")));
writeFileSync(join(dist, "build.json"), `${JSON.stringify({ version, hash: digest.digest("hex").slice(0, 16) })}\n`);

for (const path of files(dist).filter((path) => /\.(html|js|css|svg|txt|json)$/.test(path))) {
  const packed = gzipSync(readFileSync(path), { level: 9 });
  packed[9] = 255; // the byte that names the packer's system: "unknown" everywhere
  writeFileSync(`${path}.gz`, packed);
}
