//! A parameter that is a number: typed freely, taken on Enter or when one leaves the field.

import { useEffect, useState } from "react";
import { usePromptDocument } from "../room/RoomContext.ts";
import { count } from "../units.ts";

export interface NumberSettingProps {
  readonly name: "temperature" | "top_p" | "max_tokens" | "seed";
  readonly label: string;
  readonly value: number | undefined;
  readonly min: number;
  readonly max?: number;
  readonly whole?: boolean;
}

export function NumberSetting({
  name,
  label,
  value,
  min,
  max = Number.MAX_SAFE_INTEGER,
  whole = false,
}: NumberSettingProps) {
  const prompt = usePromptDocument();
  const [typed, setTyped] = useState<string | null>(null);
  const [bad, setBad] = useState(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: somebody else's change wins over what was half typed
  useEffect(() => setTyped(null), [value]);
  const written = value === undefined ? "" : whole && name !== "seed" ? count(value) : String(value);
  const commit = () => {
    if (typed === null) return;
    const text = typed.replaceAll(/[\s,_]/g, "");
    const number = Number(text);
    const valid =
      text === "" ||
      (Number.isFinite(number) && number >= min && number <= max && !(whole && !Number.isInteger(number)));
    setBad(!valid);
    if (!valid) return;
    setTyped(null);
    prompt.setParameter(name, text === "" ? undefined : number);
  };
  return (
    <input
      className={bad ? "input bad" : "input"}
      inputMode="decimal"
      aria-label={label}
      aria-invalid={bad}
      placeholder="auto"
      value={typed ?? written}
      onChange={(event) => setTyped(event.target.value)}
      onBlur={commit}
      onKeyDown={(event) => {
        if (event.key === "Enter" && !event.metaKey && !event.ctrlKey) commit();
        if (event.key !== "Escape" || typed === null) return;
        event.preventDefault();
        setTyped(null);
        setBad(false);
      }}
    />
  );
}
