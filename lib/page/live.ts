import { html, join, type Markup } from '../html.ts';
import type { LiveReport, Report } from '../report/report-schema.ts';
import { count, plural } from '../words.ts';
import { timeText } from './ids.ts';
import { entries, figures } from './records.ts';

/** What the application wrote while the run went on, and whether both sides have it. */
export function liveSection({ live, target }: Report): Markup {
  if (live === null) return html``;
  const written = figures([
    ['Changed since the export', count(live.changed)],
    ['Added', count(live.added)],
    ['Deleted', count(live.deleted)],
    ['Deletes noted by the client', count(live.tombstones)],
  ]);
  const found = figures([
    ['Mended', count(live.mended)],
    ['Still missing in the target', count(live.missing)],
    ['Still different', count(live.different)],
    ['Extra in the target', live.extra === null ? 'not looked for' : count(live.extra)],
    ...(live.unchecked === 0 ? [] : [['Unchecked', count(live.unchecked)] as const]),
  ]);
  return html`<section><h2>Live writes</h2><p>${words(live)}</p><div class="pair"><div><h3>Written meanwhile</h3>${written}</div><div><h3>Held against the source now</h3>${found}</div></div>${notes(live, target?.store ?? 'the target')}${lists(live)}</section>`;
}

function words({ changed, added, deleted, mended, missing, different, extra, unchecked }: LiveReport): string {
  const left = missing + different + (extra ?? 0) + unchecked;
  if (left > 0) return `${plural(left, 'record')} could not be made, or shown to be, the same on both sides.`;
  const wrote = changed + added + deleted;
  if (wrote + mended === 0) return 'The application wrote nothing while the run went on.';
  if (mended === 0)
    return `All ${plural(wrote, 'record')} that were written while the run went on are the same on both sides.`;
  return `What was written while the run went on is the same on both sides, once ${plural(mended, 'record')} had been mended.`;
}

function notes({ flag, since, sweptFrom, sweptTo, mended, note }: LiveReport, target: string): Markup {
  const begun =
    since === null
      ? html``
      : html`<span class="time">Writes go to both sides since <time datetime="${since}">${timeText(since)}</time>, by the flag ${flag}.</span> `;
  const swept = html`<span class="time">Held against each other from <time datetime="${sweptFrom}">${timeText(sweptFrom)}</time> to <time datetime="${sweptTo}">${timeText(sweptTo)}</time>.</span>`;
  const why =
    mended === 0
      ? html``
      : html`<p class="dim">A record is mended, which is copied or deleted again, when its write has reached the source and not ${target}, or came there too late. A few are no fault; many say that something writes past the client.</p>`;
  return html`<p class="dim">${begun}${swept}</p>${why}${note === '' ? html`` : html`<p>${note}</p>`}`;
}

function lists({ first, mended, missing, different, unchecked }: LiveReport): Markup {
  return join([
    entries('Still missing', first.missing, missing),
    entries('Still different', first.different, different),
    entries('Could not be read from both sides', first.unchecked, unchecked),
    entries('Mended', first.mended, mended),
  ]);
}
