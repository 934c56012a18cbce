// Holds the build to its budgets, in gzipped bytes: what the page needs to start, all there is, and how many files.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const dist = new URL("../../hadesgw/webclient_dist", import.meta.url).pathname;
const by_key = JSON.parse(readFileSync(join(dist, "manifest.json"), "utf8"));
const manifest = Object.values(by_key);
const packed = (file) => statSync(join(dist, `${file}.gz`)).size;
const sum = (files) => files.reduce((total, file) => total + packed(file), 0);

/** The entry and what it imports at once; what it imports later is loaded on demand. */
function start(chunk, found = new Set()) {
  found.add(chunk.file);
  for (const key of chunk.imports ?? []) start(by_key[key], found);
  return found;
}

const entry = [...start(manifest.find((chunk) => chunk.isEntry))];
const chunks = [...new Set(manifest.map((chunk) => chunk.file).filter((file) => file.endsWith(".js")))];
const styles = [...new Set(manifest.flatMap((chunk) => chunk.css ?? []))];
const rows = [
  ["entry JS", sum(entry), 60 * 1024],
  ["all JS", sum(chunks), 110 * 1024],
  ["styles", sum(styles), 16 * 1024],
  ["files of the first load", 1 + entry.length + styles.length, 5],
];
for (const [what, is, most] of rows) console.log(`${is <= most ? "ok  " : "OVER"} ${what}: ${is} of ${most}`);
for (const file of chunks) console.log(`     ${file}: ${packed(file)}`);
if (rows.some(([, is, most]) => is > most)) process.exit(1);
