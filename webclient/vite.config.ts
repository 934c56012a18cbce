// How the client is built, served while it is being written, and tested. No plugin: Vite compiles TSX by itself.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // Relative addresses: the same files work at the gateway's root and below any path of a static host.
  base: "./",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { host: "localhost", port: 3000, strictPort: true },
  preview: { host: "localhost", port: 3000, strictPort: true },
  build: {
    target: "es2022",
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
  },
});
