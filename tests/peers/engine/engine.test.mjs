// A real inference engine behind the room: its stream is read whole, and Stop frees its slot.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Server } from '../server.mjs';
import { until } from '../until.mjs';
import { Engine } from './engine.mjs';

const SLOT_FREE_WITHIN_MS = 1_000;

describe('the engine by itself', () => {
  it('frees the slot of a reader that goes away', async () => {
    const engine = await Engine.start('--endless', '--width', '256', '--layers', '6');
    try {
      const leaving = new AbortController();
      const answer = await fetch(`${engine.url}/v1/chat/completions`, {
        method: 'POST',
        signal: leaving.signal,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ model: 'tiny', stream: true, max_tokens: 12_000, messages: [{ role: 'user', content: 'Hello' }] }),
      });
      const reader = answer.body.getReader();
      for (let piece = 0; piece < 5; piece += 1) {
        await reader.read();
      }
      assert.equal(await engine.busy(), 1);
      leaving.abort();
      await until('a free slot', async () => (await engine.busy()) === 0, SLOT_FREE_WITHIN_MS);
    } finally {
      await engine.stop();
    }
  });
});

describe('a room on a real engine', () => {
  let engine;
  let server;
  let api;
  let prompt;

  before(async () => {
    engine = await Engine.start('--endless', '--width', '256', '--layers', '6');
    server = await Server.start({ lanes: `[[lane]]\nname = "engine"\nbase_url = "${engine.url}/v1"\nslots = 2\n` });
    api = server.api(await server.token('editor'));
    prompt = (await api('POST', '/prompts', { title: 'engine', content: { variants: [{ messages: [{ role: 'user', text: 'Hello' }] }] } })).id;
  });

  after(async () => {
    await server?.remove();
    await engine?.stop();
  });

  const output = ({ blocks }) => blocks.map(({ text }) => text).join('');
  const start = (parameters) => api('POST', `/prompts/${prompt}/runs`, { overrides: { model: 'engine/tiny', parameters } });
  const record = (id) => api('GET', `/runs/${id}`);

  it('lists the model that the endpoint names', async () => {
    const { models } = await api('GET', '/models');
    assert.ok(models.some(({ id }) => id === 'engine/tiny'));
  });

  it('streams to the limit that was asked for and says so', async () => {
    const { id } = await start({ max_tokens: 80, temperature: 0.8 });
    const ended = await until('the end', async () => {
      const found = await record(id);
      return found.run.ended_at_ms !== undefined && found;
    });
    assert.equal(ended.run.state, 'truncated', JSON.stringify(ended.run.problem));
    assert.equal(ended.run.stop_reason, 'max_tokens');
    assert.equal(ended.run.usage.output_tokens, 80);
    assert.equal(ended.run.usage.estimated, false);
    assert.equal(Buffer.byteLength(output(ended)), ended.run.bytes);
  });

  it('frees the slot when somebody presses Stop', async () => {
    const { id } = await start({ max_tokens: 12_000 });
    await until('output', async () => output(await record(id)).length > 50);
    assert.equal(await engine.busy(), 1);
    await api('POST', `/runs/${id}/cancel`);
    await until('a free slot', async () => (await engine.busy()) === 0, SLOT_FREE_WITHIN_MS);
    const ended = await until('the end', async () => {
      const found = await record(id);
      return found.run.state === 'cancelled' && found;
    });
    assert.ok(output(ended).length > 50);
  });
});
