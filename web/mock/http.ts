//! Answers the HTTP API from made-up data.

import type { Stage } from "./scenes.ts";

const NANOS = 1_000_000_000;
const HOUR = 3_600_000;

export function answerFetch(stage: Stage, scene: string): void {
  window.fetch = async (input, init) => {
    const path = new URL(String(input instanceof Request ? input.url : input), location.origin).pathname.replace("/api/v1", "");
    const body = answer(stage, scene, init?.method ?? "GET", path);
    if (body === null) return new Response(null, { status: 204 });
    const status = (body as { status?: number }).status ?? 200;
    return new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json" } });
  };
}

function answer(stage: Stage, scene: string, method: string, path: string): unknown {
  const me = { id: stage.id("Jonas"), name: "Jonas", role: stage.role };
  if (path === "/me" && scene === "signedout") return problem(401, "auth.sign_in_needed", "Sign in to go on");
  if (path === "/session" && method === "POST") {
    return scene === "usedlink"
      ? problem(410, "auth.link_used", "This link was used already", "A link signs in once.", "Run promptroom link for a new one.")
      : { me, workspace: { id: "w", name: "Parcelwise" }, version: "0.1.0" };
  }
  if (path === "/me") return { me, workspace: { id: "w", name: "Parcelwise" }, version: "0.1.0" };
  if (path === "/models") return { models: MODELS };
  if (path === "/members") return { members: members(stage) };
  if (path === "/invites" && method === "POST") {
    return { id: "i2", url: `${location.origin}/invite/8Zk2vQx7nR4tW1pLs9cA`, role: "editor", expires_at_ms: Date.now() + 7 * 24 * HOUR };
  }
  if (path === "/invites") return { invites: [{ id: "i1", role: "viewer", expires_at_ms: Date.now() + 40 * HOUR }] };
  if (path === "/prompts" && method === "GET") return { prompts: scene === "empty" ? [] : prompts(stage) };
  if (path.startsWith("/prompts/") && path.endsWith("/runs")) return { runs: [] };
  if (path.startsWith("/prompts/") && method === "GET") return { ...prompts(stage)[0], content: stage.content() };
  if (path.startsWith("/runs/")) return stage.detail(path.slice(6));
  if (method === "DELETE") return null;
  return { ok: true };
}

export function problem(status: number, code: string, title: string, detail = "", next = "", kept = "") {
  return { type: "about:blank", status, code, title, detail, next, kept, request_id: "01985d8m-4k9x-7q2b-a1f0-2c3d4e5f6a7b" };
}

function members(stage: Stage) {
  const member = (name: string, role: string, ago: number, kind = "member") => ({
    id: stage.id(name), name, role, kind, created_at_ms: Date.now() - 90 * HOUR, last_seen_at_ms: Date.now() - ago,
  });
  return [member("Jonas", stage.role, 0), member("Ana", "admin", 60_000), member("Ravi", "editor", 3_000_000), member("Mei", "viewer", 30 * HOUR), member("nightly", "runner", 5 * HOUR, "token")];
}

function prompts(stage: Stage) {
  const by = (name: string) => ({ id: stage.id(name), name });
  const run = (name: string, state: string, agoMs: number, bytes = 400) => ({
    id: "r", prompt: "p", number: 3, origin: "run", by: { ...by(name), role: "editor" }, variant: "main", model: "demo/markdown", state, epoch: 1, bytes, hash: "h",
    parameters: {}, created_at_ms: Date.now() - agoMs, ended_at_ms: Date.now() - agoMs, attempts: 1,
  });
  const row = (title: string, owner: string, visibility: string, people: number, running: number, agoMs: number, last?: object) => ({
    id: title, slug: title.toLowerCase().replaceAll(" ", "-"), title, visibility, owner: by(owner), rights: { edit: true, run: true, manage: owner === "Jonas" },
    created_at_ms: 0, updated_at_ms: Date.now() - agoMs, people, running, ...(last ? { last_run: last } : {}),
  });
  return [
    row("Ticket triage", "Jonas", "workspace", 4, 1, 5_000, run("Ana", "streaming", 2_000)),
    row("Refund policy answers", "Mei", "workspace", 1, 1, 12 * 60_000, run("Mei", "streaming", 9_000)),
    row("Conversation summary", "Ravi", "workspace", 0, 0, 3 * HOUR, run("Ravi", "completed", 3 * HOUR)),
    row("Tone check", "Jonas", "private", 0, 0, 26 * 60_000, run("Jonas", "completed", 26 * 60_000)),
    row("Carrier delay notice with a rather long name that has to be cut somewhere", "Ana", "workspace", 0, 0, 30 * HOUR, run("Ana", "failed", 30 * HOUR)),
    row("Macro suggestions", "Jonas", "private", 0, 0, 200 * HOUR, run("Mei", "cancelled", 200 * HOUR)),
    row("", "Jonas", "private", 0, 0, 300 * HOUR),
  ];
}

const price = (input: number, output: number) => ({
  input_nanos_per_mtok: input * NANOS, cached_input_nanos_per_mtok: (input * NANOS) / 10, output_nanos_per_mtok: output * NANOS, as_of: "2026-11-01",
});
const ALL = ["temperature", "top_p", "max_tokens", "stop", "seed"];
const MODELS = [
  { id: "anthropic/claude-sonnet-4-5", label: "Claude Sonnet 4.5", lane: "anthropic", provider: "anthropic", context_tokens: 200_000, output_tokens_max: 64_000, price: price(3, 15), parameters: ["temperature", "top_p", "max_tokens", "stop"], prefill: true },
  { id: "openai/gpt-4.1-mini", label: "GPT-4.1 mini", lane: "openai", provider: "openai", context_tokens: 1_000_000, output_tokens_max: 32_000, price: price(0.4, 1.6), parameters: ALL, prefill: false },
  { id: "demo/markdown", label: "Demo: markdown", lane: "demo", provider: "demo", context_tokens: 32_000, price: price(0, 0), parameters: ALL, prefill: true, notice: "Not an AI: it answers from a script." },
  { id: "demo/slow", label: "Demo: slow", lane: "demo", provider: "demo", context_tokens: 32_000, price: price(0, 0), parameters: ALL, prefill: true, notice: "Not an AI: it answers from a script." },
];
