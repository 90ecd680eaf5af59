// Pictures for people to look at, in target/screenshots: light and dark, wide and narrow.
import { resolve } from 'node:path';

const FOLDER = resolve(import.meta.dirname, '../../target/screenshots');
const WIDE = { width: 1440, height: 900 };
const NARROW = { width: 1000, height: 800 };
const PHONE = { width: 390, height: 844 };

export async function shoot(page, name) {
  for (const [size, viewport] of Object.entries({ wide: WIDE, narrow: NARROW, phone: PHONE })) {
    await page.setViewportSize(viewport);
    // Where there is room for one pane only, the output is the one that differs.
    const output = page.getByRole('tab', { name: 'Output' });
    if (await output.isVisible()) await output.click();
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.evaluate(() => document.fonts.ready);
      await picture(page, `${name}-${size}-${colorScheme}`);
    }
  }
  await page.setViewportSize(WIDE);
  await page.emulateMedia({ colorScheme: 'light' });
}

export async function picture(page, name) {
  await page.screenshot({ path: `${FOLDER}/${name}.png`, animations: 'disabled' });
}
