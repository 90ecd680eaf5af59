// A real Promptroom server in a process of its own, for tests written against other people's clients.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { until } from './until.mjs';

const BINARY = process.env.PROMPTROOM_TEST_SERVER ?? resolve(import.meta.dirname, '../../target/debug/promptroom');

export class Server {
  #home = mkdtempSync(join(tmpdir(), 'promptroom-peer-'));
  #environment;
  #process;
  #lives = 0;
  #address = '127.0.0.1:0';

  constructor(environment) {
    this.#environment = environment;
  }

  /** Starts a fresh server; `lanes` is the content of the lanes file. */
  static async start({ environment = {}, lanes } = {}) {
    if (!existsSync(BINARY)) {
      throw new Error(`${BINARY} is missing: build it first (make test-peers does)`);
    }
    const server = new Server(environment);
    if (lanes !== undefined) {
      const file = join(server.#home, 'lanes.toml');
      writeFileSync(file, lanes);
      server.#environment = { ...environment, PROMPTROOM_LANES: file };
    }
    try {
      await server.start();
    } catch (error) {
      await server.remove();
      throw error;
    }
    return server;
  }

  get ws() {
    return `ws://${this.#address}/ws`;
  }

  get http() {
    return `http://${this.#address}`;
  }

  /** Starts it, at first or again, on the same address and data. */
  async start() {
    this.#lives += 1;
    const log = openSync(this.#log, 'w');
    this.#process = spawn(BINARY, ['serve'], { cwd: this.#home, env: this.#env, stdio: ['ignore', log, log] });
    closeSync(log);
    const child = this.#process;
    const stillRuns = () => {
      if (child.exitCode !== null) {
        throw new Error(`the server ended with ${child.exitCode}:\n${readFileSync(this.#log, 'utf8')}`);
      }
    };
    this.#address = await until('the address of the server', () => {
      stillRuns();
      return /Promptroom is at http:\/\/([\d.]+:\d+)/.exec(readFileSync(this.#log, 'utf8'))?.[1];
    });
    await until('readiness', async () => {
      stillRuns();
      const answer = await fetch(`${this.http}/readyz`).catch(() => undefined);
      return answer?.ok;
    });
  }

  /** SIGKILL by default: nothing is flushed, nobody is told. */
  async kill(signal = 'SIGKILL') {
    const ended = once(this.#process, 'exit');
    this.#process.kill(signal);
    await ended;
  }

  /** Ends it and removes its data. */
  async remove() {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      await this.kill();
    }
    rmSync(this.#home, { recursive: true, force: true });
  }

  /** A new API token with this role; others see its name. */
  token(role, name = `peer ${role}`) {
    return this.#command('token', 'create', '--name', name, '--role', role);
  }

  /** A new one-time sign-in link for the owner. */
  link() {
    return this.#command('link');
  }

  /** The HTTP API with a token: `api('POST', '/prompts', {…})` gives the answer's JSON. */
  api(token) {
    return async (method, path, body) => {
      const answer = await fetch(`${this.http}/api/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      if (!answer.ok) {
        throw new Error(`${method} ${path}: ${answer.status} ${text}`);
      }
      return text === '' ? undefined : JSON.parse(text);
    };
  }

  /** The last line that a command of the binary prints. */
  async #command(...words) {
    const { stdout } = await promisify(execFile)(BINARY, words, { cwd: this.#home, env: this.#env });
    return stdout.trimEnd().split('\n').at(-1).trim();
  }

  get #env() {
    return {
      ...process.env,
      PROMPTROOM_LISTEN: this.#address,
      PROMPTROOM_DATA_DIR: join(this.#home, 'data'),
      ...this.#environment,
    };
  }

  get #log() {
    return join(this.#home, `server-${this.#lives}.log`);
  }
}
