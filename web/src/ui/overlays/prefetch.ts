//! Fetches the code of menus, dialogs and markdown once the page has nothing better to do.

export function prefetchWhenIdle(): void {
  const fetchAll = () => {
    void import("./ActionMenu.tsx");
    void import("./FloatingPanel.tsx");
    void import("../output/markdown.ts");
  };
  if ("requestIdleCallback" in window) requestIdleCallback(fetchAll, { timeout: 5_000 });
  else setTimeout(fetchAll, 2_000);
}
