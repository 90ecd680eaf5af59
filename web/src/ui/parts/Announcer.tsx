//! The two lines that screen readers listen to.

import { politeLine, urgentLine } from "../announce.ts";
import { useReadable } from "../readable.ts";

export function Announcer() {
  const polite = useReadable(politeLine);
  const urgent = useReadable(urgentLine);
  return (
    <>
      <div className="vh" role="status" aria-live="polite">
        {polite}
      </div>
      <div className="vh" role="alert">
        {urgent}
      </div>
    </>
  );
}
