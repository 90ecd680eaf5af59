// Stock y-websocket clients, unmodified, in a Promptroom room.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import * as Y from 'yjs';
import { Server } from '../server.mjs';
import { until } from '../until.mjs';
import { Stock, print } from './client.mjs';

const IDLE_MS = 65_000;

describe('stock y-websocket clients', { concurrency: true }, () => {
  let server;
  let token;
  const open = [];

  before(async () => {
    server = await Server.start();
    token = await server.token('editor');
  });

  after(async () => {
    open.forEach((client) => client.destroy());
    await server?.remove();
  });

  const join = (prompt, options) => {
    const client = new Stock(server, prompt, token, options);
    open.push(client);
    return client;
  };

  it('converge while both type, emoji and halves of surrogate pairs included', async () => {
    const [ann, bob] = [join('converge'), join('converge')];
    await Promise.all([ann.synced(), bob.synced()]);
    for (let round = 0; round < 100; round += 1) {
      ann.text.insert(ann.text.length, `a${round}😀 `);
      bob.text.insert(0, `👩‍👩‍👧 b${round} `);
      if (round % 7 === 0 && ann.text.length > 4) {
        ann.text.delete(1, 2);
      }
    }
    await ann.sees((text) => text.includes('b99 '));
    await bob.sees((text) => text.includes('a99'));
    await until('the same state', () => print(ann.doc) === print(bob.doc));
  });

  it('see each other, and see somebody leave', async () => {
    const [ann, bob] = [join('presence'), join('presence')];
    await Promise.all([ann.synced(), bob.synced()]);
    ann.awareness.setLocalStateField('user', { name: 'Ann 😀', color: '#f00' });
    bob.awareness.setLocalStateField('user', { name: 'Bob' });
    for (const client of [ann, bob]) {
      await until('both names', () => client.names().join() === 'Ann 😀,Bob');
    }
    ann.destroy();
    await until('Ann to be gone', () => bob.names().join() === 'Bob');
  });

  it('stay connected and visible while idle for 65 s', async () => {
    const [ann, bob] = [join('idle'), join('idle')];
    await Promise.all([ann.synced(), bob.synced()]);
    ann.awareness.setLocalStateField('user', { name: 'Ann' });
    bob.awareness.setLocalStateField('user', { name: 'Bob' });
    await until('both names', () => ann.names().length === 2 && bob.names().length === 2);
    // The time itself is the condition: a client that hears nothing for 30 s reconnects, a peer not renewed vanishes.
    let missing = 0;
    const look = setInterval(() => {
      missing += ann.names().join() === 'Ann,Bob' && bob.names().join() === 'Ann,Bob' ? 0 : 1;
    }, 250);
    await pause(IDLE_MS);
    clearInterval(look);
    assert.equal(missing, 0, 'somebody was invisible in between');
    assert.deepEqual([ann.connections, bob.connections], [1, 1]);
    assert.deepEqual([ann.closed, bob.closed], [[], []]);
  });

  it('merge what was typed offline', async () => {
    const [ann, bob] = [join('offline'), join('offline')];
    await Promise.all([ann.synced(), bob.synced()]);
    ann.text.insert(0, 'start. ');
    await bob.sees((text) => text === 'start. ');
    ann.provider.disconnect();
    ann.text.insert(ann.text.length, 'offline 😀. ');
    bob.text.insert(0, 'online. ');
    ann.text.delete(0, 2);
    ann.provider.connect();
    for (const client of [ann, bob]) {
      await client.sees((text) => text === 'online. art. offline 😀. ');
    }
    await until('the same state', () => print(ann.doc) === print(bob.doc));
  });

  it('may type while they reconnect with offline edits', async () => {
    const [ann, bob] = [join('reconnect'), join('reconnect')];
    await Promise.all([ann.synced(), bob.synced()]);
    for (let round = 0; round < 20; round += 1) {
      ann.provider.disconnect();
      ann.text.insert(ann.text.length, `off${round} `);
      ann.provider.connect();
      // Typing in every state of the new socket: before it opens, as it opens, before it is synced.
      const typing = new Promise((resolve) => {
        ann.provider.once('status', () => {
          ann.text.insert(ann.text.length, `open${round} `);
          resolve();
        });
      });
      ann.text.insert(ann.text.length, `early${round} `);
      await typing;
      await ann.synced();
    }
    const all = Array.from({ length: 20 }, (_, round) => [`off${round} `, `early${round} `, `open${round} `]).flat();
    await bob.sees((text) => all.every((word) => text.split(word).length === 2));
    await until('the same state', () => print(ann.doc) === print(bob.doc));
  });

  it('are told for good that a deleted slug is gone, with an old copy in hand too', async () => {
    const ann = join('deleted');
    await ann.synced();
    ann.text.insert(0, 'old copy');
    const owner = server.api(await server.token('owner'));
    await owner('DELETE', '/prompts/deleted');
    await until('the close', () => ann.closed.includes(4410));
    const late = join('deleted');
    late.text.insert(0, 'another history');
    await until('the close', () => late.closed.includes(4410));
    assert.equal(late.provider.shouldConnect, false, 'it would come back for ever');
    assert.equal(late.provider.synced, false);
  });

  it('are told for good that a token is wrong', async () => {
    const stranger = new Stock(server, 'converge', 'wrong');
    open.push(stranger);
    await until('the close', () => stranger.closed.includes(4401));
    assert.equal(stranger.provider.shouldConnect, false);
  });

  it('repeat what they heard of others without being punished for it', async () => {
    const [ann, bob] = [join('repeat'), join('repeat')];
    await Promise.all([ann.synced(), bob.synced()]);
    ann.awareness.setLocalStateField('user', { name: 'Ann' });
    bob.awareness.setLocalStateField('user', { name: 'Bob' });
    await until('both names', () => ann.names().length === 2 && bob.names().length === 2);
    // On reconnecting, y-websocket sends every state that it knows, those of others included.
    bob.provider.ws.close();
    await until('the reconnect', () => bob.connections === 2 && bob.provider.synced);
    await until('both names again', () => ann.names().join() === 'Ann,Bob' && bob.names().join() === 'Ann,Bob');
  });

  it('hold a whole document after the first sync', async () => {
    const ann = join('whole');
    await ann.synced();
    const variants = ann.doc.getMap('variants');
    assert.equal(variants.get('main').get('name'), 'A');
    assert.ok(variants.get('main').get('system') instanceof Y.Text);
    assert.equal(ann.doc.getMap('meta').get('schema'), 1);
  });
});

