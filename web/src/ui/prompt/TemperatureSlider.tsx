//! Temperature, as a slider. Backspace gives it back to the model.

import type { CSSProperties } from "react";
import { usePromptDocument } from "../room/RoomContext.ts";

export interface TemperatureSliderProps {
  readonly value: number | undefined;
  readonly valueMax: number;
}

/** Where the slider rests while the model's own temperature is used. */
const REST = 1;

export function TemperatureSlider({ value, valueMax }: TemperatureSliderProps) {
  const prompt = usePromptDocument();
  const at = value ?? REST;
  const style = { "--v": Math.min(1, at / valueMax) } as CSSProperties;
  return (
    <label className={value === undefined ? "slider off" : "slider"} title="Temperature. Backspace: the model’s own">
      Temp
      <input
        type="range"
        min={0}
        max={valueMax}
        step={0.1}
        value={at}
        style={style}
        aria-label="Temperature"
        aria-valuetext={value === undefined ? "the model’s own" : String(value)}
        onChange={(event) => prompt.setParameter("temperature", Number(event.target.value))}
        onKeyDown={(event) => {
          if (event.key === "Backspace" || event.key === "Delete") prompt.setParameter("temperature", undefined);
        }}
      />
      <span className="val">{value === undefined ? "auto" : value.toFixed(1)}</span>
    </label>
  );
}
