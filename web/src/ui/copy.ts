//! Copying to the clipboard, also where the page is served over plain HTTP and the browser's own way is closed.

import { toast } from "./toasts.ts";

export async function copyText(text: string, said: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copyBySelection(text)) return toast("The browser did not allow copying");
  }
  toast(said);
}

function copyBySelection(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "vh";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}
