//! The page without a server, for looking at it: /mock/?at=/p/ticket-triage&scene=streaming&theme=dark
//! Scenes are in scenes.ts. Only the development server serves this; the build does not know it.

import { answerFetch } from "./http.ts";
import { playScene } from "./scenes.ts";

const query = new URLSearchParams(location.search);
const scene = query.get("scene") ?? "streaming";
localStorage.setItem("promptroom.theme", query.get("theme") ?? "light");
document.documentElement.dataset["theme"] = query.get("theme") ?? "light";
history.replaceState(null, "", query.get("at") ?? "/p/ticket-triage");
const stage = playScene(scene);
answerFetch(stage, scene);

await import("../src/styles/page.css");
const { createRoot } = await import("react-dom/client");
const { App } = await import("../src/ui/App.tsx");
const { loadAccount } = await import("../src/ui/account.ts");
const root = document.getElementById("root");
if (root) {
  void loadAccount();
  createRoot(root).render(<App openRoom={stage.open} />);
}
