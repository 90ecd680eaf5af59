//! Who can open this prompt: its visibility, its link, and an invitation for somebody who is not a member yet.

import { Copy, Lock, Users } from "lucide-react";
import { useEffect, useState } from "react";
import { changePrompt, fetchPrompt } from "../../link/http.ts";
import type { Prompt, Visibility } from "../../protocol/resources.ts";
import { account } from "../account.ts";
import { copyText } from "../copy.ts";
import { Segments } from "../parts/Segments.tsx";
import { useReadable } from "../readable.ts";
import { toastRefusal } from "../toasts.ts";
import { InviteLink } from "./InviteLink.tsx";
import { ModalDialog } from "./ModalDialog.tsx";

const VISIBILITIES = [
  { value: "private", label: "Private" },
  { value: "workspace", label: "Workspace" },
] as const;

export function ShareDialog({ prompt: id, onClose }: { readonly prompt: string; readonly onClose: () => void }) {
  const [prompt, setPrompt] = useState<Prompt | null>(null);
  const signedIn = useReadable(account);
  const me = signedIn.kind === "signed_in" ? signedIn.me.me : null;
  const invites = me?.role === "owner" || me?.role === "admin";
  useEffect(() => {
    fetchPrompt(id)
      .then(setPrompt)
      .catch((error: unknown) => toastRefusal(error, "The prompt's settings could not be read"));
  }, [id]);
  const change = async (visibility: Visibility) => {
    if (!prompt) return;
    setPrompt({ ...prompt, visibility });
    try {
      await changePrompt(prompt.id, { visibility });
    } catch (error) {
      setPrompt(prompt);
      toastRefusal(error, "The visibility could not be changed");
    }
  };
  const link = `${location.origin}/p/${prompt?.slug ?? id}`;
  return (
    <ModalDialog title="Share" onClose={onClose}>
      <div className="body">
        <Access prompt={prompt} mine={prompt !== null && prompt.owner.id === me?.id} onChange={change} />
        <h3>Link for members</h3>
        <div className="linkbox">
          <input className="input" readOnly value={link} aria-label="Link to this prompt" />
          <button type="button" className="btn" onClick={() => void copyText(link, "Link copied")}>
            <Copy className="i i14" aria-hidden="true" /> Copy
          </button>
        </div>
        {invites && (
          <>
            <h3>Somebody who is not a member yet</h3>
            <InviteLink onCreated={() => undefined} />
          </>
        )}
      </div>
    </ModalDialog>
  );
}

interface AccessProps {
  readonly prompt: Prompt | null;
  readonly mine: boolean;
  readonly onChange: (visibility: Visibility) => Promise<void>;
}

function Access({ prompt, mine, onChange }: AccessProps) {
  if (!prompt) return <span className="skel" style={{ height: 28 }} />;
  const open = prompt.visibility === "workspace";
  const Icon = open ? Users : Lock;
  const changes = prompt.rights.manage || mine;
  return (
    <div className="row" style={{ minHeight: 40 }}>
      <Icon className="i t3" aria-hidden="true" />
      <span className="grow">
        {open ? "Every member of the workspace can open it" : `Only ${mine ? "you" : prompt.owner.name} can open it`}
      </span>
      {changes && (
        <Segments
          label="Visibility"
          value={prompt.visibility}
          options={VISIBILITIES}
          onChange={(visibility) => void onChange(visibility)}
        />
      )}
    </div>
  );
}
