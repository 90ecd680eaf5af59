// Writing together: moves, removals, other Yjs clients, readers, and a page without a connection.
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

test('the page and two stock y-websocket clients hold the same, emoji included', async ({ owner, server }) => {
  const page = await owner();
  const path = await newPrompt(page, { title: 'Stock', text: '' });
  const prompt = path.split('/').at(-1);
  const token = await server.token('editor');
  const peers = [new Stock(server, prompt, token), new Stock(server, prompt, token)];
  try {
    await page.goto(path);
    await isLive(page);
    await Promise.all(peers.map((peer) => peer.synced()));
    peers[0].awareness.setLocalStateField('user', { name: 'Node' });
    const text = (peer) => peer.doc.getMap('variants').get('main').get('system');
    await system(page).click();
    await Promise.all([
      page.keyboard.type('page 😀 👩‍👩‍👧 says ', { delay: 10 }),
      ...peers.map(async (peer, number) => {
        for (let round = 0; round < 20; round += 1) {
          text(peer).insert(0, `👍🏽${number}.${round} `);
          await until('the page to have it', async () => (await written(system(page))).includes(`${number}.${round} `));
        }
      }),
    ]);
    await until('the same state', () => print(peers[0].doc) === print(peers[1].doc) && text(peers[0]).toString().includes('says '));
    await expect.poll(() => written(system(page))).toBe(text(peers[0]).toString());
    // What the page was told comes from the same rows: a client that starts anew gets exactly this.
    await expect(page.getByRole('img', { name: /people here/ })).toBeVisible();
  } finally {
    for (const peer of peers) peer.destroy();
  }
});

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
  await expect(bob.getByText(/Offline, 1 unsynced/)).toBeVisible();
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
