// Two people whose browsers are on two nodes, with Redis dead from the beginning: the database alone keeps them together.
import { expect, clusterTest as test } from './room.mjs';
import { MOD_ENTER, includes, isLive, lengthOf, message, newPrompt, output, rawText, stopButton, stored, view } from './page.mjs';

/** How far the two nodes may be apart without Redis: what one has written is on the other's screen within this. */
const APART_MS = 1_000;

test('without Redis, people on two nodes edit, watch and stop together, and a demotion is in force', async ({ server, owner, guest }) => {
  await server.endRedis();
  const [first, second] = server.nodes;
  const ada = await owner({ baseURL: first });
  const grace = await guest(ada, 'Grace', 'editor', { baseURL: second });
  const room = await newPrompt(ada, { title: 'Far apart', model: 'demo/slow', text: 'Say ' });
  await ada.goto(room);
  await grace.goto(room);
  await isLive(ada);
  await isLive(grace);

  await test.step('what one types, the other one reads', async () => {
    await message(ada).click();
    await ada.keyboard.press('ControlOrMeta+End');
    await message(ada).pressSequentially('tea 😀 ');
    await includes(message(grace), 'tea 😀');
    await message(grace).click();
    await grace.keyboard.press('ControlOrMeta+End');
    await message(grace).pressSequentially('and milk');
    await includes(message(ada), 'and milk');
    await includes(message(grace), 'Say tea 😀 and milk');
    await isLive(ada);
    await isLive(grace);
  });

  await test.step('within a second', async () => {
    const apart = [];
    for (const word of ['one', 'two', 'three', 'four', 'five']) {
      const arrived = grace.waitForFunction((word) => document.querySelector('[aria-label="User message"] .cm-content').textContent.includes(word), word, {
        polling: 20,
      });
      await message(ada).click();
      await ada.keyboard.insertText(` ${word}`);
      const written = Date.now();
      await arrived;
      apart.push(Date.now() - written);
    }
    console.log(`two nodes without Redis: an edit is on the other screen after ms ${apart.join(', ')}`);
    // The one in the middle: a machine may stand still for a moment.
    expect(apart.toSorted((one, other) => one - other)[2]).toBeLessThanOrEqual(APART_MS);
  });

  await test.step('one runs it, the other one watches, and stops it', async () => {
    await ada.keyboard.press(MOD_ENTER);
    await expect.poll(() => lengthOf(ada)).toBeGreaterThan(20);
    await expect.poll(() => lengthOf(grace)).toBeGreaterThan(20);
    await stopButton(grace).click();
    await expect(output(ada).getByText('Stopped by Grace').first()).toBeVisible();
    const { run, text } = await stored(ada);
    expect(run.state).toBe('cancelled');
    for (const page of [ada, grace]) {
      await view(page, 'Raw');
      await expect.poll(() => rawText(page)).toBe(text);
    }
  });

  await test.step('who may only look from now on can only look', async () => {
    const { members } = await (await ada.request.get('/api/v1/members')).json();
    const { id } = members.find(({ name }) => name === 'Grace');
    const changed = await ada.request.patch(`/api/v1/members/${id}`, { data: { role: 'viewer' } });
    expect(changed.ok(), await changed.text()).toBe(true);
    await expect(grace.getByText('View only')).toBeVisible();
  });
});
