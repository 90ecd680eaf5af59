// Two people whose browsers are on two nodes, with Redis dead from the beginning: the database alone keeps them together.
import { expect, clusterTest as test } from './room.mjs';
import { MOD_ENTER, includes, isLive, lengthOf, message, newPrompt, output, rawText, stopButton, stored, view } from './page.mjs';

/** What the two nodes may be apart without Redis, as people see it: a poll every half second, and the page's own time. */
const APART = { timeout: 5_000 };

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
    await expect.poll(() => message(grace).textContent(), APART).toContain('tea 😀');
    await message(grace).click();
    await grace.keyboard.press('ControlOrMeta+End');
    await message(grace).pressSequentially('and milk');
    await expect.poll(() => message(ada).textContent(), APART).toContain('and milk');
    await includes(message(grace), 'Say tea 😀 and milk');
    await isLive(ada);
    await isLive(grace);
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
    await expect(grace.getByText('View only')).toBeVisible(APART);
  });
});
