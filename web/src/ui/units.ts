//! How numbers, money and times are written: tabular, short, with a space before the unit.

const NANOS_PER_DOLLAR = 1_000_000_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Four decimals below one dollar, two above. */
export function money(nanodollars: number): string {
  const dollars = nanodollars / NANOS_PER_DOLLAR;
  if (dollars !== 0 && Math.abs(dollars) < 0.00005) return "<$0.0001";
  return `$${dollars.toFixed(Math.abs(dollars) < 1 ? 4 : 2)}`;
}

/** A price per million tokens, as short as it can be said: $3, $0.15. */
export function perMillion(nanosPerMtok: number): string {
  const dollars = nanosPerMtok / NANOS_PER_DOLLAR;
  return `$${Number.isInteger(dollars) ? dollars : dollars.toFixed(dollars < 0.1 ? 3 : 2)}`;
}

export function duration(ms: number): string {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < MINUTE_MS) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.floor(ms / MINUTE_MS);
  return `${minutes} min ${Math.round((ms % MINUTE_MS) / 1000)} s`;
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** 1.1k from a thousand on: for estimates, where the rest is noise. */
export function roughly(value: number): string {
  if (value < 1000) return `≈${value}`;
  return value < 100_000 ? `≈${(value / 1000).toFixed(1)}k` : `≈${Math.round(value / 1000)}k`;
}

export function contextSize(tokens: number): string {
  return tokens >= 1_000_000 ? `${tokens / 1_000_000}M context` : `${Math.round(tokens / 1000)}k context`;
}

/** Relative for an hour, then the clock, then the date. */
export function when(atMs: number, nowMs: number): string {
  const age = nowMs - atMs;
  if (age < 45_000) return "just now";
  if (age < HOUR_MS) return `${Math.max(1, Math.round(age / MINUTE_MS))} min ago`;
  const then = new Date(atMs);
  if (then.toDateString() === new Date(nowMs).toDateString()) return clock(atMs);
  if (then.toDateString() === new Date(nowMs - DAY_MS).toDateString()) return "yesterday";
  return then.toLocaleDateString("en-GB", { day: "numeric", month: "short", ...yearOf(then, nowMs) });
}

export function clock(atMs: number): string {
  return new Date(atMs).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
}

export function ordinal(position: number): string {
  const tail = position % 100;
  if (tail >= 11 && tail <= 13) return `${position}th`;
  return `${position}${["th", "st", "nd", "rd"][position % 10] ?? "th"}`;
}

/** "1 message", "3 messages". */
export function plural(amount: number, one: string): string {
  return `${count(amount)} ${one}${amount === 1 ? "" : "s"}`;
}

export function firstName(name: string): string {
  return name.trim().split(/\s+/)[0] ?? name;
}

function yearOf(then: Date, nowMs: number): { year?: "numeric" } {
  return then.getFullYear() === new Date(nowMs).getFullYear() ? {} : { year: "numeric" };
}
