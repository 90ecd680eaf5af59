//! Commands on their way: each has an id, is sent again after a reconnect, and is answered once.

import { localProblem, RefusedError } from "../link/http.ts";
import type { Action, Command, Reply, RunSummary } from "../protocol/shapes.ts";

/** The server keeps no more than this many of a socket's commands waiting. */
const PENDING_MAX = 8;

export interface PendingCommand {
  readonly command: Command;
  readonly sinceMs: number;
  sent: boolean;
  readonly answer: Promise<RunSummary>;
  resolve(run: RunSummary): void;
  reject(error: RefusedError): void;
}

export class Commands {
  private readonly pending = new Map<string, PendingCommand>();
  private readonly send: (command: Command) => boolean;

  constructor(send: (command: Command) => boolean) {
    this.send = send;
  }

  /** In order of asking. */
  list(): readonly PendingCommand[] {
    return [...this.pending.values()];
  }

  ask(action: Action): PendingCommand | RefusedError {
    if (this.pending.size >= PENDING_MAX) {
      return new RefusedError(
        localProblem(
          "page.too_many_waiting",
          "Too much is waiting already",
          "The commands before this one were not answered yet.",
          {
            next: "Wait for the connection to come back.",
          },
        ),
      );
    }
    const command: Command = { id: crypto.randomUUID(), ...action };
    let resolve: (run: RunSummary) => void = () => {};
    let reject: (error: RefusedError) => void = () => {};
    const answer = new Promise<RunSummary>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    const entry: PendingCommand = { command, sinceMs: Date.now(), sent: false, answer, resolve, reject };
    this.pending.set(command.id, entry);
    entry.sent = this.send(command);
    return entry;
  }

  /** The command that was answered, or null for one that is not ours. */
  reply(reply: Reply): PendingCommand | null {
    const entry = this.pending.get(reply.id);
    if (entry === undefined) return null;
    this.pending.delete(reply.id);
    if ("ok" in reply) entry.resolve(reply.ok.run);
    else entry.reject(new RefusedError(reply.error));
    return entry;
  }

  lineLost(): void {
    for (const entry of this.pending.values()) entry.sent = false;
  }

  /** The server looks a repeated id up, so sending again does nothing twice. */
  sendAgain(): void {
    for (const entry of this.pending.values()) entry.sent = this.send(entry.command);
  }

  refuseAll(error: RefusedError): void {
    for (const entry of this.pending.values()) entry.reject(error);
    this.pending.clear();
  }
}
