// Several nodes with a Postgres and a Redis of their own: the same that `make cluster` starts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';

const BINARY = resolve(import.meta.dirname, '../../target/debug/cluster');

export class Cluster {
  #process;
  #link;
  #redis;
  nodes = [];

  static async start() {
    const cluster = new Cluster();
    cluster.#process = spawn(BINARY, { stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: cluster.#process.stdout })) {
      cluster.#link = /link: (\S+)/.exec(line)?.[1] ?? cluster.#link;
      cluster.#redis = /^Redis: redis:\/\/[\d.]+:(\d+)/.exec(line)?.[1] ?? cluster.#redis;
      const node = /^Node \d+: (\S+)/.exec(line)?.[1];
      if (node !== undefined) cluster.nodes.push(node);
      if (line.includes('Ctrl+C')) return cluster;
    }
    throw new Error(`the cluster did not start: ${BINARY} ended with ${cluster.#process.exitCode}`);
  }

  /** The one-time link that signs in as the owner. */
  link() {
    return this.#link;
  }

  /** Ends Redis for good. */
  async endRedis() {
    const connection = createConnection(Number(this.#redis), '127.0.0.1');
    connection.write('SHUTDOWN NOSAVE\r\n');
    await once(connection, 'close');
  }

  async stop() {
    if (this.#process.exitCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill('SIGTERM');
      await ended;
    }
  }
}
