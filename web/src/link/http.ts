//! The HTTP API, one small function per request; a refusal is thrown as `RefusedError`.

import type {
  Invite,
  Me,
  Member,
  ModelInfo,
  NewPrompt,
  Prompt,
  PromptChange,
  PromptContent,
  RunDetail,
  VariantContent,
} from "../protocol/resources.ts";
import type { MemberRole, Problem, RunSummary } from "../protocol/shapes.ts";

const BASE = "/api/v1";
const ANSWER_TIMEOUT_MS = 15_000;

/** The server's "no", or its absence, with all that a person needs to see. */
export class RefusedError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.title);
    this.name = "RefusedError";
    this.problem = problem;
  }
}

export function signIn(credential: { link: string } | { invite: string; name: string }): Promise<Me> {
  return call("POST", "/session", credential);
}

export function signOut(): Promise<void> {
  return call("DELETE", "/session");
}

export function fetchMe(): Promise<Me> {
  return call("GET", "/me");
}

export function renameMe(name: string): Promise<unknown> {
  return call("PATCH", "/me", { name });
}

export async function fetchMembers(): Promise<Member[]> {
  return (await call<{ members: Member[] }>("GET", "/members")).members;
}

export function changeMember(id: string, role: MemberRole): Promise<unknown> {
  return call("PATCH", `/members/${encodeURIComponent(id)}`, { role });
}

export function removeMember(id: string): Promise<void> {
  return call("DELETE", `/members/${encodeURIComponent(id)}`);
}

export function createInvite(role: "editor" | "viewer"): Promise<Invite> {
  return call("POST", "/invites", { role });
}

export async function fetchInvites(): Promise<Invite[]> {
  return (await call<{ invites: Invite[] }>("GET", "/invites")).invites;
}

export function deleteInvite(id: string): Promise<void> {
  return call("DELETE", `/invites/${encodeURIComponent(id)}`);
}

export function createPrompt(prompt: NewPrompt): Promise<Prompt> {
  return call("POST", "/prompts", prompt);
}

export async function fetchPrompts(): Promise<Prompt[]> {
  return (await call<{ prompts: Prompt[] }>("GET", "/prompts")).prompts;
}

export async function fetchPrompt(idOrSlug: string): Promise<Prompt & { content: PromptContent }> {
  const path = `/prompts/${encodeURIComponent(idOrSlug)}`;
  const prompt = await call<Prompt & { content: ContentInParts }>("GET", path);
  return { ...prompt, content: joinParts(prompt.content) };
}

export function changePrompt(id: string, change: PromptChange): Promise<Prompt> {
  return call("PATCH", `/prompts/${encodeURIComponent(id)}`, change);
}

export function deletePrompt(id: string): Promise<void> {
  return call("DELETE", `/prompts/${encodeURIComponent(id)}`);
}

export function undeletePrompt(id: string): Promise<unknown> {
  return call("POST", `/prompts/${encodeURIComponent(id)}/restore`);
}

export async function fetchRuns(prompt: string, before: number | null, limit: number): Promise<RunSummary[]> {
  const query = new URLSearchParams({ limit: String(limit) });
  if (before !== null) query.set("before", String(before));
  return (await call<{ runs: RunSummary[] }>("GET", `/prompts/${encodeURIComponent(prompt)}/runs?${query}`)).runs;
}

export async function fetchRun(id: string): Promise<RunDetail> {
  const path = `/runs/${encodeURIComponent(id)}`;
  const run = await call<RunDetail & { source: { content: ContentInParts } }>("GET", path);
  return { ...run, source: { ...run.source, content: joinParts(run.source.content) } };
}

export async function fetchModels(): Promise<ModelInfo[]> {
  return (await call<{ models: ModelInfo[] }>("GET", "/models")).models;
}

/** A problem made in the page, in the same words and shape as the server's. */
export function localProblem(code: string, title: string, detail: string, rest: Partial<Problem> = {}): Problem {
  return { type: "about:blank", title, status: 0, code, detail, ...rest };
}

interface ContentInParts extends Omit<PromptContent, "variants"> {
  variants: (Omit<VariantContent, "messages"> & {
    messages: { id: string; role: "user" | "assistant"; parts: { kind: "text"; id: string; text: string }[] }[];
  })[];
}

function joinParts(content: ContentInParts): PromptContent {
  const variants = content.variants.map((variant) => ({
    ...variant,
    messages: variant.messages.map(({ id, role, parts }) => ({
      id,
      role,
      text: parts.map((part) => part.text).join(""),
    })),
  }));
  return { ...content, variants };
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers,
      credentials: "same-origin",
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new RefusedError(
      localProblem(
        "network.unreachable",
        "No answer from the server",
        "The request did not reach the server or got no answer in time.",
        {
          next: "Check the connection and try again.",
        },
      ),
    );
  }
  if (!response.ok) throw new RefusedError(await readProblem(response));
  if (response.status === 204) return undefined as T;
  const text = await response.text();
  return (text === "" ? undefined : JSON.parse(text)) as T;
}

async function readProblem(response: Response): Promise<Problem> {
  const requestId = response.headers.get("x-request-id");
  const named = requestId === null ? {} : { request_id: requestId };
  try {
    const body = (await response.json()) as Partial<Problem>;
    if (typeof body.code === "string" && typeof body.title === "string") {
      return { ...localProblem(body.code, body.title, body.detail ?? ""), status: response.status, ...named, ...body };
    }
  } catch {
    // A proxy's own error page is not JSON; the status says enough.
  }
  return {
    ...localProblem(
      "http.unexpected",
      "The server gave an unexpected answer",
      `It answered with status ${response.status}.`,
      {
        next: "Try again.",
      },
    ),
    status: response.status,
    ...named,
  };
}
