//! The room as one sees it: bar, rail, prompt, output; one pane at a time where it is narrow.

import { useEffect, useRef, useState } from "react";
import { OutputPane } from "../output/OutputPane.tsx";
import { PromptPane } from "../prompt/PromptPane.tsx";
import { useReadable } from "../readable.ts";
import { PHONE, useMedia } from "../useMedia.ts";
import { AsideCard } from "./AsideCard.tsx";
import { Estimate } from "./Estimate.tsx";
import { PaneResizer } from "./PaneResizer.tsx";
import { usePromptDocument, useRights } from "./RoomContext.ts";
import { RoomRail } from "./RoomRail.tsx";
import { RunAnnouncer } from "./RunAnnouncer.tsx";
import { RunControls } from "./RunControls.tsx";
import { TopBar } from "./TopBar.tsx";
import { useRoomKeys } from "./useRoomKeys.ts";

type Tab = "prompt" | "output" | "runs";

const TABS: readonly { readonly tab: Tab; readonly label: string }[] = [
  { tab: "prompt", label: "Prompt" },
  { tab: "output", label: "Output" },
  { tab: "runs", label: "Runs" },
];

export function RoomFrame() {
  const main = useRef<HTMLElement>(null);
  const [tab, setTab] = useState<Tab>("prompt");
  const phone = useMedia(PHONE);
  const rights = useRights();
  const document_ = usePromptDocument();
  const title = useReadable(document_.titleText);
  useRoomKeys(main);
  useEffect(() => {
    document.title = `${title || "Untitled prompt"} · Promptroom`;
  }, [title]);
  const showOutput = () => setTab("output");
  return (
    <div className="app">
      <a className="btn skip" href="#main">
        Skip to the prompt
      </a>
      <TopBar phone={phone} onRun={showOutput} />
      {!phone && <RoomRail />}
      <main className="room" id="main" ref={main} data-tab={tab}>
        <h1 className="vh">{title || "Untitled prompt"}</h1>
        <div className="sw" role="tablist" aria-label="Panes">
          {TABS.map((entry) => (
            <button
              key={entry.tab}
              type="button"
              role="tab"
              aria-selected={tab === entry.tab}
              onClick={() => setTab(entry.tab)}
            >
              {entry.label}
            </button>
          ))}
        </div>
        <PromptPane key={document_.life} />
        <PaneResizer room={main} />
        <OutputPane onShowOutput={showOutput} />
      </main>
      {phone && rights.run && (
        <footer className="mobile-foot">
          <RunControls phone onRun={showOutput} />
          <Estimate />
        </footer>
      )}
      <AsideCard />
      <RunAnnouncer />
    </div>
  );
}
