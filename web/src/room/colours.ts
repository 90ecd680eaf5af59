//! Which of the eight presence colours somebody has: given out in order of arrival, and the same for everybody.

export const COLOURS = 8;
/** The values of `--p-1` … `--p-8`, for other Yjs tools, which want a colour and not a number. */
const HEX = ["#8054D6", "#B94E1E", "#087C77", "#B2429F", "#0076AF", "#447C2F", "#C83859", "#93660B"] as const;

export function colourHex(colour: number): string {
  return HEX[(colour - 1) % COLOURS] ?? HEX[0];
}

/** The first colour that nobody has; when all are taken, the one that the id falls on. */
export function freeColour(taken: ReadonlySet<number>, id: string): number {
  for (let colour = 1; colour <= COLOURS; colour += 1) if (!taken.has(colour)) return colour;
  return colourByName(id);
}

/** For somebody who is not here and was not seen. */
export function colourByName(id: string): number {
  let hash = 2_166_136_261;
  for (let index = 0; index < id.length; index += 1) hash = Math.imul(hash ^ id.charCodeAt(index), 16_777_619);
  return ((hash >>> 0) % COLOURS) + 1;
}
