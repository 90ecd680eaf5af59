// Writing together: moves, removals, other Yjs clients, readers, and a page without a connection.
import { isDeepStrictEqual } from 'node:util';
import { until } from '../peers/until.mjs';
import { Stock, print } from '../peers/ywebsocket/client.mjs';
import { includes, isLive, message, newPrompt, reads, runButton, system, written } from './page.mjs';
import { expect, test } from './room.mjs';

const together = async ({ owner, guest }, content) => {
  const ann = await owner();
  const path = await newPrompt(ann, content);
  const bob = await guest(ann, 'Bob');
  for (const page of [ann, bob]) {
    await page.goto(path);
    await isLive(page);
  }
  return { ann, bob, path };
};

const roles = (page) => page.getByRole('article', { name: / message$/ }).evaluateAll((all) => all.map((one) => one.getAttribute('aria-label')));

test('a message that is moved while somebody types in it keeps the typing', async ({ owner, guest }) => {
  const { ann, bob } = await together({ owner, guest }, { text: '' });
  await ann.getByRole('button', { name: 'Message', exact: true }).click();
  await expect.poll(() => roles(bob)).toEqual(['User message', 'Assistant message']);
  const typed = 'typed while it moves from place to place';
  await message(bob).click();
  await Promise.all([
    bob.keyboard.type(typed, { delay: 15 }),
    (async () => {
      await message(ann, 'Assistant').click();
      for (const key of ['Alt+ArrowUp', 'Alt+ArrowDown', 'Alt+ArrowUp']) await ann.keyboard.press(key);
    })(),
  ]);
  for (const page of [ann, bob]) {
    await expect.poll(() => roles(page)).toEqual(['Assistant message', 'User message']);
    await reads(message(page), typed);
  }
});

test('a message is dragged to another place, and one copy of it remains', async ({ owner, guest }) => {
  const { ann, bob } = await together({ owner, guest }, { text: 'one' });
  await ann.getByRole('button', { name: 'Message', exact: true }).click();
  await ann.keyboard.type('two');
  await expect.poll(() => roles(bob)).toEqual(['User message', 'Assistant message']);
  const grip = await ann.getByRole('button', { name: /^Move this message/ }).last().boundingBox();
  const first = await ann.getByRole('article', { name: 'User message' }).boundingBox();
  await ann.mouse.move(grip.x + 6, grip.y + 8);
  await ann.mouse.down();
  await ann.mouse.move(grip.x + 6, first.y + 30, { steps: 4 });
  await ann.mouse.move(grip.x + 6, first.y + 4, { steps: 2 });
  await ann.mouse.up();
  for (const page of [ann, bob]) {
    await expect.poll(() => roles(page)).toEqual(['Assistant message', 'User message']);
    await reads(message(page, 'Assistant'), 'two');
    await reads(message(page), 'one');
  }
});

test('removing a message and taking that back keeps what a teammate typed in it', async ({ owner, guest }) => {
  const { ann, bob } = await together({ owner, guest }, { text: 'Hello. ' });
  await message(bob).click();
  await bob.keyboard.press('ControlOrMeta+End');
  const typing = bob.keyboard.type('And this, too.', { delay: 20 });
  await includes(message(ann), 'Hello. A');
  await ann.getByRole('button', { name: 'Actions for this user message' }).click();
  await ann.getByRole('menuitem', { name: 'Delete' }).click();
  await typing;
  await ann.getByRole('button', { name: 'Undo' }).click();
  const kept = await written(message(bob));
  await reads(message(ann), kept);
  expect(kept).toContain('Hello. A');
});

test('undo takes back only what one did oneself', async ({ owner, guest }) => {
  const { ann, bob } = await together({ owner, guest }, { text: '' });
  await message(ann).pressSequentially('mine ');
  await includes(message(bob), 'mine');
  await message(bob).click();
  await bob.keyboard.press('ControlOrMeta+End');
  await bob.keyboard.type('yours');
  await reads(message(ann), 'mine yours');
  await message(ann).press('ControlOrMeta+z');
  for (const page of [ann, bob]) await reads(message(page), 'yours');
});

/** A page and two stock y-websocket clients in one prompt, each client with a token of its own name. */
const withStock = async ({ owner, server }, names, use) => {
  const page = await owner();
  const path = await newPrompt(page, { title: 'Stock', text: '' });
  const prompt = path.split('/').at(-1);
  const peers = [];
  try {
    for (const name of names) peers.push(new Stock(server, prompt, await server.token('editor', name)));
    await page.goto(path);
    await isLive(page);
    await Promise.all(peers.map((peer) => peer.synced()));
    await use(page, peers);
  } finally {
    for (const peer of peers) peer.destroy();
  }
};

const systemOf = (peer) => peer.doc.getMap('variants').get('main').get('system');

test('the page and two stock y-websocket clients hold the same, emoji included', async ({ owner, server }) => {
  await withStock({ owner, server }, ['One', 'Two'], async (page, peers) => {
    await system(page).click();
    await Promise.all([
      page.keyboard.type('page 😀 👩‍👩‍👧 says ', { delay: 10 }),
      ...peers.map(async (peer, number) => {
        for (let round = 0; round < 20; round += 1) {
          systemOf(peer).insert(0, `👍🏽${number}.${round} `);
          await until('the page to have it', async () => (await written(system(page))).includes(`${number}.${round} `));
        }
      }),
    ]);
    await until('the same state', () => print(peers[0].doc) === print(peers[1].doc) && systemOf(peers[0]).toString().includes('says '));
    // What the page was told comes from the same rows: a client that starts anew gets exactly this.
    await expect.poll(() => written(system(page))).toBe(systemOf(peers[0]).toString());
  });
});

