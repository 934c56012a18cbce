// What a client that no gateway serves begins with: from .env.local beside package.json, or from the environment, which
// goes before it. The gateway tells its own page the same things at /ui/config.json.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseEnv } from "node:util";

const folder = new URL("..", import.meta.url).pathname;
const names = ["HADES_API_BASE_URL", "HADES_API_KEY", "HADES_REQUEST_ID_HEADER", "HADES_SESSION_ID_HEADER", "HADES_DEFAULT_MODEL"];

/** The variables that are set, by name. */
export function environment(environ = process.env, file = join(folder, ".env.local")) {
  const written = existsSync(file) ? parseEnv(readFileSync(file, "utf8")) : {};
  const unknown = Object.keys(written).filter((name) => !names.includes(name));
  if (unknown.length) throw new Error(`.env.local: expected names out of ${names.join(", ")}, got ${unknown.join(", ")}`);
  const set = Object.fromEntries(names.map((name) => [name, environ[name] ?? written[name] ?? ""]));
  if (set.HADES_API_BASE_URL && !/^https?:\/\/[^\s/?#@;,]+(\/[^\s?#@;,]*)?$/.test(set.HADES_API_BASE_URL)) {
    throw new Error("HADES_API_BASE_URL: expected an http or https address such as http://127.0.0.1:8082");
  }
  return set;
}

/** The page's ui/config.json. The key is not in it: whoever can read the page could read that. */
export function page_settings(set) {
  const base = set.HADES_API_BASE_URL;
  return {
    headers: {
      request_id: set.HADES_REQUEST_ID_HEADER || "X-Request-ID",
      session_id: set.HADES_SESSION_ID_HEADER || "X-Conveyance-Session-ID",
    },
    default_model: set.HADES_DEFAULT_MODEL,
    base_url: base,
    connect: base ? [new URL(base).origin] : [],
  };
}

/** The gateway's policy for its page, as far as a page can state it itself. */
export function policy(connect) {
  return [
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "font-src 'self'",
    ["connect-src 'self'", ...connect].join(" "), "base-uri 'none'", "form-action 'none'",
    "require-trusted-types-for 'script'", "trusted-types 'none'",
  ].join("; ");
}
