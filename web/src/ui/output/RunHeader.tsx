//! Whose run it is, who watches, and which view is shown.

import { isTerminal, type RunSummary } from "../../protocol/shapes.ts";
import { useNow } from "../now.ts";
import { AvatarRow } from "../parts/Avatar.tsx";
import { OutcomeMark } from "../parts/Outcome.tsx";
import { Segments } from "../parts/Segments.tsx";
import { useReadable } from "../readable.ts";
import { MemberAvatar } from "../room/MemberAvatar.tsx";
import { useRoom } from "../room/RoomContext.ts";
import { firstName, when } from "../units.ts";

export type RunView = "rendered" | "raw" | "request";

const VIEWS = [
  { value: "rendered", label: "Rendered" },
  { value: "raw", label: "Raw" },
  { value: "request", label: "Request" },
] as const;

export interface RunHeaderProps {
  readonly run: RunSummary;
  readonly view: RunView;
  readonly onView: (view: RunView) => void;
  /** Nothing to view yet. */
  readonly waiting: boolean;
}

export function RunHeader({ run, view, onView, waiting }: RunHeaderProps) {
  const room = useRoom();
  const now = useNow(30_000);
  const { me } = useReadable(room.session);
  const live = !isTerminal(run.state);
  return (
    <div className="pane-head">
      <h2 className="title">Run {run.number}</h2>
      <span className="by grow">
        by <MemberAvatar member={run.by} size="sm" />
        <span className="cut">
          {run.by.id === me?.id ? "you" : firstName(run.by.name)}
          {!live && ` · ${when(run.ended_at_ms ?? run.created_at_ms, now)}`}
          <Lineage run={run} />
        </span>
      </span>
      {live && !waiting && <Watching run={run.id} />}
      {waiting ? <OutcomeMark run={run} /> : <Segments label="View" value={view} options={VIEWS} onChange={onView} />}
    </div>
  );
}

function Lineage({ run }: { readonly run: RunSummary }) {
  const { runs } = useReadable(useRoom().runs.list);
  const parent = runs.find((other) => other.id === run.parent);
  if (!parent || run.origin === "run") return null;
  return (
    <span className="t3">
      {run.origin === "continue" ? ` · goes on from ${parent.number}` : ` · again as ${parent.number}`}
    </span>
  );
}

function Watching({ run }: { readonly run: string }) {
  const people = useReadable(useRoom().presence.people).filter((person) => person.watching === run);
  if (people.length < 2) return null;
  return (
    <span className="row not-narrow" style={{ marginRight: 4, gap: 8 }}>
      <AvatarRow people={people} size="sm" ground="var(--surface)" label={people.map((one) => one.name).join(", ")} />
      <span className="t2 small" style={{ whiteSpace: "nowrap" }}>
        {people.length} watching
      </span>
    </span>
  );
}
