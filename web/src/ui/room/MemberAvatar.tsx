//! A member as an avatar, in the colour that they have in this room.

import { Avatar } from "../parts/Avatar.tsx";
import { useReadable } from "../readable.ts";
import { useRoom } from "./RoomContext.ts";

export interface MemberAvatarProps {
  readonly member: { readonly id: string; readonly name: string };
  readonly size: "sm" | "xs";
}

export function MemberAvatar({ member, size }: MemberAvatarProps) {
  const { presence } = useRoom();
  // Colours are given out on arrival, so whoever comes may change them.
  useReadable(presence.people);
  return <Avatar name={member.name} colour={presence.colourOf(member.id)} size={size} />;
}
