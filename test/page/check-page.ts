import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { checkPage } from '../../lib/migrate/checks/check-page.ts';
import { reportPage } from '../../lib/page/page.ts';
import type { Report } from '../../lib/report/report-schema.ts';
import { makeCheckReport, makeGoodCheckReport } from '../make-check-report.ts';
import { makeIndexReport, makeTakenBackIndex } from '../make-index-report.ts';
import {
  makeEarlyReport,
  makeFilteredEntry,
  makeGoodReport,
  makeLiveReport,
  makeManyDifferences,
  makeReport,
} from '../make-report.ts';
import { findBrowser, howToInstall } from './browsers.mjs';

/**
 * Opens the pages of reports in Chromium as a phone, a desk and paper have it, in light and in dark, and names what is wrong
 * with it. Run by test/page/page.test.ts; `npm run page DIRECTORY` keeps the pictures there.
 */

const long = 'a-name-that-goes-on-without-a-place-to-break-it-'.repeat(8);
const markup = `<img src=x onerror=alert(1)>&amp;</svg></style>"'{a|b}`;

const reports: Readonly<Record<string, () => Report>> = {
  validated: makeGoodReport,
  live: makeLiveReport,
  failed: () => makeReport('rosé, a wine'),
  long: () => makeReport(long),
  markup: () => makeReport(markup),
  'ten-thousand': makeManyDifferences,
  'twenty-sets': () => ({
    ...makeReport(''),
    recall: { sets: Array.from({ length: 20 }, (_, at) => makeFilteredEntry('', at)) },
  }),
  'no-recall': () => ({ ...makeGoodReport(), recall: { reason: 'the event asks for none', sets: [] }, tuning: null }),
  'another-model': () => {
    const { recall, ...report } = makeReport('rosé, a wine');
    const sets = [0, 1].map((at) => makeFilteredEntry('', at));
    const source = { measured: false, reason: 'its vectors are of another model (glove, version 6B)' } as const;
    return { ...report, recall: { ...recall, sets: sets.map((each) => ({ ...each, source })) } };
  },
  index: makeIndexReport,
  'index-back': () => makeTakenBackIndex(long),
  'index-markup': () => makeTakenBackIndex(markup),
  early: makeEarlyReport,
};

/** Every kind of page there is, as HTML. */
export const pages: Readonly<Record<string, () => string>> = {
  ...Object.fromEntries(Object.entries(reports).map(([name, make]) => [name, () => reportPage(make())])),
  check: () => checkPage(makeCheckReport('rosé, a wine')),
  'check-long': () => checkPage(makeCheckReport(long)),
  'check-markup': () => checkPage(makeCheckReport(markup)),
  'check-well': () => checkPage(makeGoodCheckReport()),
};

/** How a page is looked at; axe-core takes a second or two, and sees all that there is in two of them. */
export const views = [
  { name: '375-light', width: 375, colorScheme: 'light', media: 'screen', axe: true },
  { name: '375-dark', width: 375, colorScheme: 'dark', media: 'screen', axe: false },
  { name: '1440-light', width: 1440, colorScheme: 'light', media: 'screen', axe: false },
  { name: '1440-dark', width: 1440, colorScheme: 'dark', media: 'screen', axe: true },
  // A4 without its margins; a dark desktop prints on white paper all the same.
  { name: 'print', width: 718, colorScheme: 'dark', media: 'print', axe: false },
] as const;
type View = (typeof views)[number];

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Of each step of the browser: a busy machine may take longer than Playwright's thirty seconds. */
const limitMs = 240_000;

/** @throws Error that says how to get a browser where there is none. */
export async function openBrowser(): Promise<Browser> {
  const executablePath = findBrowser();
  if (executablePath === undefined) throw new Error(howToInstall);
  return await chromium.launch({ executablePath, args: ['--no-sandbox'], timeout: limitMs });
}

/** Everything that is wrong with one page in one view; a picture is taken where a directory is given. */
export async function lookAtPage(
  browser: Browser,
  directory: string,
  { name, view, pictures = false }: { readonly name: string; readonly view: View; readonly pictures?: boolean },
): Promise<string[]> {
  const make = pages[name];
  if (make === undefined) throw new Error(`no page '${name}'`);
  const file = join(directory, `${name}.html`);
  writeFileSync(file, make());
  const found: string[] = [];
  // The page's own policy lets no script in, axe's neither; the policy itself is held by test/report/report.test.ts.
  const context = await browser.newContext({
    viewport: { width: view.width, height: 900 },
    colorScheme: view.colorScheme,
    bypassCSP: true,
  });
  context.setDefaultTimeout(limitMs);
  const page = await context.newPage();
  page.on('request', (request) => {
    if (request.url() !== pathToFileURL(file).href) found.push(`asks for ${request.url().slice(0, 200)}`);
  });
  page.on('console', (message) => found.push(`says ${message.text()}`));
  page.on('pageerror', (error) => found.push(`throws ${error.message}`));
  page.on('dialog', async (dialog) => {
    found.push('opens a dialog');
    await dialog.dismiss();
  });
  await page.emulateMedia({ media: view.media });
  await page.goto(pathToFileURL(file).href);
  if (view.media === 'screen') await openDetails(page);
  for (const find of [findOverflow, findPoorText, findPoorCharts]) found.push(...(await page.evaluate(find)));
  if (view.media === 'print') found.push(...(await page.evaluate(findHidden)));
  if (pictures) await page.screenshot({ path: join(directory, `${name}-${view.name}.png`), fullPage: true });
  if (pictures && view.media === 'print') await page.pdf({ path: join(directory, `${name}.pdf`), format: 'A4' });
  if (view.axe) found.push(...(await findViolations(page)));
  await context.close();
  return [...new Set(found)];
}

