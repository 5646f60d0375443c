import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` talks to a running `headrace serve`; the default is that command's own.
const server = process.env["HEADRACE_URL"] ?? "http://127.0.0.1:8642";

export default defineConfig({
  base: "./",
  plugins: [react()],
  resolve: { conditions: ["source", "module", "browser", "development|production"] },
  build: {
    outDir: "../../../src/headrace/server/static",
    emptyOutDir: true,
    target: "es2022",
    // Nothing is inlined, so that a strict Content-Security-Policy without `data:` can be kept.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/v1": server, "/healthz": server } },
});
