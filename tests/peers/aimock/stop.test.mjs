// Somebody else's double of two providers' wires, as a witness that Stop reaches the upstream and that its streams are read.
import { LLMock } from '@copilotkit/aimock';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Server } from '../server.mjs';
import { until } from '../until.mjs';

const LONG = 'word 😀 '.repeat(5_000);
const SHORT = 'A short answer, with **markdown** and é😀.';
const CLOSED_WITHIN_MS = 1_000;

/** The lanes: the wire, the path that the double counts, and a model of it. */
const LANES = [
  { wire: 'OpenAI Chat Completions', path: '/v1/chat/completions', model: 'openai/gpt-4.1-mini' },
  { wire: 'Anthropic Messages', path: '/v1/messages', model: 'anthropic/claude-sonnet-4-5' },
];

describe('against aimock', () => {
  const mock = new LLMock({ port: 0, metrics: true, logLevel: 'silent' });
  let server;
  let api;
  let prompt;

  before(async () => {
    mock.onMessage(/long/, { content: LONG }, { latency: 10, chunkSize: 20 });
    mock.onMessage(/short/, { content: SHORT }, { latency: 2, chunkSize: 7 });
    mock.onMessage(/cut/, { content: LONG }, { latency: 2, chunkSize: 20, truncateAfterChunks: 10 });
    await mock.start();
    server = await Server.start({
      environment: {
        OPENAI_API_KEY: 'aimock',
        OPENAI_BASE_URL: `${mock.url}/v1`,
        ANTHROPIC_API_KEY: 'aimock',
        ANTHROPIC_BASE_URL: mock.url,
      },
    });
    api = server.api(await server.token('editor'));
    prompt = (await api('POST', '/prompts', { title: 'doubles' })).id;
  });

  after(async () => {
    await server?.remove();
    await mock.stop();
  });

  /** How often the double saw its reader go away in mid-stream. */
  async function destroyed(path) {
    const metrics = await (await fetch(`${mock.url}/metrics`)).text();
    const line = metrics.split('\n').find((each) => each.startsWith('aimock_requests_total') && each.includes(`path="${path}"`) && each.includes('status="destroyed"'));
    return line === undefined ? 0 : Number(line.split(' ').at(-1));
  }

  /** Runs the prompt with `text` as its message. */
  async function run(model, text) {
    await api('PATCH', `/prompts/${prompt}`, { content: { variants: [{ messages: [{ role: 'user', text }] }] } });
    return api('POST', `/prompts/${prompt}/runs`, { overrides: { model } });
  }

  async function record(id) {
    return api('GET', `/runs/${id}`);
  }

  const output = ({ blocks }) => blocks.map(({ text }) => text).join('');

  for (const { wire, path, model } of LANES) {
    it(`${wire}: Stop closes the stream, and what was written is kept and priced`, async () => {
      const before = await destroyed(path);
      const { id } = await run(model, 'something long');
      await until('some output', async () => output(await record(id)).length > 200);
      await api('POST', `/runs/${id}/cancel`);
      await until('the double to see it', async () => (await destroyed(path)) === before + 1, CLOSED_WITHIN_MS);
      const ended = await until('the end', async () => {
        const found = await record(id);
        return found.run.state === 'cancelled' && found;
      });
      assert.ok(LONG.startsWith(output(ended)), 'the partial is not what was sent');
      assert.ok(output(ended).length > 200 && output(ended).length < LONG.length);
      assert.ok(ended.run.usage.output_tokens > 0, 'nothing was counted');
      assert.equal(ended.run.usage.estimated, true);
      assert.ok(ended.run.cost > 0, 'nothing was priced');
    });

    it(`${wire}: a whole answer arrives byte for byte`, async () => {
      const { id } = await run(model, 'something short');
      const ended = await until('the end', async () => {
        const found = await record(id);
        return found.run.state === 'completed' && found;
      });
      assert.equal(output(ended), SHORT);
      assert.equal(ended.run.stop_reason, 'end');
      assert.ok(!JSON.stringify(ended.request).includes('aimock'), 'the key stands in the stored request');
    });

    it(`${wire}: an answer that is cut is no success, and its partial is kept`, async () => {
      const { id } = await run(model, 'something cut');
      const ended = await until('the end', async () => {
        const found = await record(id);
        return ['failed', 'interrupted'].includes(found.run.state) && found;
      });
      assert.ok(output(ended).length > 0 && LONG.startsWith(output(ended)));
      assert.ok(ended.run.problem.detail.length > 0);
    });
  }
});
