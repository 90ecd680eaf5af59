//! The library: own and workspace prompts, who is in them, what runs.

import { Plus, Search } from "lucide-react";
import { useEffect, useState } from "react";
import type { Prompt } from "../../protocol/resources.ts";
import { account } from "../account.ts";
import { ProblemNotice } from "../parts/ProblemNotice.tsx";
import { useReadable } from "../readable.ts";
import { plural } from "../units.ts";
import { createAndOpen } from "./create.ts";
import { FirstRun } from "./FirstRun.tsx";
import { LibraryBar } from "./LibraryBar.tsx";
import { LibraryNav } from "./LibraryNav.tsx";
import { PromptTable } from "./PromptTable.tsx";
import { promptList, watchPrompts } from "./promptList.ts";
import { isInScope, type Scope } from "./scope.ts";

export function Library() {
  const { prompts, problem } = useReadable(promptList);
  const [scope, setScope] = useState<Scope>("all");
  useEffect(watchPrompts, []);
  useEffect(() => {
    document.title = "Library · Promptroom";
  }, []);
  return (
    <div className="app wide">
      <LibraryBar />
      <LibraryNav prompts={prompts} scope={scope} onScope={setScope} />
      <main className="page" id="main">
        {problem && prompts === null && (
          <div className="pad">
            <ProblemNotice problem={problem} tone="warn" />
          </div>
        )}
        {prompts === null && !problem && <Waiting />}
        {prompts?.length === 0 && <FirstRun />}
        {prompts !== null && prompts.length > 0 && <Listing prompts={prompts} scope={scope} />}
      </main>
    </div>
  );
}

const TITLES: Record<Scope, string> = { all: "Library", mine: "Your prompts", workspace: "Workspace" };

function Listing({ prompts, scope }: { readonly prompts: readonly Prompt[]; readonly scope: Scope }) {
  const [find, setFind] = useState("");
  const who = useReadable(account);
  const me = who.kind === "signed_in" ? who.me.me.id : "";
  const inScope = prompts.filter((prompt) => isInScope(prompt, scope, me));
  const wanted = find.trim().toLowerCase();
  const shown = inScope.filter((prompt) => `${prompt.title} ${prompt.slug}`.toLowerCase().includes(wanted));
  return (
    <>
      <header>
        <h1>{TITLES[scope]}</h1>
        <span className="count" style={{ fontSize: 13, marginLeft: 2 }}>
          {plural(inScope.length, "prompt")}
        </span>
        <span className="grow" />
        <button type="button" className="btn primary" aria-keyshortcuts="c" onClick={() => void createAndOpen()}>
          <Plus className="i i14" aria-hidden="true" /> New prompt <span className="kbd">C</span>
        </button>
      </header>
      <div className="tools">
        <label className="input">
          <Search className="i i14 t3" aria-hidden="true" />
          <input
            className="bare"
            data-search
            placeholder="Search names"
            aria-label="Search names"
            value={find}
            onChange={(event) => setFind(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Escape") return;
              setFind("");
              event.currentTarget.blur();
            }}
          />
          <span className="kbd">/</span>
        </label>
        <span className="grow" />
        <LiveNow prompts={inScope} />
      </div>
      <PromptTable
        prompts={shown}
        me={me}
        nothing={wanted === "" ? "No prompts here yet." : "No name contains that."}
      />
    </>
  );
}

function LiveNow({ prompts }: { readonly prompts: readonly Prompt[] }) {
  const people = prompts.reduce((sum, prompt) => sum + prompt.people, 0);
  const running = prompts.reduce((sum, prompt) => sum + prompt.running, 0);
  if (people === 0 && running === 0) return null;
  return (
    <span className="t3 small">
      {people === 1 ? "1 person" : `${people} people`} in rooms, {plural(running, "run")} live
    </span>
  );
}

function Waiting() {
  return (
    <div className="pad" aria-hidden="true">
      {[52, 70, 61, 44].map((width) => (
        <span key={width} className="skel" style={{ width: `${width}%`, margin: "12px 0" }} />
      ))}
    </div>
  );
}
