// llama.cpp's own server around a tiny random model, started and watched by a test.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';

const PYTHON = process.env.PROMPTROOM_TEST_PYTHON ?? resolve(import.meta.dirname, '../../../.venv/bin/python');

export class Engine {
  #process;
  url;

  /** Starts it with options of serve.py, such as `--endless`. */
  static async start(...options) {
    const engine = new Engine();
    const script = resolve(import.meta.dirname, 'serve.py');
    engine.#process = spawn(PYTHON, [script, ...options], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [error] = await Promise.race([once(engine.#process, 'spawn').then(() => []), once(engine.#process, 'error')]);
    if (error) {
      throw new Error(`${PYTHON} cannot be started (make test-peers installs it): ${error.message}`);
    }
    for await (const line of createInterface({ input: engine.#process.stdout })) {
      if (line.startsWith('ready ')) {
        engine.url = line.slice('ready '.length).trim();
        return engine;
      }
    }
    throw new Error('the engine ended before it was ready');
  }

  /** How many of its slots are at work. */
  async busy() {
    const slots = await (await fetch(`${this.url}/slots`)).json();
    return slots.filter((slot) => slot.is_processing).length;
  }

  async stop() {
    const ended = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await ended;
  }
}
