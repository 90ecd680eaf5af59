// Servers with the models that a test needs, and people who use their page in browsers of their own.
import { test as base } from '@playwright/test';
import { Engine } from '../peers/engine/engine.mjs';
import { Server } from '../peers/server.mjs';
import { Cluster } from './cluster.mjs';
import { Upstream } from './upstream.mjs';

export { expect } from '@playwright/test';

const people = {
  /** `person()` opens a page in a browser context of its own; whatever it throws fails the test. */
  person: async ({ browser, server }, use) => {
    const contexts = [];
    const errors = [];
    await use(async (options = {}) => {
      const context = await browser.newContext({ baseURL: server.http, ...options });
      contexts.push(context);
      const page = await context.newPage();
      page.on('pageerror', (error) => errors.push(error.stack ?? error.message));
      return page;
    });
    await Promise.all(contexts.map((context) => context.close()));
    base.expect(errors, 'errors in the pages').toEqual([]);
  },

  /** `owner()` is a person who is signed in as the owner. */
  owner: async ({ person, server }, use) => {
    await use(async (options) => {
      const page = await person(options);
      const secret = (await server.link()).split('/').at(-1);
      await enter(page, { link: secret });
      return page;
    });
  },

  /** `guest(owner, name, role)` is a person who took the owner's invitation. */
  guest: async ({ person }, use) => {
    await use(async (owner, name, role = 'editor', options = {}) => {
      const page = await person(options);
      const answer = await owner.request.post('/api/v1/invites', { data: { role } });
      const secret = (await answer.json()).url.split('/').at(-1);
      await enter(page, { invite: secret, name });
      return page;
    });
  },
};

/** On the built-in models. */
export const test = base.extend({
  ...people,
  server: async ({}, use) => {
    const server = await Server.start();
    await use(server);
    await server.remove();
  },
});

/** On llama.cpp with a tiny model: endless, and paced by its size, so that there is time to watch and to press Stop. */
export const engineTest = base.extend({
  ...people,
  engine: async ({}, use) => {
    const engine = await Engine.start('--endless', '--width', '512', '--layers', '6');
    await use(engine);
    await engine.stop();
  },
  server: async ({ engine }, use) => {
    const server = await Server.start({
      lanes: `[[lane]]\nname = "engine"\nbase_url = "${engine.url}/v1"\nslots = 4\n`,
      environment: { PROMPTROOM_DEFAULT_MODEL: 'engine/tiny' },
    });
    await use(server);
    await server.remove();
  },
});

/** On a model that writes only what the test tells it to, one run at a time. */
export const toldTest = base.extend({
  ...people,
  upstream: async ({}, use) => {
    const upstream = await Upstream.start();
    await use(upstream);
    upstream.stop();
  },
  server: async ({ upstream }, use) => {
    const server = await Server.start({
      lanes: upstream.lane({ slots: 1 }),
      environment: { PROMPTROOM_DEFAULT_MODEL: 'local/llama-3.3-70b' },
    });
    await use(server);
    await server.remove();
  },
});

/** On two nodes: each person says by `baseURL` which one is theirs. */
export const clusterTest = base.extend({
  ...people,
  server: async ({}, use) => {
    const cluster = await Cluster.start();
    await use(cluster);
    await cluster.stop();
  },
});

async function enter(page, credentials) {
  const answer = await page.request.post('/api/v1/session', { data: credentials });
  base.expect(answer.ok(), await answer.text()).toBe(true);
}
