// Two people in Chromium, from the printed link to reading an old run while another one streams.
import axe from 'axe-core';
import { expect, test } from './room.mjs';

test('two people write, run, watch and stop together', async ({ engine, server, person }) => {
  const owner = await person();
  await test.step('the owner signs in by the printed link, which works once', async () => {
    const link = await server.link();
    await owner.goto(new URL(link).pathname);
    await owner.getByRole('button', { name: 'Sign in as the owner' }).click();
    await expect(owner).not.toHaveURL(/\/link\//);
    const second = await person();
    await second.goto(new URL(link).pathname);
    await second.getByRole('button', { name: 'Sign in as the owner' }).click();
    await expect(second.getByText('was used or has expired')).toBeVisible();
  });

  await test.step('and makes a prompt', async () => {
    await owner.goto('/');
    await owner.getByRole('button', { name: /New prompt|Start from nothing/ }).first().click();
    await expect(owner).toHaveURL(/\/p\//);
    await owner.getByRole('textbox', { name: 'Prompt name' }).fill('Journey 😀');
  });

  const guest = await person();
  await test.step('a guest joins by an invitation and a name', async () => {
    await owner.getByRole('button', { name: 'Share' }).click();
    await owner.getByRole('button', { name: 'Workspace', exact: true }).click();
    await owner.getByRole('button', { name: 'Create invite link' }).click();
    const invitation = await owner.getByRole('textbox', { name: 'Invite link' }).inputValue();
    await owner.getByRole('button', { name: 'Close' }).click();
    await guest.goto(new URL(invitation).pathname);
    await guest.getByRole('textbox').fill('Grace');
    await guest.getByRole('button', { name: 'Join' }).click();
    await expect(guest).not.toHaveURL(/\/invite\//);
    await guest.goto(new URL(owner.url()).pathname);
    await expect(owner.getByRole('img', { name: /2 people here:.*Grace/ })).toBeVisible();
  });

  const message = (page) => page.getByRole('article', { name: 'User message' }).getByRole('textbox');
  await test.step('both type at once, and both see both', async () => {
    await Promise.all([
      message(owner).pressSequentially('Write about 😀 tea. ', { delay: 15 }),
      guest.getByRole('article', { name: 'System' }).getByRole('textbox').pressSequentially('Answer at length. ', { delay: 15 }),
    ]);
    await expect(message(guest)).toContainText('Write about 😀 tea.');
    await expect(owner.getByRole('article', { name: 'System' })).toContainText('Answer at length.');
    await expect(owner.getByText('Live · saved')).toBeVisible();
  });

  const output = (page) => page.getByRole('region', { name: 'Text' });
  const lengthOf = async (page) => (await output(page).innerText()).length;
  await test.step('one runs it on the engine, the other watches the same text arrive', async () => {
    await owner.keyboard.press('ControlOrMeta+Enter');
    await expect.poll(() => lengthOf(owner)).toBeGreaterThan(100);
    await expect.poll(() => lengthOf(guest)).toBeGreaterThan(100);
    expect(await engine.busy()).toBe(1);
  });

  await test.step('a refresh in mid-stream loses nothing', async () => {
    const before = await lengthOf(guest);
    await guest.reload();
    await expect.poll(() => lengthOf(guest)).toBeGreaterThan(before);
  });

  await test.step('the other one presses Stop, and the engine stops', async () => {
    await guest.getByRole('button', { name: 'Stop' }).first().click();
    await expect.poll(() => engine.busy(), { timeout: 2_000 }).toBe(0);
    await expect(owner.getByRole('region', { name: 'Output' })).toContainText(/Stopped/i);
    await expect.poll(async () => (await output(owner).innerText()) === (await output(guest).innerText())).toBe(true);
  });

  const first = await output(owner).innerText();
  await test.step('it is regenerated, and the first run is read meanwhile', async () => {
    await owner.getByRole('button', { name: 'Regenerate' }).click();
    await expect.poll(() => engine.busy()).toBe(1);
    await owner.getByRole('button', { name: /Run 1\b/ }).first().click();
    await expect.poll(() => output(owner).innerText()).toBe(first);
    await expect.poll(() => lengthOf(guest)).toBeGreaterThan(100);
    await guest.getByRole('button', { name: 'Stop' }).first().click();
  });

  await test.step('the guest goes offline, types, and everything is there on return', async () => {
    await guest.context().setOffline(true);
    await message(guest).pressSequentially('From afar. ');
    await message(owner).pressSequentially('From here. ');
    await expect(guest.getByText(/Offline/).first()).toBeVisible();
    await guest.context().setOffline(false);
    for (const page of [owner, guest]) {
      await expect(message(page)).toContainText('From afar.');
      await expect(message(page)).toContainText('From here.');
    }
  });

  await test.step('kill -9 of the server loses nothing that was shown as saved', async () => {
    await expect(guest.getByText('Live · saved')).toBeVisible();
    const text = await message(guest).innerText();
    await server.kill();
    await server.start();
    const fresh = await guest.context().newPage();
    await fresh.goto(new URL(owner.url()).pathname);
    await expect.poll(() => message(fresh).innerText()).toBe(text);
  });

  await test.step('nothing serious bars anybody from the room', async () => {
    await owner.evaluate(axe.source);
    const { violations } = await owner.evaluate(() => globalThis.axe.run());
    const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    expect(serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(' ')}`)).toEqual([]);
  });
});
