import { defineConfig } from "vitest/config";

// The workspace packages are read from their sources, as the app's own build does.
export default defineConfig({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"] } },
  test: { include: ["packages/*/test/**/*.test.ts?(x)", "apps/*/test/**/*.test.ts?(x)"] },
});
