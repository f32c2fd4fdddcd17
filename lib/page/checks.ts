import type { EmbeddingReport } from '../embed/stage/embedding-report.ts';
import { html, join, type Markup } from '../html.ts';
import type { Gold } from '../recall/gold-files.ts';
import { nearWords } from '../report/report-compared.ts';
import type { Finding, LiveReport, Report, Verdict } from '../report/report-schema.ts';
import { count, percent, plural } from '../words.ts';
import { marks, verdictWords } from './verdict.ts';

/** What was checked, and how each check ended, at a glance. */

interface Check {
  readonly name: string;
  readonly state: Verdict | 'none';
  /** In place of the state's own word. */
  readonly word?: string;
  readonly text: string;
}

export function checksSection(report: Report): Markup {
  if (report.compare === null && report.failure !== null) return html``;
  const live = report.live === null ? [] : [liveCheck(report.live, report.findings)];
  const gold = (report.recall?.sets ?? []).flatMap((each) => each.gold ?? []);
  const judged = gold.length === 0 ? [] : [goldCheck(gold, report.findings)];
  const made = report.embedding === null ? [] : [embeddingCheck(report.embedding, report.findings)];
  const own = [countsCheck(report), compareCheck(report), sourceCheck(report), ...live, ...made, recallCheck(report)];
  const list = [...own, ...judged, ...driftChecks(report)];
  return html`<section aria-label="Checks"><ul class="checks">${join(
    list.map(
      ({ name, state, word, text }) =>
        html`<li class="${state}"><span class="mark" aria-hidden="true">${state === 'none' ? '–' : marks[state]}</span><div><b>${name}</b> <span class="state">${word ?? (state === 'none' ? 'not asked' : verdictWords[state].toLowerCase())}</span><p>${text}</p></div></li>`,
    ),
  )}</ul></section>`;
}

/** A check is as bad as its worst finding. */
function stateOf(findings: readonly Finding[], check: Finding['check'][]): Verdict {
  const own = findings.filter((each) => check.includes(each.check));
  if (own.some(({ severity }) => severity === 'failed')) return 'failed';
  return own.length > 0 ? 'unproven' : 'validated';
}

function countsCheck({ counts, live, findings }: Report): Check {
  const name = 'Counts';
  if (counts === null) return { name, state: 'unproven', text: 'Not counted.' };
  const text = `Source ${count(counts.source)}, exported ${count(counts.manifest)}, target ${count(counts.target)}.`;
  // Written to all the time, the two need not agree.
  if (live !== null || counts.isOneTable === true)
    return { name, state: 'none', word: 'of a moment', text: `${text} They need not agree while writes go on.` };
  return { name, state: counts.agree ? stateOf(findings, ['counts']) : 'failed', text };
}

function compareCheck({ compare, findings, index }: Report): Check {
  const name = 'Every record compared';
  if (index !== null) return { name, state: 'none', text: 'No record is moved or changed by another index.' };
  if (compare === null) return { name, state: 'unproven', text: 'Not compared.' };
  const text = `${count(compare.equal)} of ${count(compare.records - compare.skipped)} equal${nearWords(compare)}.`;
  return { name: compare.asked === 'all' ? name : 'A sample compared', state: stateOf(findings, ['compare']), text };
}

function sourceCheck({ spotCheck, findings }: Report): Check {
  const name = 'Export held against the source';
  if (spotCheck === null) return { name, state: 'unproven', text: 'Not checked.' };
  if (spotCheck.asked === 0) return { name, state: 'none', text: 'No record was read back from the source.' };
  const text = `${plural(spotCheck.checked, 'record')} read back by id, ${count(spotCheck.different)} different.`;
  return { name, state: stateOf(findings, ['source']), text };
}

function liveCheck({ changed, added, deleted, mended }: LiveReport, findings: readonly Finding[]): Check {
  const text = `${count(changed)} changed, ${count(added)} added, ${count(deleted)} deleted; ${count(mended)} mended.`;
  return { name: 'Live writes on both sides', state: stateOf(findings, ['live']), text };
}

function embeddingCheck(
  { completed, failed, withoutText, model }: EmbeddingReport,
  findings: readonly Finding[],
): Check {
  const rest = withoutText === 0 ? '' : `, ${count(withoutText)} without text`;
  const text = `${count(completed)} by ${model.name}, ${count(failed)} failed${rest}.`;
  return { name: 'Embedded', state: stateOf(findings, ['embedding']), text };
}

function recallCheck({ recall, findings }: Report): Check {
  const name = 'Recall';
  if (recall === null) return { name, state: 'unproven', text: 'Not measured.' };
  if (recall.reason !== undefined) return { name, state: 'none', text: `Not measured: ${recall.reason}.` };
  return { name, state: stateOf(findings, ['recall']), text: recallText(recall.sets) };
}

/** A sentence a set while they are few; else how many ended how. */
function recallText(sets: NonNullable<Report['recall']>['sets']): string {
  if (sets.length <= 3) return sets.map(({ note }) => note).join(' ');
  const outcomes = [...new Set(sets.map(({ outcome }) => outcome))];
  const parts = outcomes.map((outcome) => `${sets.filter((each) => each.outcome === outcome).length} ${outcome}`);
  return `${plural(sets.length, 'query set')}: ${parts.join(', ')}.`;
}

function goldCheck(gold: readonly Gold[], findings: readonly Finding[]): Check {
  const name = 'Gold sets';
  const text = gold.length <= 3 ? gold.map(({ note }) => note).join(' ') : `${plural(gold.length, 'gold set')}.`;
  if (gold.every(({ outcome }) => outcome === 'reported')) return { name, state: 'none', word: 'reported', text };
  return { name, state: stateOf(findings, ['gold']), text };
}

/** No gate: it stands here so that nobody takes the recall for what readers will see. */
function driftChecks({ drift }: Report): Check[] {
  const measured = (drift?.sets ?? []).flatMap((each) => (each.measured ? [each] : []));
  if (drift === null) return [];
  const parts = measured.map(({ set, k, overlap }) => `${set}: ${percent(overlap.mean)} of the first ${k} as before`);
  const text = parts.length === 0 ? 'Not measured.' : `${parts.slice(0, 3).join('; ')}. Not held against a goal.`;
  return [{ name: 'Drift', state: 'none', word: 'reported', text }];
}
