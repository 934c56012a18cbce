// How the client is built, served while it is being written, and tested. Vite compiles TSX by itself.
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";
import { lexer_only } from "./tools/lexer_only";
import { environment, page_settings } from "./tools/settings.mjs";

/** Stands for the gateway's /ui/ while the client is being written, and prints an address that opens with the key. */
const settings: Plugin = {
  name: "hadesgw-settings",
  apply: "serve",
  configureServer(server) {
    const set = environment();
    if (!set.HADES_API_BASE_URL) set.HADES_API_BASE_URL = "http://127.0.0.1:8082";
    const answers: Record<string, unknown> = {
      "/ui/config.json": page_settings(set),
      "/ui/build.json": { version: "dev", hash: "dev" },
    };
    server.middlewares.use((request, response, next) => {
      const answer = answers[request.url ?? ""];
      if (answer) response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
      else next();
    });
    server.httpServer?.once("listening", () => {
      const key = set.HADES_API_KEY ? `#key=${set.HADES_API_KEY}` : "";
      server.config.logger.info(`\n  page     http://localhost:3000/${key}\n  gateway  ${set.HADES_API_BASE_URL}\n`);
    });
  },
};

export default defineConfig({
  // Settings come from tools/settings.mjs: nothing of the environment is ever built in.
  envDir: false,
  plugins: [settings, lexer_only],
  // Relative addresses: the same files work at the gateway's root and below any path of a static host.
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { host: "localhost", port: 3000, strictPort: true },
  preview: { host: "localhost", port: 3000, strictPort: true },
  build: {
    target: "es2022",
    // Browsers that know light-dark(): what is written in the styles is what is served.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    outDir: fileURLToPath(new URL("../hadesgw/webclient_dist", import.meta.url)),
    emptyOutDir: true,
    manifest: "manifest.json",
    // Nothing becomes a data: address; the page's policy admits only files of its own origin.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  test: {
    environment: "happy-dom",
    include: ["src/**/*.test.{ts,tsx}"],
    restoreMocks: true,
    // Properties are tried on many values; a busy machine takes its time.
    testTimeout: 60_000,
  },
});
