//! Which input set this person tests with in a prompt: kept in this browser, shared with nobody.

export function readChosenInputs(prompt: string): string | null {
  try {
    return globalThis.localStorage?.getItem(`promptroom.inputs.${prompt}`) ?? null;
  } catch {
    return null;
  }
}

export function writeChosenInputs(prompt: string, id: string): void {
  try {
    globalThis.localStorage?.setItem(`promptroom.inputs.${prompt}`, id);
  } catch {
    // Full or forbidden: the choice lasts as long as the page.
  }
}
