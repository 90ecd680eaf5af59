//! Who is in the workspace: inviting, changing a role, removing. For the owner and admins; others may look.

import { X } from "lucide-react";
import { useCallback, useEffect, useState } from "react";
import { changeMember, deleteInvite, fetchInvites, fetchMembers, removeMember } from "../../link/http.ts";
import type { Invite, Member } from "../../protocol/resources.ts";
import type { MemberRole } from "../../protocol/shapes.ts";
import { account } from "../account.ts";
import { useNow } from "../now.ts";
import { Avatar } from "../parts/Avatar.tsx";
import { useReadable } from "../readable.ts";
import { toast, toastRefusal } from "../toasts.ts";
import { when } from "../units.ts";
import { InviteLink } from "./InviteLink.tsx";
import { ModalDialog } from "./ModalDialog.tsx";

const ROLES: readonly MemberRole[] = ["viewer", "runner", "editor", "admin"];

export function MembersDialog({ onClose }: { readonly onClose: () => void }) {
  const [members, setMembers] = useState<readonly Member[] | null>(null);
  const [invites, setInvites] = useState<readonly Invite[]>([]);
  const signedIn = useReadable(account);
  const me = signedIn.kind === "signed_in" ? signedIn.me.me : null;
  const manages = me?.role === "owner" || me?.role === "admin";
  const load = useCallback(async () => {
    try {
      setMembers(await fetchMembers());
      if (manages) setInvites(await fetchInvites());
    } catch (error) {
      toastRefusal(error, "The members could not be read");
    }
  }, [manages]);
  useEffect(() => void load(), [load]);
  return (
    <ModalDialog title="Members" onClose={onClose}>
      <div className="body">
        {manages && <InviteLink onCreated={() => void load()} />}
        <h3>In the workspace</h3>
        <ul className="people">
          {members?.map((member) => (
            <MemberRow
              key={member.id}
              member={member}
              me={member.id === me?.id}
              manages={manages && member.role !== "owner" && member.id !== me?.id}
              onChanged={() => void load()}
            />
          ))}
          {members === null && <li className="skel" />}
        </ul>
        {invites.length > 0 && <h3>Open invitations</h3>}
        <ul className="people">
          {invites.map((invite) => (
            <InviteRow key={invite.id} invite={invite} onChanged={() => void load()} />
          ))}
        </ul>
      </div>
    </ModalDialog>
  );
}

interface MemberRowProps {
  readonly member: Member;
  readonly me: boolean;
  readonly manages: boolean;
  readonly onChanged: () => void;
}

function MemberRow({ member, me, manages, onChanged }: MemberRowProps) {
  const now = useNow(60_000);
  const seen = member.last_seen_at_ms
    ? `here ${when(member.last_seen_at_ms, now).replace("just now", "now")}`
    : "not here yet";
  return (
    <li>
      <Avatar name={member.name} colour={colourFor(member.id)} />
      <span className="who grow">
        <span className="cut strong">
          {member.name}
          {me && " (you)"}
        </span>
        <span className="help">{member.kind === "token" ? "API token" : seen}</span>
      </span>
      {manages ? (
        <MemberControls member={member} onChanged={onChanged} />
      ) : (
        <span className="t2 small">{member.role}</span>
      )}
    </li>
  );
}

function MemberControls({ member, onChanged }: { readonly member: Member; readonly onChanged: () => void }) {
  const attempt = async (change: Promise<unknown>, done: string) => {
    try {
      await change;
      toast(done);
    } catch (error) {
      toastRefusal(error, "That could not be changed");
    }
    onChanged();
  };
  return (
    <>
      <select
        className="native"
        aria-label={`Role of ${member.name}`}
        value={member.role}
        onChange={(event) => {
          const role = ROLES.find((known) => known === event.target.value);
          if (role) void attempt(changeMember(member.id, role), `${member.name} is ${role} now`);
        }}
      >
        {ROLES.map((role) => (
          <option key={role}>{role}</option>
        ))}
      </select>
      <button
        type="button"
        className="btn ghost"
        onClick={() => void attempt(removeMember(member.id), `${member.name} was removed and signed out`)}
      >
        Remove
      </button>
    </>
  );
}

function InviteRow({ invite, onChanged }: { readonly invite: Invite; readonly onChanged: () => void }) {
  const revoke = async () => {
    try {
      await deleteInvite(invite.id);
      toast("The invite link no longer works");
    } catch (error) {
      toastRefusal(error, "The invitation could not be revoked");
    }
    onChanged();
  };
  const until = new Date(invite.expires_at_ms).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  return (
    <li>
      <span className="grow">
        One {invite.role}, until {until}
      </span>
      <button type="button" className="btn ghost" onClick={() => void revoke()}>
        <X className="i i14" aria-hidden="true" /> Revoke
      </button>
    </li>
  );
}

/** Outside a room nobody has been given a colour; the id always yields the same one. */
function colourFor(id: string): number {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + character.charCodeAt(0)) >>> 0;
  return (sum % 8) + 1;
}
