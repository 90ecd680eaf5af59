//! A person as a letter on their colour, and several of them in a row.

import type { CSSProperties } from "react";
import type { Present } from "../../room/api.ts";

export interface AvatarProps {
  readonly name: string;
  readonly colour: number;
  readonly size?: "sm" | "xs";
  readonly away?: boolean;
  readonly title?: string;
}

export function Avatar({ name, colour, size, away = false, title }: AvatarProps) {
  const letter = [...name.trim()][0]?.toUpperCase() ?? "?";
  const classes = ["av", size, away ? "away" : ""].filter(Boolean).join(" ");
  return (
    <span className={classes} style={colourOf(colour)} title={title ?? name}>
      {letter}
    </span>
  );
}

const SHOWN_MAX = 5;

export interface AvatarRowProps {
  readonly people: readonly Present[];
  readonly label: string;
  readonly size?: "sm";
  readonly ground?: string;
}

export function AvatarRow({ people, label, size, ground }: AvatarRowProps) {
  const shown = people.length > SHOWN_MAX ? people.slice(0, SHOWN_MAX - 1) : people;
  const style = ground ? ({ "--ground": ground } as CSSProperties) : undefined;
  return (
    <span className="avs" role="img" aria-label={label} style={style}>
      {shown.map((person) => (
        <Avatar
          key={person.id}
          name={person.name}
          colour={person.colour}
          away={person.away}
          title={nameWithMark(person)}
          {...(size ? { size } : {})}
        />
      ))}
      {shown.length < people.length && (
        <span className={`av more ${size ?? ""}`} title={namesOf(people.slice(shown.length))}>
          +{people.length - shown.length}
        </span>
      )}
    </span>
  );
}

export function colourOf(colour: number): CSSProperties {
  return { "--c": `var(--p-${colour})` } as CSSProperties;
}

function nameWithMark(person: Present): string {
  return [person.name, person.me ? " (you)" : "", person.away ? ", away" : ""].join("");
}

function namesOf(people: readonly Present[]): string {
  return people.map((person) => person.name).join(", ");
}
