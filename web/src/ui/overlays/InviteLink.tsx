//! Making an invitation and copying its link: shown once, because the server keeps only a hash of it.

import { Copy, Link2 } from "lucide-react";
import { useId, useState } from "react";
import { createInvite } from "../../link/http.ts";
import type { Invite } from "../../protocol/resources.ts";
import { copyText } from "../copy.ts";
import { useNow } from "../now.ts";
import { toastRefusal } from "../toasts.ts";

type InviteRole = "editor" | "viewer";

export function InviteLink({ onCreated }: { readonly onCreated: () => void }) {
  const [role, setRole] = useState<InviteRole>("editor");
  const [made, setMade] = useState<Invite | null>(null);
  const select = useId();
  const create = async () => {
    try {
      setMade(await createInvite(role));
      onCreated();
    } catch (error) {
      toastRefusal(error, "The invitation could not be made");
    }
  };
  return (
    <>
      <div className="row">
        <label className="label" htmlFor={select}>
          Join as
        </label>
        <select
          id={select}
          className="native"
          value={role}
          onChange={(event) => setRole(event.target.value === "viewer" ? "viewer" : "editor")}
        >
          <option value="editor">Editor: edits and runs</option>
          <option value="viewer">Viewer: reads and watches</option>
        </select>
        <button type="button" className="btn" onClick={() => void create()}>
          <Link2 className="i i14" aria-hidden="true" /> Create invite link
        </button>
      </div>
      {made?.url && <MadeLink invite={made} url={made.url} />}
    </>
  );
}

function MadeLink({ invite, url }: { readonly invite: Invite; readonly url: string }) {
  const hours = Math.max(1, Math.round((invite.expires_at_ms - useNow(60_000)) / 3_600_000));
  const left = hours > 48 ? `${Math.round(hours / 24)} days` : `${hours} h`;
  return (
    <div style={{ marginTop: 10 }}>
      <div className="linkbox">
        <input
          className="input mono"
          readOnly
          value={url}
          aria-label="Invite link"
          onFocus={(e) => e.target.select()}
        />
        <button type="button" className="btn primary" onClick={() => void copyText(url, "Invite link copied")}>
          <Copy className="i i14" aria-hidden="true" /> Copy
        </button>
      </div>
      <p className="help" style={{ marginTop: 6 }}>
        For one person, as {invite.role}. Works for {left}, and is shown only now.
      </p>
    </div>
  );
}
