// What is on the page, by the names that people and screen readers have for it.
import axe from 'axe-core';
import { expect } from '@playwright/test';

export const MOD_ENTER = 'ControlOrMeta+Enter';

/** The editor of the first message of a role. */
export const message = (page, role = 'User') => page.getByRole('article', { name: `${role} message` }).first().getByRole('textbox');
export const system = (page) => page.getByRole('article', { name: 'System' }).getByRole('textbox');
/** What is written in an editor, without other people's carets, which stand in it with their names. */
export function written(editor) {
  return editor.evaluate((content) =>
    [...content.querySelectorAll('.cm-line')]
      .map((line) => {
        const copy = line.cloneNode(true);
        for (const drawn of copy.querySelectorAll('.rc, .cm-placeholder')) drawn.remove();
        return copy.textContent;
      })
      .join('\n'),
  );
}

/** Waits until exactly this is written. */
export const reads = (editor, text) => expect.poll(() => written(editor)).toBe(text);

/** Waits until this is written somewhere in it. */
export const includes = (editor, text) => expect.poll(() => written(editor)).toContain(text);

export const output = (page) => page.getByRole('region', { name: 'Output' });
export const read = (page) => page.getByRole('region', { name: 'Text', exact: true });
export const stopButton = (page) => page.getByRole('banner').getByRole('button', { name: /^Stop/ });
export const runButton = (page) => page.getByRole('banner').getByRole('button', { name: /^Run(?! options)/ });

export const isLive = (page) => expect(page.getByText('Live · saved')).toBeVisible();

/** A new prompt of the workspace, with this content; returns its path. */
export async function newPrompt(page, { title = 'Journey', model = 'demo/markdown', system = '', text = 'Hello', ...more } = {}) {
  const variant = { id: 'main', name: 'A', model, parameters: {}, system, messages: [{ role: 'user', text }] };
  const data = { title, visibility: 'workspace', content: { variants: [variant], ...more } };
  const answer = await page.request.post('/api/v1/prompts', { data });
  expect(answer.ok(), await answer.text()).toBe(true);
  const { id } = await answer.json();
  return `/p/${id}`;
}

/** The text and reasoning of the run that is shown, as they came: the Raw view without the page's own marks. */
export function rawText(page) {
  return read(page).evaluate((area) => {
    const copy = area.cloneNode(true);
    for (const mark of copy.querySelectorAll('.resume, .seam, .caret')) mark.remove();
    return [...copy.querySelectorAll('div.part')].map((part) => part.textContent).join('');
  });
}

export const lengthOf = async (page) => (await rawText(page)).length;

export const view = (page, name) => output(page).getByRole('group', { name: 'View' }).getByRole('button', { name }).click();

/** Waits for the end of a prompt's newest run by asking the server, which leaves the page to itself. */
export async function ended(page) {
  const newest = async () => (await runsOf(page))[0]?.state ?? 'none';
  const going = ['none', 'queued', 'admitted', 'streaming', 'recovering'];
  await expect.poll(newest, { timeout: 90_000, intervals: [250] }).not.toMatch(new RegExp(`^(${going.join('|')})$`));
  await page.waitForFunction(() => document.querySelector('.read')?.ariaBusy === 'false');
}

async function runsOf(page) {
  const prompt = new URL(page.url()).pathname.split('/').at(-1);
  return (await (await page.request.get(`/api/v1/prompts/${prompt}/runs`)).json()).runs;
}

/** What the server stored of a prompt's newest run, or of the run with a number; the text is as `rawText` has it. */
export async function stored(page, number) {
  const runs = await runsOf(page);
  const { id } = runs.find((run) => run.number === (number ?? runs[0].number));
  const { run, blocks } = await (await page.request.get(`/api/v1/runs/${id}`)).json();
  return { run, text: blocks.filter(({ kind }) => kind !== 'tool_call').map(({ text }) => text).join('') };
}

/** Nothing that keeps somebody out. */
export async function accessible(page, where) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const found = serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, html }) => `${target} ${html}`).join('\n')}`);
  expect(found, `what axe finds serious in ${where}`).toEqual([]);
}
