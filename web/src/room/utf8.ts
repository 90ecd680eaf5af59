//! Places in UTF-8 and in UTF-16 for the same text.

/** The UTF-16 index that lies `bytes` UTF-8 bytes after `from`; rounded down to a whole character. */
export function indexAfterBytes(text: string, from: number, bytes: number): number {
  let index = from;
  let left = bytes;
  while (index < text.length) {
    const point = text.codePointAt(index) ?? 0;
    const width = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (width > left) break;
    left -= width;
    index += point > 0xffff ? 2 : 1;
  }
  return index;
}
