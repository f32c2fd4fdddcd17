import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { lookAtPage, openBrowser, pages, views } from './check-page.ts';

/** The report's page as people get it. A machine without Chromium fails here: a page that nobody opened is not tested. */

let browser: Browser;
const directory = mkdtempSync(join(tmpdir(), 'vecferry-page-'));

beforeAll(async () => {
  browser = await openBrowser();
});
afterAll(async () => await browser?.close());

describe.each(Object.keys(pages))("the page '%s'", (name) => {
  test.each(views)('holds at $name: nothing sticks out, is cut, pale, silent or from the network', async (view) => {
    expect(await lookAtPage(browser, directory, { name, view })).toEqual([]);
  });
});
