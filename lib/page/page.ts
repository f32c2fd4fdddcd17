import { html, type Markup } from '../html.ts';
import type { Report } from '../report/report-schema.ts';
import { checksSection } from './checks.ts';
import { pageDocument } from './document.ts';
import { driftSection } from './drift.ts';
import { embeddingSection } from './embedding.ts';
import { findingsSection } from './findings.ts';
import { goldSection } from './gold.ts';
import { indexSection } from './index-change.ts';
import { latencySection } from './latency.ts';
import { liveSection } from './live.ts';
import { mappingSection } from './mapping.ts';
import { recallSection } from './recall.ts';
import { compareSection, countsSection, figuresPair, recordLists } from './records.ts';
import { notesSection, runSection } from './run.ts';
import { schemaSection } from './schema.ts';
import { settingsSection } from './settings.ts';
import { takenBackSection } from './taken-back.ts';
import { tuningSection } from './tuning.ts';
import { marks, verdictWords } from './verdict.ts';

/** The report as one HTML page. */
export function reportPage(report: Report): string {
  const parts = html`${header(report)}
${takenBackSection(report)}
${checksSection(report)}
${findingsSection(report)}
${figuresPair(countsSection(report), compareSection(report))}
${liveSection(report)}
${embeddingSection(report.embedding)}
${indexSection(report.index)}
${mappingSection(report)}
${schemaSection(report.schema)}
${recordLists(report)}
${recallSection(report.recall)}
${goldSection(report.recall)}
${driftSection(report.drift)}
${latencySection(report.recall, report.index)}
${tuningSection(report.tuning)}
${runSection(report)}
${settingsSection(report)}
${notesSection(report)}`;
  return pageDocument(`${verdictWords[report.verdict]}: run ${report.run}`, parts);
}

function header(report: Report): Markup {
  const { source, target, verdict } = report;
  const route =
    source === null || target === null
      ? html``
      : html`<p class="route"><span>${source.store} <b>${source.collection}</b></span> <span class="arrow" aria-label="to">→</span> <span>${target.store} <b>${target.collection}</b></span></p>`;
  return html`<header class="${verdict}">
<p class="eyebrow">vecferry run ${report.run}</p>
<h1><span class="mark" aria-hidden="true">${marks[verdict]}</span> ${verdictWords[verdict]}</h1>
${route}
<p class="summary">${report.summary}</p>
</header>`;
}
