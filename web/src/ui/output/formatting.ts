//! Renders finished markdown in small portions, so that a long output that arrives at once does not stop the page.

type RenderMarkdown = (source: string) => HTMLElement;

interface Job {
  readonly source: string;
  readonly place: HTMLElement;
  readonly done: (formatted: HTMLElement) => void;
}

/** How much of a frame may go into it. */
const FRAME_BUDGET_MS = 6;

let render: RenderMarkdown | null = null;
let isLoading = false;
let isScheduled = false;
let fromEnd = false;
/** How much of this frame went into it. */
let spentMs = 0;
const jobs: Job[] = [];

/** At once if it is quick, otherwise within the next frames; not at all if the place is gone by then. */
export function formatSoon(source: string, place: HTMLElement, done: (formatted: HTMLElement) => void): void {
  if (render && jobs.length === 0 && spentMs < FRAME_BUDGET_MS && !isMarked(place)) {
    const start = performance.now();
    done(render(source));
    spentMs += performance.now() - start;
    schedule();
    return;
  }
  jobs.push({ source, place, done });
  if (render) schedule();
  else if (!isLoading) void load();
}

async function load(): Promise<void> {
  isLoading = true;
  render = (await import("./markdown.ts")).renderMarkdown;
  schedule();
}

function schedule(): void {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(work);
}

function work(): void {
  isScheduled = false;
  spentMs = 0;
  const start = performance.now();
  const held: Job[] = [];
  while (render && jobs.length > 0 && performance.now() - start < FRAME_BUDGET_MS) {
    const job = takeJob();
    if (!job?.place.isConnected) continue;
    if (isMarked(job.place)) held.push(job);
    else job.done(render(job.source));
  }
  jobs.push(...held);
  if (jobs.length === 0) return;
  spentMs = performance.now() - start;
  schedule();
}

/** From both ends in turn: one reads either from the start or at the end. */
function takeJob(): Job | undefined {
  fromEnd = !fromEnd;
  return fromEnd ? jobs.pop() : jobs.shift();
}

/** A passing line is shown in the text; it is formatted when that is gone. */
function isMarked(place: HTMLElement): boolean {
  return place.querySelector(".resume") !== null;
}