describe('stock y-websocket clients and a server that dies', () => {
  it('lose nothing and double nothing over kill -9, and agree with a fresh client', async () => {
    const server = await Server.start();
    const token = await server.token('editor');
    const clients = [0, 1, 2].map(() => new Stock(server, 'killed', token));
    try {
      await Promise.all(clients.map((client) => client.synced()));
      for (let round = 0; round < 5; round += 1) {
        const typing = setInterval(() => {
          clients.forEach((client, number) => client.text.insert(client.text.length, `<${round}.${number}.${performance.now()}>`));
        }, 2);
        await clients[0].sees((text) => text.split(`<${round}.1.`).length > 20 + round);
        await server.kill();
        clearInterval(typing);
        await server.start();
        await until('everybody to be back', () => clients.every((client) => client.provider.synced && client.provider.wsconnected));
        await until('the same state', () => new Set(clients.map((client) => print(client.doc))).size === 1);
      }
      const fresh = new Stock(server, 'killed', token);
      clients.push(fresh);
      await until('the same state for a fresh client', () => print(fresh.doc) === print(clients[0].doc));
      const markers = fresh.text.toString().match(/<[^>]+>/g);
      assert.equal(new Set(markers).size, markers.length, 'a marker stands twice');
    } finally {
      clients.forEach((client) => client.destroy());
      await server.remove();
    }
  });
});
