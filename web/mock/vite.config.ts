//! Serves the played page: npx vite --config mock/vite.config.ts, then /mock/?scene=streaming
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  cacheDir: "node_modules/.vite-mock",
  // A reload would land on the page itself, which has no server here.
  server: { port: 5199, host: "127.0.0.1", hmr: false },
});
