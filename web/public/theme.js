// Runs before the first paint, so that a dark page does not flash white. The rest of it is in ui/theme.ts.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("promptroom.theme");
  } catch {
    // Storage may be forbidden; the system's choice stands then.
  }
  const dark = chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
