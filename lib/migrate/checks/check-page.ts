import { html, join, type Markup } from '../../html.ts';
import { pageDocument } from '../../page/document.ts';
import { timeText } from '../../page/ids.ts';
import { marks } from '../../page/verdict.ts';
import { count, plural } from '../../words.ts';
import type { CheckReport } from './check.ts';
import type { CheckResult } from './result.ts';

/** The report of a check as one HTML page, to be kept with a release. */
export function checkPage(report: CheckReport): string {
  const state = stateOf(report.tally);
  const parts = html`${header(report, state)}
${storeCards(report)}
${findings(report)}
${known(report)}
${join(report.stores.map(seen))}`;
  return pageDocument(`${titleOf(report)}: vecferry migrate check of ${timeText(report.at)}`, parts, ownStyle);
}

const ownStyle = `
.tally { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .9rem 0 0; color: var(--dim); } .tally b { color: var(--ink); font-size: 1.35rem; font-weight: 600; margin-right: .3rem; font-variant-numeric: tabular-nums; }
.tally .failed b { color: var(--bad); } .tally .unproven b { color: var(--open); } .store { font-weight: 400; color: var(--dim); }
.group > summary { display: flex; gap: .75rem; justify-content: space-between; overflow-wrap: anywhere; } .group > summary .state { flex: none; font-weight: 400; }
@media print { details.group { break-inside: avoid; } }
`;

type State = keyof typeof marks;
type Tally = CheckReport['tally'];

function stateOf({ wrong, unchecked }: Tally): State {
  if (wrong > 0) return 'failed';
  return unchecked > 0 ? 'unproven' : 'validated';
}

function titleOf({ tally: { wrong, unchecked } }: CheckReport): string {
  if (wrong > 0) return `${plural(wrong, 'thing')} not as ${wrong === 1 ? 'it' : 'they'} should be`;
  return unchecked > 0 ? `${plural(unchecked, 'thing')} could not be looked at` : 'All as it should be';
}

function header(report: CheckReport, state: State): Markup {
  const { migrations, tally, stores } = report;
  const known = stores.flatMap(({ results }) => results).filter(({ accepted }) => accepted !== undefined).length;
  const figures: readonly (readonly [State | 'known', number, string])[] = [
    ['validated', tally.ok - known, 'as they should be'],
    ['known', known, 'known and accepted'],
    ['failed', tally.wrong, 'not'],
    ['unproven', tally.unchecked, 'not looked at'],
  ];
  const shown = figures.filter(([kind, value]) => value > 0 || kind === 'validated');
  const last = migrations.last === null ? 'no migration is applied' : `up to ${migrations.last}`;
  return html`<header class="${state}">
<p class="eyebrow">vecferry migrate check</p>
<h1><span class="mark" aria-hidden="true">${marks[state]}</span> ${titleOf(report)}</h1>
<p class="route"><b>${plural(migrations.applied, 'migration')}</b> <span class="dim">applied, ${last}</span></p>
<p class="summary dim"><time datetime="${report.at}">${timeText(report.at)}</time>, line ${String(migrations.seq)} of the history, vecferry ${report.release}</p>
<p class="tally">${join(shown.map(([kind, value, word]) => html`<span class="${kind}"><b>${count(value)}</b>${word}</span> `))}</p>
</header>`;
}

/** One spelling of a table: what migrations name bare lies in public. */
const named = (what: string): string => what.replace(/^"(\w+)":/, 'public.$1:');

const tallyOf = (results: readonly CheckResult[]): Tally => {
  const of = (verdict: CheckResult['verdict']): number => results.filter((each) => each.verdict === verdict).length;
  return { ok: of('ok'), wrong: of('wrong'), unchecked: of('unchecked') };
};

function storeCards({ stores }: CheckReport): Markup {
  const cards = stores.map(({ name, store, results }) => {
    const tally = tallyOf(results);
    const state = stateOf(tally);
    const parts = [
      `${plural(tally.ok, 'check')} as ${tally.ok === 1 ? 'it' : 'they'} should be`,
      ...(tally.wrong > 0 ? [`${count(tally.wrong)} not`] : []),
      ...(tally.unchecked > 0 ? [`${count(tally.unchecked)} not looked at`] : []),
    ];
    return html`<li class="${results.length === 0 ? 'none' : state}"><span class="mark" aria-hidden="true">${results.length === 0 ? '–' : marks[state]}</span><div><b>${name}</b> <span class="state">${store}</span><p>${results.length === 0 ? 'No migration and no expectation is about it.' : `${parts.join(', ')}.`}</p></div></li>`;
  });
  return html`<section aria-label="Checks"><ul class="checks">${join(cards)}</ul></section>`;
}

/** What is wrong first, then what nobody could look at; each with what to do, which is what stands after the colon of a result. */
function findings({ stores }: CheckReport): Markup {
  const all = stores.flatMap(({ name, results }) => results.map((result) => ({ name, result })));
  const list = (['wrong', 'unchecked'] as const).flatMap((verdict) =>
    all.filter(({ result }) => result.verdict === verdict),
  );
  if (list.length === 0) return html``;
  const items = list.map(({ name, result: { what, verdict, detail } }) => {
    const word = verdict === 'wrong' ? 'not as it should be' : 'not looked at';
    return html`<li class="${verdict === 'wrong' ? 'failed' : 'unproven'}"><p class="what">${named(what)} <span class="store">${name}</span> <span class="state">${word}</span></p><p>${detail}</p></li>`;
  });
  return html`<section><h2>What to look at</h2><ul class="findings">${join(items)}</ul></section>`;
}

function known({ stores }: CheckReport): Markup {
  const list = stores.flatMap(({ name, results }) =>
    results.flatMap((result) => (result.accepted === undefined ? [] : [{ name, ...result, because: result.accepted }])),
  );
  if (list.length === 0) return html``;
  const rows = list.map(
    ({ name, what, because, detail }) =>
      html`<tr><th scope="row">${named(what)} <span class="store">${name}</span></th><td>${because}<br><span class="dim">${detail}</span></td></tr>`,
  );
  return html`<section><h2>Known and accepted</h2><table class="entries"><thead><tr><th scope="col">What</th><th scope="col">Why it may stay</th></tr></thead><tbody>${join(rows)}</tbody></table></section>`;
}

/** Everything else, a group an object: `public.articles: index …` stands under public.articles. */
function seen({ name, store, results }: CheckReport['stores'][number]): Markup {
  const groups = new Map<string, { readonly what: string; readonly detail: string }[]>();
  for (const { what, verdict, detail, accepted } of results) {
    if (verdict !== 'ok' || accepted !== undefined) continue;
    const at = what.indexOf(': ');
    const isObject = /^(collection|table) \S+$/.test(what);
    const group = at >= 0 ? named(what).slice(0, named(what).indexOf(': ')) : isObject ? what : 'The whole store';
    const list = groups.get(group) ?? [];
    groups.set(group, list);
    list.push({ what: at >= 0 ? what.slice(at + 2) : isObject ? 'is there' : what, detail });
  }
  if (groups.size === 0) return html``;
  const blocks = [...groups].map(([group, list]) => {
    const rows = list.map(({ what, detail }) => html`<tr><th scope="row">${what}</th><td>${detail}</td></tr>`);
    return html`<details class="group"><summary>${group} <span class="state">${plural(list.length, 'check')}</span></summary><table class="entries"><tbody>${join(rows)}</tbody></table></details>`;
  });
  return html`<section><h2>${name} <span class="store">${store}: as it should be</span></h2>${join(blocks)}</section>`;
}