/** The tables within closed details must fit as well. */
async function openDetails(page: Page): Promise<void> {
  await page.$$eval('details', (all) => {
    for (const each of all) each.setAttribute('open', '');
  });
}

/** What axe-core finds against WCAG 2.2 A and AA and its best practices. */
async function findViolations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const result: unknown = await page.evaluate('axe.run(document, { resultTypes: ["violations"] })');
  if (!isAxeResult(result)) throw new Error('axe answered in a form that is not known');
  return result.violations.map(
    ({ id, help, nodes }) =>
      `axe ${id}: ${help}: ${nodes
        .slice(0, 3)
        .map(({ target }) => target.join(' '))
        .join('; ')}`,
  );
}

interface AxeResult {
  readonly violations: readonly {
    readonly id: string;
    readonly help: string;
    readonly nodes: readonly { readonly target: readonly string[] }[];
  }[];
}

function isAxeResult(value: unknown): value is AxeResult {
  return typeof value === 'object' && value !== null && 'violations' in value && Array.isArray(value.violations);
}

/** Elements that reach beyond the page. */
function findOverflow(): string[] {
  const width = document.documentElement.clientWidth;
  const wide = document.documentElement.scrollWidth;
  const out = [...document.querySelectorAll('body *')].flatMap((element) => {
    const { right, width: own } = element.getBoundingClientRect();
    if (right <= width + 0.5 || own === 0 || element.closest('.scroll') !== null) return [];
    return [`<${element.tagName}> ends at ${right}: ${(element.textContent ?? '').trim().slice(0, 40)}`];
  });
  return [...(wide > width ? [`the page is ${wide} wide`] : []), ...out];
}

/** Text too small to read, cut by its chart, or with a contrast to what is behind it below WCAG's 4.5. */
function findPoorText(): string[] {
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
  const faultsOf = (element: Element): string[] => {
    const style = getComputedStyle(element);
    const svg = element.closest('svg');
    const [one, other] = [luminance(svg === null ? style.color : style.fill), luminance(ground(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const scale = svg === null ? 1 : svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    const letters = Number.parseFloat(style.fontSize) * scale;
    const [box, frame] = [element.getBoundingClientRect(), svg?.getBoundingClientRect()];
    const isCut =
      frame !== undefined && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1);
    return [
      ...(contrast < 4.5 ? [`has a contrast of ${contrast.toFixed(2)}`] : []),
      ...(letters < 10 ? [`has letters of ${letters.toFixed(1)} pixels`] : []),
      ...(isCut ? ['is cut by its chart'] : []),
    ];
  };
  return [...document.querySelectorAll('body *')].flatMap((element) => {
    const isText = [...element.childNodes].some(
      (node) => node.nodeType === 3 && (node.textContent ?? '').trim() !== '',
    );
    const isSeen = element.getBoundingClientRect().width > 0 && element.closest('.unseen') === null;
    const said = (element.textContent ?? '').trim().slice(0, 40);
    return isText && isSeen ? faultsOf(element).map((fault) => `<${element.tagName}> '${said}' ${fault}`) : [];
  });
}

/** Charts without size, marks or words. */
function findPoorCharts(): string[] {
  return [...document.querySelectorAll('.plot')].flatMap((plot) => {
    const shown = [...plot.querySelectorAll('svg')].filter((svg) => svg.getBoundingClientRect().width > 0);
    const [chart] = shown;
    if (shown.length !== 1 || chart === undefined) return [`${shown.length} drawings of a chart are shown`];
    const { width, height } = chart.getBoundingClientRect();
    const isEmpty = chart.querySelectorAll('text').length < 3 || chart.querySelectorAll('path').length < 3;
    const isSilent = (plot.getAttribute('aria-label') ?? '').length < 20;
    return [
      ...(width < 280 || height < 60 ? [`a chart is ${width} x ${height}`] : []),
      ...(isEmpty ? ['a chart is empty'] : []),
      ...(isSilent ? ['a chart has no words for those who hear it'] : []),
    ];
  });
}

/** What paper would lose: closed details, and a dark ground. */
function findHidden(): string[] {
  const closed = [...document.querySelectorAll('details:not(.figures-of)')].filter((each) =>
    [...each.children].some((child) => child.tagName !== 'SUMMARY' && child.getBoundingClientRect().height === 0),
  );
  const ink = getComputedStyle(document.body).color;
  const isLight = (ink.match(/\d+/g) ?? []).map(Number).every((channel) => channel < 80);
  return [
    ...closed.map((each) => `paper loses ${each.querySelector('summary')?.textContent ?? 'details'}`),
    ...(isLight ? [] : [`paper gets ${ink} as ink`]),
  ];
}
