import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lookAtPage, openBrowser, pages, views } from './check-page.ts';

/** `npm run page DIRECTORY`: what the test looks at, kept as pictures and PDFs for people. */
const directory = process.argv[2] ?? join(tmpdir(), 'vecferry-page');
mkdirSync(directory, { recursive: true });
const browser = await openBrowser();
const faults: string[] = [];
for (const name of Object.keys(pages)) {
  for (const view of views) {
    const found = await lookAtPage(browser, directory, { name, view, pictures: true });
    faults.push(...found.map((each) => `${name}, ${view.name}: ${each}`));
  }
}
await browser.close();
process.stdout.write(faults.length === 0 ? `the page is right; pictures in ${directory}\n` : `${faults.join('\n')}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
