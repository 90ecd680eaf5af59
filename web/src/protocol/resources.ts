//! The JSON of the HTTP API, where it is not already a shape of the frames.

import type { BlockKind, MemberRole, Person, Rights, RunSummary } from "./shapes.ts";

/** Who is asking. */
export interface Me {
  me: Person;
  workspace: { id: string; name: string };
  /** Whether the credential is an API token. */
  token?: boolean;
  version: string;
}

export interface Member {
  id: string;
  name: string;
  role: MemberRole;
  kind: "member" | "token";
  created_at_ms: number;
  last_seen_at_ms?: number;
}

export interface Invite {
  id: string;
  /** Only in the answer that made it. */
  url?: string;
  role: MemberRole;
  expires_at_ms: number;
}

export type Visibility = "private" | "workspace";

export interface Prompt {
  id: string;
  slug: string;
  title: string;
  visibility: Visibility;
  owner: { id: string; name: string };
  rights: Rights;
  created_at_ms: number;
  updated_at_ms: number;
  deleted_at_ms?: number;
  /** How many are in its room now. */
  people: number;
  running: number;
  last_run?: RunSummary;
}

/** A prompt's draft as plain JSON: what a run's source holds and what Restore takes. */
export interface PromptContent {
  title?: string;
  variants: VariantContent[];
  variables?: VariableContent[];
  inputs?: InputSetContent[];
}

export interface VariantContent {
  id: string;
  name: string;
  model: string;
  parameters: Record<string, unknown>;
  system: string;
  messages: MessageContent[];
}

/** The server sends a message in parts; here its text is one. */
export interface MessageContent {
  id?: string;
  role: "user" | "assistant";
  text: string;
}

export interface VariableContent {
  name: string;
  type: "text" | "json" | "number" | "boolean";
  default?: string;
}

export interface InputSetContent {
  id: string;
  name: string;
  values: Record<string, string>;
}

export interface NewPrompt {
  title?: string;
  slug?: string;
  visibility?: Visibility;
  content?: Partial<PromptContent>;
}

export interface PromptChange {
  slug?: string;
  visibility?: Visibility;
  title?: string;
}

/** Everything about one run. */
export interface RunDetail {
  run: RunSummary;
  /** The exact JSON sent to the model, secrets redacted. */
  request: unknown;
  source: RunSource;
  blocks: { block: number; kind: BlockKind; text: string }[];
}

/** What was cut for a run, and how its variables were filled. */
export interface RunSource {
  content: PromptContent;
  variant: string;
  values: Record<string, string>;
  /** Variables that went out literally. */
  unset: string[];
}

export interface ModelInfo {
  /** `lane/model` */
  id: string;
  label: string;
  lane: string;
  provider: string;
  context_tokens?: number;
  output_tokens_max?: number;
  price?: ModelPrice;
  /** Names of the parameters that it accepts. */
  parameters: string[];
  prefill: boolean;
  /** A sentence that must be shown beside it. */
  notice?: string;
}

export interface ModelPrice {
  input_nanos_per_mtok: number;
  cached_input_nanos_per_mtok: number;
  output_nanos_per_mtok: number;
  /** A date, as in the price list. */
  as_of: string;
}
