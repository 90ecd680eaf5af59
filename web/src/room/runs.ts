//! The room's runs: the list, what the pane shows of it, and the commands that start and stop them.

import { fetchRun, fetchRuns, localProblem, RefusedError } from "../link/http.ts";
import type { ClientFrame, ServerFrame } from "../protocol/frames.ts";
import type { RunDetail } from "../protocol/resources.ts";
import {
  type Action,
  isTerminal,
  type Overrides,
  type Problem,
  type Reply,
  type RunSummary,
} from "../protocol/shapes.ts";
import type { Output, RunList, Runs, Shown, StartingRun } from "./api.ts";
import { Commands, type PendingCommand } from "./commands.ts";
import { Outputs } from "./outputs.ts";
import { Store } from "./store.ts";

const PAGE_RUNS = 50;

export interface RunsOptions {
  send(frame: ClientFrame): boolean;
  /** The variant and the input set that a run would use now. */
  draft(): { variant: string | null; inputs: string | null };
  onShown(run: string | null): void;
}

/** How the reader follows: the newest run, or one that they hold on to. */
type Hold = { kind: "following" } | { kind: "holding"; run: string | null; newestNumber: number };

export class LiveRuns implements Runs {
  readonly list = new Store<RunList>({ runs: [], more: false, loading: false });
  readonly shown = new Store<Shown>({
    run: null,
    starting: null,
    refused: null,
    mode: "following",
    chip: null,
    stopping: new Set(),
  });

  private readonly options: RunsOptions;
  private readonly commands: Commands;
  private readonly outputs: Outputs;
  private readonly known = new Map<string, RunSummary>();
  private prompt: string | null = null;
  private me: string | null = null;
  private isOpen = false;
  private hasMore = false;
  private isLoading = false;
  private how: Hold = { kind: "following" };
  private refused: Problem | null = null;

  constructor(options: RunsOptions) {
    this.options = options;
    this.commands = new Commands((command) => this.isOpen && options.send({ type: "command", body: command }));
    this.outputs = new Outputs((frame) => this.isOpen && options.send(frame));
  }

  follow(): void {
    this.how = { kind: "following" };
    this.refresh();
  }

  choose(run: string): void {
    this.how = { kind: "holding", run, newestNumber: this.newest()?.number ?? 0 };
    this.refresh();
  }

  hold(): void {
    if (this.how.kind === "holding") return;
    const run = this.shown.getSnapshot().run?.id ?? null;
    if (run === null) return;
    this.choose(run);
  }

  start(options: { readonly overrides?: Overrides } = {}): Promise<RunSummary> {
    return this.begin({ do: "run", ...this.options.draft(), overrides: options.overrides ?? {} });
  }

  regenerate(run: string): Promise<RunSummary> {
    return this.begin({ do: "regenerate", run });
  }

  continueRun(run: string): Promise<RunSummary> {
    return this.begin({ do: "continue", run });
  }

  cancel(run: string): Promise<RunSummary> {
    const asked = this.commands.list().find(({ command }) => command.do === "cancel" && command.run === run);
    if (asked !== undefined) return asked.answer;
    this.outputs.find(run)?.freeze();
    return this.ask({ do: "cancel", run });
  }

  async loadMore(): Promise<void> {
    if (this.isLoading || !this.hasMore || this.prompt === null) return;
    const oldest = Math.min(...[...this.known.values()].map((run) => run.number));
    this.isLoading = true;
    this.refresh();
    try {
      const runs = await fetchRuns(this.prompt, Number.isFinite(oldest) ? oldest : null, PAGE_RUNS);
      for (const run of runs) this.learn(run);
      this.hasMore = runs.length >= PAGE_RUNS;
    } finally {
      this.isLoading = false;
      this.refresh();
    }
  }

  detail(run: string): Promise<RunDetail> {
    return fetchRun(run);
  }

  output(run: string): Output {
    return this.outputs.hold(run, this.known.get(run));
  }

  /** A socket's first frame; commands and watches wait for `lineBack`. */
  hello(prompt: string, me: string, runs: readonly RunSummary[]): void {
    this.prompt = prompt;
    this.me = me;
    if (this.known.size === 0) this.hasMore = runs.length >= PAGE_RUNS;
    for (const run of runs) this.learn(run);
    this.refresh();
  }

  /** The document is joined: what was asked meanwhile goes out after the edits that came before it. */
  lineBack(watchedMax: number): void {
    this.isOpen = true;
    this.commands.sendAgain();
    this.outputs.lineBack(watchedMax);
    this.refresh();
  }

