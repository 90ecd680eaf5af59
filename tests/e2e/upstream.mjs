// A model on the OpenAI wire that writes what the test tells it to, when the test tells it to.
import { once } from 'node:events';
import { createServer } from 'node:http';

export class Upstream {
  #server = createServer((request, response) => this.#answer(request, response));
  #asked = [];
  #waiting = [];

  static async start() {
    const upstream = new Upstream();
    upstream.#server.listen(0, '127.0.0.1');
    await once(upstream.#server, 'listening');
    return upstream;
  }

  /** A lane of this model; `slots` is how many runs it takes at one time. */
  lane({ slots = 4 } = {}) {
    const { port } = this.#server.address();
    const price = 'price = { input = 0.59, output = 0.79, as_of = "2025-12-01" }';
    const model = `{ name = "llama-3.3-70b", label = "Llama 3.3 70B", context_tokens = 131072, output_tokens_max = 32768, ${price} }`;
    return `[[lane]]\nname = "local"\nbase_url = "http://127.0.0.1:${port}/v1"\nslots = ${slots}\nmodels = [${model}]\n`;
  }

  /** The next call that was not taken yet. */
  next() {
    const call = this.#asked.shift();
    return call ? Promise.resolve(call) : new Promise((resolve) => this.#waiting.push(resolve));
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request, response) {
    request.resume();
    await once(request, 'end');
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.flushHeaders();
    const call = new Call(response);
    const taker = this.#waiting.shift();
    if (taker) taker(call);
    else this.#asked.push(call);
  }
}

class Call {
  #response;
  #tokens = 0;

  constructor(response) {
    this.#response = response;
  }

  /** Word by word, each an event of its own. */
  write(text) {
    for (const word of text.match(/\s*\S+\s*/g) ?? []) {
      this.#tokens += 1;
      this.#say({ choices: [{ index: 0, delta: { content: word } }] });
    }
  }

  end() {
    const usage = { prompt_tokens: 312, completion_tokens: this.#tokens, total_tokens: 312 + this.#tokens };
    this.#say({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
    this.#say({ choices: [], usage });
    this.#response.end('data: [DONE]\n\n');
  }

  #say(event) {
    this.#response.write(`data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', ...event })}\n\n`);
  }
}
