import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium } from 'playwright-core';
import { reportPage } from '../../lib/page/page.ts';
import type { Report } from '../../lib/report-schema.ts';
import { makeGoodReport, makeReport } from '../make-report.ts';

/**
 * Opens the report's page in Chromium on a phone and on a desk, in light and in dark, and fails when anything sticks out,
 * asks for the network or is too pale to read. Not among the tests, which need no browser: `npm run page DIRECTORY` keeps the
 * pictures there. Chromium is the one at CHROMIUM, or /usr/bin/chromium.
 */

const long = 'a-name-that-goes-on-without-a-place-to-break-it-'.repeat(8);
const reports: Record<string, Report> = {
  validated: makeGoodReport(),
  failed: makeReport('rosé, a wine'),
  long: makeReport(long),
  unproven: {
    ...makeGoodReport(),
    verdict: 'unproven',
    summary:
      'Could not validate, pgvector words to lancedb words: 3 records could not be compared. Nothing was cut over, and the source is untouched.',
    findings: [
      {
        check: 'compare',
        severity: 'unproven',
        what: '3 records could not be compared',
        ids: ['12', '88', '90'],
        causes: [],
        next: 'See the reason of each below, mend it, and validate the run again.',
      },
    ],
  },
  early: makeReport('', {
    summary: 'Failed with TargetNotEmpty: collection articles holds 12 records that this run did not write.',
    failure: {
      error: 'TargetNotEmpty',
      message: 'collection articles holds 12 records that this run did not write.',
      ids: [],
    },
    findings: [
      {
        check: 'run',
        severity: 'failed',
        what: 'collection articles holds 12 records that this run did not write.',
        ids: [],
        causes: [],
        next: 'Name a new collection, or say "into": "existing".',
      },
    ],
    counts: null,
    compare: null,
    spotCheck: null,
    recall: null,
    skipped: null,
    importedAt: null,
    actual: null,
    throttled: 0,
  }),
};

/** Elements that reach beyond the page, or text whose contrast with what is behind it is below WCAG's 4.5. */
function findFaults(): string[] {
  const found: string[] = [];
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width)
    found.push(`the page is ${document.documentElement.scrollWidth} wide`);
  const channels = (colour: string): number[] => (colour.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (colour: string): number => {
    const [r = 0, g = 0, b = 0] = channels(colour).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element: Element | null): string => {
    for (let each = element; each !== null; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  for (const element of document.querySelectorAll('body *')) {
    const box = element.getBoundingClientRect();
    const name = `<${element.tagName.toLowerCase()} class="${element.getAttribute('class') ?? ''}">`;
    if (box.right > width + 0.5 && element.closest('.scroll') === null) found.push(`${name} ends at ${box.right}`);
    const isText = [...element.childNodes].some(
      (node) => node.nodeType === 3 && (node.textContent ?? '').trim() !== '',
    );
    if (!isText || box.width === 0) continue;
    const [one, other] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push(`${name} has a contrast of ${contrast.toFixed(2)}`);
  }
  return [...new Set(found)];
}

async function checkPage(browser: Browser, directory: string, name: string): Promise<string[]> {
  const found: string[] = [];
  const file = join(directory, `${name}.html`);
  const report = reports[name];
  if (report === undefined) throw new Error(`no report '${name}'`);
  writeFileSync(file, reportPage(report));
  for (const width of [375, 1440]) {
    for (const colorScheme of ['light', 'dark'] as const) {
      const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
      page.on('request', (request) => {
        if (request.url() !== pathToFileURL(file).href) found.push(`asks for ${request.url()}`);
      });
      page.on('console', (message) => found.push(`says ${message.text()}`));
      await page.goto(pathToFileURL(file).href);
      // The tables within closed details must fit as well.
      await page.$$eval('details', (all) => {
        for (const each of all) each.setAttribute('open', '');
      });
      for (const fault of await page.evaluate(findFaults)) found.push(`${name} at ${width}, ${colorScheme}: ${fault}`);
      await page.screenshot({ path: join(directory, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      await page.close();
    }
  }
  return found;
}

const { CHROMIUM: browserPath = '/usr/bin/chromium' } = process.env;
const directory = process.argv[2] ?? join(tmpdir(), 'vecferry-page');
mkdirSync(directory, { recursive: true });
const browser = await chromium.launch({
  executablePath: browserPath,
  args: ['--no-sandbox'],
});
const faults: string[] = [];
for (const name of Object.keys(reports)) faults.push(...(await checkPage(browser, directory, name)));
await browser.close();
process.stdout.write(faults.length === 0 ? `the page is right; pictures in ${directory}\n` : `${faults.join('\n')}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;
