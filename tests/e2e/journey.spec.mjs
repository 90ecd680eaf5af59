// Two people in Chromium on a real engine, from the printed link to what a killed server kept.
import { expect, engineTest as test } from './room.mjs';
import { MOD_ENTER, includes, isLive, lengthOf, message, output, rawText, stopButton, stored, system, view, written } from './page.mjs';

test('two people write, run, watch and stop together', async ({ engine, server, person }) => {
  const owner = await person();
  await test.step('the owner signs in by the printed link, which works once', async () => {
    const link = await server.link();
    await owner.goto(new URL(link).pathname);
    await owner.getByRole('button', { name: 'Sign in as the owner' }).click();
    await expect(owner).toHaveURL(/\/p\//);
    const second = await person();
    await second.goto(new URL(link).pathname);
    await second.getByRole('button', { name: 'Sign in as the owner' }).click();
    await expect(second.getByText('was used or has expired')).toBeVisible();
  });

  await test.step('and makes a prompt', async () => {
    await owner.getByRole('navigation', { name: 'Workspace and prompt' }).getByRole('link', { name: 'Library' }).click();
    await owner.getByRole('button', { name: 'New prompt' }).click();
    await expect(owner).toHaveURL(/\/p\//);
    await isLive(owner);
    await owner.getByRole('textbox', { name: 'Prompt name' }).fill('Journey 😀');
  });

  const guest = await person();
  await test.step('a guest joins by an invitation and a name', async () => {
    await owner.getByRole('button', { name: 'Share' }).click();
    await owner.getByRole('button', { name: 'Workspace', exact: true }).click();
    await owner.getByRole('button', { name: 'Create invite link' }).click();
    const invitation = await owner.getByRole('textbox', { name: 'Invite link' }).inputValue();
    await owner.keyboard.press('Escape');
    await guest.goto(new URL(invitation).pathname);
    await guest.getByRole('textbox', { name: 'Your name' }).fill('Grace');
    await guest.getByRole('button', { name: 'Join' }).click();
    await guest.getByRole('link', { name: /Journey/ }).click();
    await isLive(guest);
    await expect(owner.getByRole('img', { name: /2 people here:.*Grace/ })).toBeVisible();
  });

  await test.step('both type at once, and both see both', async () => {
    await message(owner).click();
    await system(guest).click();
    await Promise.all([
      message(owner).pressSequentially('Write about 😀 tea. ', { delay: 10 }),
      system(guest).pressSequentially('Answer at length. ', { delay: 10 }),
    ]);
    await includes(message(guest), 'Write about 😀 tea.');
    await includes(system(owner), 'Answer at length.');
    await expect(guest.getByRole('textbox', { name: 'Prompt name' })).toHaveValue('Journey 😀');
    await isLive(owner);
  });

  await test.step('one runs it on the engine, the other watches the same text arrive', async () => {
    await owner.keyboard.press(MOD_ENTER);
    await expect.poll(() => lengthOf(owner)).toBeGreaterThan(100);
    await expect.poll(() => lengthOf(guest)).toBeGreaterThan(100);
    expect(await engine.busy()).toBe(1);
  });

  await test.step('a refresh in mid-stream loses nothing', async () => {
    const before = await lengthOf(guest);
    await guest.reload();
    await view(guest, 'Raw');
    await expect.poll(() => lengthOf(guest)).toBeGreaterThan(before + 100);
  });

  await test.step('the other one presses Stop, and the engine stops', async () => {
    await stopButton(guest).click();
    await expect.poll(() => engine.busy()).toBe(0);
    await expect(output(owner).getByText('Stopped by Grace').first()).toBeVisible();
    await view(owner, 'Raw');
    const { run, text } = await stored(owner);
    expect(run.state).toBe('cancelled');
    for (const page of [owner, guest]) await expect.poll(() => rawText(page)).toBe(text);
  });

  const first = await rawText(owner);
  await test.step('it is regenerated, and the first run is read meanwhile', async () => {
    await output(owner).getByRole('button', { name: /Regenerate/ }).click();
    await expect.poll(() => engine.busy()).toBe(1);
    await owner.getByRole('button', { name: /^Run 1\b/ }).click();
    await expect.poll(() => rawText(owner)).toBe(first);
    await expect.poll(() => lengthOf(guest)).toBeGreaterThan(100);
    await stopButton(guest).click();
    await expect.poll(() => engine.busy()).toBe(0);
  });

  await test.step('another run neither moves nor replaces what is read: a chip offers it', async () => {
    await guest.getByRole('textbox', { name: 'User message' }).click();
    await guest.keyboard.press(MOD_ENTER);
    const chip = output(owner).getByRole('button', { name: /Grace started run 3 · Watch/ });
    await expect(chip).toBeVisible();
    await expect.poll(() => lengthOf(guest)).toBeGreaterThan(100);
    expect(await rawText(owner)).toBe(first);
    await chip.click();
    await expect(output(owner).getByRole('heading', { name: 'Run 3' })).toBeVisible();
    await expect.poll(() => lengthOf(owner)).toBeGreaterThan(100);
    await stopButton(owner).click();
    await expect.poll(() => engine.busy()).toBe(0);
  });

  await test.step('the guest goes offline, types, and everything is there on return', async () => {
    await guest.context().setOffline(true);
    await message(guest).pressSequentially('From afar. ');
    await message(owner).pressSequentially('From here. ');
    await expect(guest.getByText(/Offline, \d unsynced/)).toBeVisible();
    await guest.context().setOffline(false);
    for (const page of [owner, guest]) {
      await includes(message(page), 'From afar.');
      await includes(message(page), 'From here.');
    }
    await isLive(guest);
  });

  await test.step('kill -9 of the server loses nothing that was shown as saved', async () => {
    const text = await written(message(guest));
    await server.kill();
    await server.start();
    const fresh = await guest.context().newPage();
    await fresh.goto(new URL(owner.url()).pathname);
    await expect.poll(() => written(message(fresh))).toBe(text);
    await isLive(owner);
  });
});
