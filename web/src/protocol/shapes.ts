//! The JSON inside our own frames: the same shapes as `protocol/src/shapes.rs`.

export interface Hello {
  version: number;
  prompt: string;
  slug: string;
  lineage: string;
  head: number;
  me: Person;
  rights: Rights;
  request_id: string;
  limits: Limits;
  runs: RunSummary[];
}

export type MemberRole = "viewer" | "runner" | "editor" | "admin" | "owner";

export interface Person {
  id: string;
  name: string;
  role: MemberRole;
  /** The client id of the person's document in this room, once it is known. */
  client?: number;
}

export interface Rights {
  edit: boolean;
  run: boolean;
  manage: boolean;
}

export interface Limits {
  message_bytes: number;
  document_bytes: number;
  awareness_bytes: number;
  watched_runs: number;
}

export type RunOrigin = "run" | "regenerate" | "continue";

export type RunState =
  | "queued"
  | "admitted"
  | "streaming"
  | "recovering"
  | "completed"
  | "truncated"
  | "cancelled"
  | "failed"
  | "interrupted"
  | "rejected";

export interface RunSummary {
  id: string;
  prompt: string;
  number: number;
  origin: RunOrigin;
  parent?: string;
  by: Person;
  variant: string;
  model: string;
  state: RunState;
  epoch: number;
  bytes: number;
  hash: string;
  parameters: unknown;
  created_at_ms: number;
  admitted_at_ms?: number;
  first_token_at_ms?: number;
  ended_at_ms?: number;
  queue?: QueuePlace;
  stop_reason?: StopReason;
  stop_sequence?: string;
  stopped_by?: Person;
  usage?: Usage;
  /** Billionths of a US dollar. */
  cost?: number;
  attempts: number;
  seams?: Seam[];
  problem?: Problem;
}

export interface QueuePlace {
  position: number;
  waiting: number;
  reason: string;
}

export type StopReason =
  | "end"
  | "stop_sequence"
  | "max_tokens"
  | "tool_calls"
  | "refusal"
  | "pause"
  | "context_full"
  | "content_filter";

export interface Usage {
  input_tokens: number;
  cached_input_tokens: number;
  output_tokens: number;
  reasoning_tokens: number;
  estimated: boolean;
}

export interface Seam {
  epoch: number;
  offset: number;
  at_ms: number;
  gap_ms: number;
}

export type BlockKind = "text" | "reasoning" | "tool_call";

export type Command = { id: string } & Action;

export type Action =
  | { do: "run"; variant?: string | null; inputs?: string | null; overrides?: Overrides }
  | { do: "cancel"; run: string }
  | { do: "regenerate"; run: string }
  | { do: "continue"; run: string };

export interface Overrides {
  model?: string;
  parameters?: Record<string, unknown>;
  values?: Record<string, string>;
}

export type Reply = { id: string } & ({ ok: { run: RunSummary } } | { error: Problem });

/** RFC 9457, with what is kept and what to do next. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  code: string;
  detail: string;
  kept?: string;
  next?: string;
  request_id?: string;
  retry_after_ms?: number;
}

/** The first terminal state wins and stays. */
export function isTerminal(state: RunState): boolean {
  switch (state) {
    case "queued":
    case "admitted":
    case "streaming":
    case "recovering":
      return false;
    case "completed":
    case "truncated":
    case "cancelled":
    case "failed":
    case "interrupted":
    case "rejected":
      return true;
    default:
      state satisfies never;
      return true;
  }
}
