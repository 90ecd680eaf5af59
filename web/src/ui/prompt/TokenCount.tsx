//! Roughly how many tokens a text is, counted again shortly after somebody typed.

import { useEffect, useState } from "react";
import type * as Y from "yjs";
import { estimateTokens } from "../estimate.ts";
import { roughly } from "../units.ts";

const SETTLE_MS = 300;

export function TokenCount({ text }: { readonly text: Y.Text }) {
  const [tokens, setTokens] = useState(() => estimateTokens(text.toString()));
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | null = null;
    const recount = () => {
      timer = null;
      setTokens(estimateTokens(text.toString()));
    };
    const schedule = () => {
      timer ??= setTimeout(recount, SETTLE_MS);
    };
    recount();
    text.observe(schedule);
    return () => {
      text.unobserve(schedule);
      if (timer !== null) clearTimeout(timer);
    };
  }, [text]);
  return <span className="tok">{roughly(tokens)} tok</span>;
}