test('the page and two stock y-websocket clients see who is here, where, and who leaves', async ({ owner, server }) => {
  await withStock({ owner, server }, ['Zoë 😀', 'Bot 👩‍👩‍👧'], async (page, [zoe, bot]) => {
    const me = await page.request.get('/api/v1/me').then(async (answer) => (await answer.json()).me);
    const here = (...names) => page.getByRole('img', { name: `${names.length} people here: ${names.join(', ')}`, exact: true });
    const flag = system(page).locator('.rc-flag');
    const ofPage = (peer) => [...peer.awareness.getStates().values()].find(({ user }) => user?.id === me.id);

    const states = { zoe: { user: { name: 'zoe 👍🏽', color: '#ff0000' } }, bot: { user: { name: '🤖', color: '#00f' }, step: 7 } };
    zoe.awareness.setLocalState(states.zoe);
    await expect(page.getByRole('img', { name: /people here:.*Zoë 😀/ })).toBeVisible();
    bot.awareness.setLocalState(states.bot);
    await until('the first to see the other', () => sameState(zoe.awareness, bot, states.bot));
    await until('the other to see the first', () => sameState(bot.awareness, zoe, states.zoe));
    // The page shows the names that the server vouches for, not those that somebody gives themselves.
    await expect(page.getByRole('img', { name: /^3 people here: / })).toHaveAccessibleName(/Zoë 😀.*Bot 👩‍👩‍👧|Bot 👩‍👩‍👧.*Zoë 😀/);

    systemOf(bot).insert(0, '😀 here');
    bot.setCaret(systemOf(bot), '😀'.length);
    await expect(flag).toHaveText('Bot 👩‍👩‍👧');
    await system(page).click();
    await page.keyboard.press('ControlOrMeta+End');
    for (const peer of [zoe, bot]) {
      await until('the name, colour and caret of the page', () => {
        const state = ofPage(peer);
        return state?.user.name === me.name && /^#[0-9A-F]{6}$/.test(state.user.color) && peer.caretOf(state) === '😀 here'.length;
      });
    }

    bot.destroy();
    await expect(here(me.name, 'Zoë 😀')).toBeVisible();
    await expect(flag).toHaveCount(0);
    await until('the other to be gone', () => !zoe.awareness.getStates().has(bot.doc.clientID));
    await page.goto('/');
    await until('the page to be gone', () => ofPage(zoe) === undefined);
    expect(sameState(zoe.awareness, zoe, states.zoe), 'who stays is still here').toBe(true);
  });
});

/** Whether exactly this is what an awareness has of a client. */
const sameState = (awareness, of, state) => isDeepStrictEqual(awareness.getStates().get(of.doc.clientID), state);

test('a viewer by invitation reads and cannot edit or run', async ({ owner, guest }) => {
  const ann = await owner();
  const path = await newPrompt(ann, { text: 'For your eyes' });
  const eve = await guest(ann, 'Eve', 'viewer');
  await eve.goto(path);
  await isLive(eve);
  await expect(eve.getByText('View only')).toBeVisible();
  await reads(message(eve), 'For your eyes');
  await message(eve).click();
  await eve.keyboard.type('not mine');
  await expect(runButton(eve)).toHaveCount(0);
  await expect(eve.getByRole('button', { name: /^Actions for this|^Move this message|^Message$/ })).toHaveCount(0);
  await ann.goto(path);
  await isLive(ann);
  await message(ann).click();
  await ann.keyboard.press('ControlOrMeta+End');
  await ann.keyboard.type(' only');
  for (const page of [ann, eve]) await reads(message(page), 'For your eyes only');
});

test('a page that is loaded without the room can still be written in, and merges later', async ({ owner, guest }) => {
  const { ann, bob } = await together({ owner, guest }, { text: 'Start. ' });
  // The page itself comes from the browser or a proxy; the room and the API are what is out of reach.
  await bob.routeWebSocket(/\/ws\//, (socket) => socket.close({ code: 1011 }));
  await bob.route(/\/api\//, (route) => route.abort());
  await bob.reload();
  await reads(message(bob), 'Start. ');
  await message(bob).click();
  await bob.keyboard.press('ControlOrMeta+End');
  await bob.keyboard.type('Offline. ');
  await expect(bob.getByText(/Offline, \d unsynced/)).toBeVisible();
  await message(ann).click();
  await ann.keyboard.press('ControlOrMeta+Home');
  await ann.keyboard.type('Online. ');
  // Once more, so that what was written comes from the browser's own store.
  const back = await bob.context().newPage();
  await back.routeWebSocket(/\/ws\//, (socket) => socket.connectToServer());
  await bob.close();
  await back.goto(new URL(ann.url()).pathname);
  for (const page of [ann, back]) await reads(message(page), 'Online. Start. Offline. ');
});
