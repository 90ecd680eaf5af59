//! Routes, and what is on every page: dialogs, toasts, announcements.

import { lazy, Suspense, useEffect } from "react";
import { Redirect, Route, Switch } from "wouter";
import type { Room } from "../room/api.ts";
import { account } from "./account.ts";
import { DialogHost } from "./overlays/DialogHost.tsx";
import { prefetchWhenIdle } from "./overlays/prefetch.ts";
import { Announcer } from "./parts/Announcer.tsx";
import { NotFound, Unreachable } from "./parts/Blank.tsx";
import { PageFault } from "./parts/PageFault.tsx";
import { Toaster } from "./parts/Toaster.tsx";
import { useReadable } from "./readable.ts";
import { RoomPage } from "./room/RoomPage.tsx";
import { useSiteKeys } from "./useSiteKeys.ts";

const Library = lazy(async () => ({ default: (await import("./library/Library.tsx")).Library }));
const SignIn = lazy(async () => ({ default: (await import("./signin/SignIn.tsx")).SignIn }));
const OwnerLink = lazy(async () => ({ default: (await import("./signin/OwnerLink.tsx")).OwnerLink }));
const Invitation = lazy(async () => ({ default: (await import("./signin/Invitation.tsx")).Invitation }));

export interface AppProps {
  /** By id or slug, and for which member: what this browser kept for them shows at once. */
  readonly openRoom: (prompt: string, member: string | null) => Room;
}

export function App({ openRoom }: AppProps) {
  useSiteKeys();
  useEffect(prefetchWhenIdle, []);
  return (
    <>
      <PageFault>
        <Suspense fallback={null}>
          <Switch>
            <Route path="/signin" component={SignIn} />
            <Route path="/link/:secret">{({ secret }) => <OwnerLink secret={secret} />}</Route>
            <Route path="/invite/:secret">{({ secret }) => <Invitation secret={secret} />}</Route>
            <Route>
              <Inside openRoom={openRoom} />
            </Route>
          </Switch>
        </Suspense>
      </PageFault>
      <DialogHost />
      <Toaster />
      <Announcer />
    </>
  );
}

/** Everything that needs an account. A room opens while the account is still being asked for. */
function Inside({ openRoom }: AppProps) {
  const who = useReadable(account);
  if (who.kind === "signed_out") return <Redirect to="/signin" replace />;
  return (
    <Switch>
      <Route path="/p/:id">{({ id }) => <RoomPage key={id} id={id} openRoom={openRoom} />}</Route>
      <Route path="/">{who.kind === "unreachable" ? <Unreachable problem={who.problem} /> : <Library />}</Route>
      <Route>
        <NotFound />
      </Route>
    </Switch>
  );
}
