// Plain JavaScript without packages: it is read before anything is installed.
import { existsSync } from 'node:fs';

/** Where Chromium, or a browser made from it, usually is. */
const places = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

export const howToInstall =
  'The report page is tested in Chromium, and there is none: install it (Debian: apt-get install chromium), or name one in CHROMIUM.';

/** The browser to test with: the one that CHROMIUM names, or the first that is there. */
export function findBrowser() {
  const { CHROMIUM } = process.env;
  return (CHROMIUM === undefined ? places : [CHROMIUM]).find((place) => existsSync(place));
}
