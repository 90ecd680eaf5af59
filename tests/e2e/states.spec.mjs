// Every state that a person meets: it says what it is, axe finds nothing serious in it, and a picture of it is kept.
import { MOD_ENTER, accessible, includes, isLive, message, newPrompt, output, read, stopButton, system } from './page.mjs';
import { expect, test, toldTest } from './room.mjs';
import { picture, shoot } from './shots.mjs';
import { ANSWER, TRIAGE } from './triage.mjs';

test('the way in: sign-in, link, invitation, an empty library and a full one', async ({ owner, person, server }) => {
  const stranger = await person();
  await stranger.goto('/');
  await expect(stranger.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  await accessible(stranger, 'sign-in');
  await shoot(stranger, 'signin');
  await stranger.goto(new URL(await server.link()).pathname);
  await expect(stranger.getByRole('button', { name: 'Sign in as the owner' })).toBeVisible();
  await accessible(stranger, 'the link');
  await shoot(stranger, 'link');
  await stranger.goto('/invite/whatever');
  await expect(stranger.getByRole('heading', { name: 'Join the workspace' })).toBeVisible();
  await accessible(stranger, 'the invitation');

  const page = await owner();
  await page.goto('/');
  await expect(page.getByRole('heading', { name: 'Run your first prompt' })).toBeVisible();
  await accessible(page, 'the empty library');
  await shoot(page, 'library-empty');
  for (const title of ['Ticket triage', 'Refund policy answers', 'Conversation summary', 'Tone check']) await newPrompt(page, { title });
  await page.reload();
  await expect(page.getByRole('link', { name: /Tone check/ })).toBeVisible();
  await accessible(page, 'the library');
  await shoot(page, 'library');
});

toldTest('a run from first to last: idle, streaming, queued, stopped, failed', async ({ owner, guest, upstream, server }) => {
  const ann = await owner();
  await ann.request.patch('/api/v1/me', { data: { name: 'Ana' } });
  const path = await newPrompt(ann, { title: 'Ticket triage', ...TRIAGE });
  const ravi = await guest(ann, 'Ravi Shah');
  const mei = await guest(ann, 'Mei', 'viewer');
  for (const page of [ann, ravi, mei]) {
    await page.goto(path);
    await isLive(page);
  }
  await toldTest.step('idle', async () => {
    await expect(output(ann).getByText('Nothing has run yet')).toBeVisible();
    await accessible(ann, 'the idle room');
    await shoot(ann, 'room-first');
  });

  await toldTest.step('streaming', async () => {
    await system(ann).click();
    await ann.keyboard.press(MOD_ENTER);
    const call = await upstream.next();
    call.write(ANSWER);
    await expect(read(ravi)).toContainText('without any work from');
    await expect(output(ann).getByText(/of 1,024/)).toBeVisible();
    // A name shows for a moment only, which a busy machine may spend elsewhere.
    await expect(async () => {
      await placeCarets(ravi);
      await expect(ann.locator('.rc-fresh')).toBeVisible({ timeout: 1_000 });
    }).toPass();
    await picture(ann, 'room');
    await accessible(ann, 'the streaming room');
    await shoot(ann, 'room-streaming');
    await expect(mei.getByText('View only')).toBeVisible();
    await accessible(mei, 'a viewer’s room');
    await shoot(mei, 'view-only');
    call.write(' you.');
    call.end();
    await expect(output(ann).getByText('Completed').first()).toBeVisible();
    await shoot(ann, 'room-idle');
  });

  await toldTest.step('queued and stopped', async () => {
    await ravi.keyboard.press(MOD_ENTER);
    const held = await upstream.next();
    held.write('The first words of an answer that is not needed any more');
    await expect(read(ann)).toContainText('needed any more');
    await ann.keyboard.press(MOD_ENTER);
    await expect(output(ann).getByText('Queued').first()).toBeVisible();
    await expect(output(ann).getByText(/1st of 1/)).toBeVisible();
    await accessible(ann, 'the queue');
    await shoot(ann, 'queued');
    await output(ann).getByRole('button', { name: /Leave the queue/ }).click();
    await expect(output(ann).getByText(/Stopped by/).first()).toBeVisible();
    await ann.getByRole('button', { name: /^Run 2\b/ }).first().click();
    await stopButton(ann).click();
    await expect(output(ravi).getByText(/Stopped by/).first()).toBeVisible();
    await shoot(ann, 'cancelled');
  });

  await toldTest.step('offline', async () => {
    await ravi.context().setOffline(true);
    await message(ravi, 'Assistant').click();
    await ravi.keyboard.type('From the train. ');
    await expect(ravi.getByText(/Offline, \d unsynced/)).toBeVisible();
    await accessible(ravi, 'the offline room');
    await shoot(ravi, 'offline');
    await ravi.context().setOffline(false);
    await includes(message(ann, 'Assistant'), 'From the train.');
  });

  await toldTest.step('failed', async () => {
    await server.kill('SIGTERM');
    await server.start();
    await isLive(ann);
    await ann.getByRole('button', { name: /^Model: / }).click();
    await ann.getByRole('option', { name: /breaks off/ }).click();
    await ann.keyboard.press(MOD_ENTER);
    await expect(output(ann).getByText('Failed').first()).toBeVisible();
    await accessible(ann, 'a failed run');
    await shoot(ann, 'failed');
  });
});

test('dialogs and menus keep nobody out', async ({ owner }) => {
  const page = await owner();
  await page.goto(await newPrompt(page));
  await isLive(page);
  const rail = page.getByRole('navigation', { name: 'Workspace and prompt' });
  for (const [name, open] of [
    ['Share', () => page.getByRole('button', { name: 'Share' }).click()],
    ['Members', () => rail.getByRole('button', { name: 'Members' }).click()],
    ['Keyboard', () => rail.getByRole('button', { name: 'Keyboard help' }).click()],
  ]) {
    await open();
    const dialog = page.getByRole('dialog');
    await expect(dialog).toBeVisible();
    await accessible(page, name);
    await picture(page, `dialog-${name.toLowerCase()}`);
    await page.keyboard.press('Escape');
    await expect(dialog).toHaveCount(0);
  }
  await page.getByRole('button', { name: 'Run options' }).click();
  await expect(page.getByRole('menu')).toBeVisible();
  await accessible(page, 'the menu of Run');
});

test('everything that matters can be done by keyboard alone', async ({ owner }) => {
  const page = await owner();
  await newPrompt(page, { title: 'By keyboard', model: 'demo/slow' });
  await page.goto('/');
  await page.getByRole('link', { name: /By keyboard/ }).focus();
  await page.keyboard.press('Enter');
  await isLive(page);
  const names = async (key, wanted, most = 60) => {
    for (let press = 0; press < most; press += 1) {
      // In an editor Tab indents; after Esc it leaves.
      if (await page.evaluate(() => document.activeElement?.matches('.cm-content') ?? false)) await page.keyboard.press('Escape');
      await page.keyboard.press(key);
      if (await page.evaluate((name) => document.activeElement?.matches(name) ?? false, wanted)) return;
    }
    throw new Error(`${most} times ${key} do not lead to ${wanted}`);
  };
  await names('Tab', '[aria-label="User message"]');
  await page.keyboard.type('typed ');
  await page.keyboard.press(MOD_ENTER);
  await expect(output(page).getByText('Streaming').first()).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(output(page).getByText(/Stopped by/).first()).toBeVisible();
  await page.keyboard.press('F6');
  await expect(output(page)).toBeFocused();
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(output(page), 'a dialog gives the focus back').toBeFocused();
  await names('Shift+Tab', '.topbar .btn.primary:not([aria-haspopup])');
  await page.keyboard.press('Enter');
  await expect(output(page).getByText('Streaming').first()).toBeVisible();
  await expect(stopButton(page), 'Run and Stop are one button').toBeFocused();
  for (const pane of ['Prompt', 'Output']) {
    await page.keyboard.press('F6');
    await expect(page.getByRole('region', { name: pane, exact: true })).toBeFocused();
  }
  await names('Tab', '.out .btn.stop');
  await page.keyboard.press('Enter');
  await expect(output(page).getByText(/Stopped by/).first()).toBeVisible();
});

/** Somebody selects a line, as in the pictures. */
async function placeCarets(page) {
  const last = page.getByRole('article', { name: 'User message' }).last().getByRole('textbox');
  await last.click();
  await page.keyboard.press('ControlOrMeta+End');
  await page.keyboard.press('Home');
  await page.keyboard.press('Shift+End');
}