  lineLost(): void {
    this.isOpen = false;
    this.commands.lineLost();
    this.outputs.lineLost(Date.now());
    this.refresh();
  }

  run(run: RunSummary): void {
    this.learn(run);
    this.refresh();
  }

  reply(reply: Reply): void {
    if ("ok" in reply) this.learn(reply.ok.run);
    const asked = this.commands.reply(reply);
    if (asked !== null && "error" in reply) {
      if (asked.command.do === "cancel") this.outputs.find(asked.command.run)?.thaw();
      else this.refused = reply.error;
    }
    this.refresh();
  }

  outputFrame(frame: Extract<ServerFrame, { type: "records" | "rewind" | "end" }>): void {
    this.outputs.frame(frame);
  }

  close(): void {
    this.isOpen = false;
    const gone = localProblem(
      "page.left",
      "The room was closed",
      "This command was not answered before the page left the room.",
    );
    this.commands.refuseAll(new RefusedError(gone));
  }

  private begin(action: Action): Promise<RunSummary> {
    this.refused = null;
    this.how = { kind: "following" };
    return this.ask(action);
  }

  private ask(action: Action): Promise<RunSummary> {
    const asked = this.commands.ask(action);
    if (asked instanceof RefusedError) {
      if (action.do !== "cancel") this.refused = asked.problem;
      this.refresh();
      return Promise.reject(asked);
    }
    // Whoever presses a button need not wait for its answer: the refusal is in `shown` as well.
    asked.answer.catch(() => {});
    this.refresh();
    return asked.answer;
  }

  /** The first terminal state wins: a frame that was on its way does not bring a run back. */
  private learn(run: RunSummary): void {
    const before = this.known.get(run.id);
    if (before !== undefined && isTerminal(before.state) && !isTerminal(run.state)) return;
    this.known.set(run.id, run);
    if (run.seams !== undefined) this.outputs.find(run.id)?.tellSeams(run.seams);
  }

  private newest(): RunSummary | null {
    return this.list.getSnapshot().runs[0] ?? null;
  }

  private refresh(): void {
    const runs = [...this.known.values()].sort((a, b) => b.number - a.number);
    this.list.update((before) => {
      const same = before.runs.length === runs.length && before.runs.every((run, index) => run === runs[index]);
      const next = { runs: same ? before.runs : runs, more: this.hasMore, loading: this.isLoading };
      return same && before.more === next.more && before.loading === next.loading ? before : next;
    });
    this.shown.update((before) => this.readShown(before));
    this.options.onShown(this.shown.getSnapshot().run?.id ?? null);
  }

  private readShown(before: Shown): Shown {
    const starting =
      this.commands
        .list()
        .map(toStarting)
        .findLast((entry) => entry !== null) ?? null;
    const newest = this.newest();
    const how = this.how;
    const held = how.kind === "holding" && how.run !== null ? (this.known.get(how.run) ?? null) : null;
    const run = how.kind === "following" ? newest : held;
    const isChip =
      how.kind === "holding" && newest !== null && newest.number > how.newestNumber && newest.id !== run?.id;
    const next: Shown = {
      run,
      starting:
        before.starting !== null && starting !== null && isSame(before.starting, starting) ? before.starting : starting,
      refused: this.refused,
      mode: how.kind,
      chip: isChip && newest.by.id !== this.me ? newest : null,
      stopping: this.readStopping(before.stopping),
    };
    const keys = Object.keys(next) as (keyof Shown)[];
    return keys.every((key) => Object.is(next[key], before[key])) ? before : next;
  }

  private readStopping(before: ReadonlySet<string>): ReadonlySet<string> {
    const stopping = new Set<string>();
    const asked = this.commands.list().flatMap(({ command }) => (command.do === "cancel" ? [command.run] : []));
    for (const run of [...before, ...asked]) {
      const summary = this.known.get(run);
      const isAnswered = !asked.includes(run) && !this.outputs.find(run)?.isFrozen;
      if (summary !== undefined && !isTerminal(summary.state) && !isAnswered) stopping.add(run);
    }
    const same = stopping.size === before.size && [...stopping].every((run) => before.has(run));
    return same ? before : stopping;
  }
}

function toStarting({ command, sinceMs, sent }: PendingCommand): StartingRun | null {
  return command.do === "cancel" ? null : { command: command.id, kind: command.do, sinceMs, sent };
}

function isSame(a: StartingRun, b: StartingRun): boolean {
  return a.command === b.command && a.sent === b.sent;
}
