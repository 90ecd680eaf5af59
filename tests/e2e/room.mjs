// A server with a real engine, and people who use its page in browsers of their own.
import { test as base } from '@playwright/test';
import { Engine } from '../peers/engine/engine.mjs';
import { Server } from '../peers/server.mjs';

export { expect } from '@playwright/test';

export const MODEL = 'engine/tiny';

export const test = base.extend({
  /** Endless and paced by its size, so that there is time to watch and to press Stop. */
  engine: async ({}, use) => {
    const engine = await Engine.start('--endless', '--width', '512', '--layers', '6');
    await use(engine);
    await engine.stop();
  },

  server: async ({ engine }, use) => {
    const server = await Server.start({
      lanes: `[[lane]]\nname = "engine"\nbase_url = "${engine.url}/v1"\nslots = 4\n`,
      environment: { PROMPTROOM_DEFAULT_MODEL: MODEL },
    });
    await use(server);
    await server.remove();
  },

  /** `person()` opens a page in a browser context of its own; whatever it logs as an error fails the test. */
  person: async ({ browser, server }, use) => {
    const contexts = [];
    const errors = [];
    await use(async () => {
      const context = await browser.newContext({ baseURL: server.http });
      contexts.push(context);
      const page = await context.newPage();
      page.on('pageerror', (error) => errors.push(error.stack ?? error.message));
      return page;
    });
    await Promise.all(contexts.map((context) => context.close()));
    base.expect(errors, 'errors in the pages').toEqual([]);
  },
});
