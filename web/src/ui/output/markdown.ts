//! Markdown to elements, for text that a model wrote: no raw HTML, nothing fetched, links that lead away safely.

import DOMPurify from "dompurify";
import { Marked, type Tokens } from "marked";

const TAGS = [
  ..."a blockquote br code del em h1 h2 h3 h4 h5 h6 hr input li ol p pre strong table tbody td th thead tr ul".split(
    " ",
  ),
];
const ATTRIBUTES = ["href", "title", "start", "align", "type", "checked", "disabled", "target", "rel"];

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }: Tokens.HTML | Tokens.Tag) => escapeHtml(text),
    // An image would be fetched from wherever the model says, and tell that server so.
    image: ({ href, text }: Tokens.Image) => link(href, text || href),
    link({ href, tokens }: Tokens.Link) {
      return link(href, null, this.parser.parseInline(tokens));
    },
  },
});

export function renderMarkdown(source: string): HTMLElement {
  const holder = document.createElement("div");
  holder.className = "md";
  const fragment = DOMPurify.sanitize(marked.parse(source, { async: false }), {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    // Every other attribute's value would have to be an address too.
    ADD_URI_SAFE_ATTR: ATTRIBUTES.filter((name) => name !== "href"),
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    RETURN_DOM_FRAGMENT: true,
  });
  holder.append(fragment);
  return holder;
}

function link(href: string, text: string | null, html = escapeHtml(text ?? "")): string {
  if (!/^(?:https?:|mailto:)/i.test(href)) return html;
  return `<a href="${escapeHtml(href)}" target="_blank" rel="noopener noreferrer">${html}</a>`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
