//! A run's parameters arrive as plain JSON; here they are read with care.

export function numberOf(parameters: unknown, name: string): number | null {
  if (typeof parameters !== "object" || parameters === null) return null;
  const value = (parameters as Record<string, unknown>)[name];
  return typeof value === "number" ? value : null;
}

export function maxTokensOf(parameters: unknown): number | null {
  return numberOf(parameters, "max_tokens");
}

/** As it is shown: sequences on one line, nothing for what is not set. */
export function parameterText(value: unknown): string {
  if (value === undefined || value === null || value === "") return "";
  if (typeof value === "string") return value.split("\n").join(" ");
  return typeof value === "number" ? String(value) : JSON.stringify(value);
}
