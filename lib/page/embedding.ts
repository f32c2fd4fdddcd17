import type { EmbeddingReport } from '../embedding-report.ts';
import { html, join, type Markup } from '../html.ts';
import { modelText } from '../model-id.ts';
import { count, duration, money, plural } from '../words.ts';
import { entries, figures } from './records.ts';

/** The part of the page on vectors that a model made: which, of what, and what it came to. */
export function embeddingSection(embedding: EmbeddingReport | null): Markup {
  if (embedding === null) return html``;
  return html`<section><h2>Embedding</h2><p>${words(embedding)}</p><div class="pair"><div><h3>Records</h3>${recordsTable(embedding)}</div><div><h3>What it took</h3>${costTable(embedding)}</div></div>${notes(embedding)}${entries('Records whose text could not be embedded', embedding.failures, embedding.failed)}</section>`;
}

function words({ vector, text, model, old, isNew, which }: EmbeddingReport): Markup {
  const name = vector === '' ? html`The unnamed vector` : html`Vector <b>${vector}</b>`;
  const before = isNew
    ? 'The source has no such vector.'
    : which === 'missing'
      ? 'The source’s are of the same model.'
      : `The source’s is of ${modelText(old ?? undefined)}.`;
  const of = which === 'missing' ? ', of records that lacked it,' : '';
  return html`${name}${of} was made of <code>${text}</code> by <b>${modelText(model)}</b> (${model.provider}, ${count(model.dimensions)} dimensions). ${before}`;
}

function recordsTable(embedding: EmbeddingReport): Markup {
  const { completed, copied, shared, failed, withoutText, pending } = embedding;
  const some = (name: string, value: number): [string, string][] => (value === 0 ? [] : [[name, count(value)]]);
  return figures([
    ['Completed', count(completed)],
    ...some('… of which had their vector', copied),
    ...some('… of which share another’s text', shared),
    ['Failed', count(failed)],
    ...some('Without text, so without vector', withoutText),
    ...some('Not yet embedded', pending),
  ]);
}

function costTable({ texts, tokens, usd, seconds, estimate, budget }: EmbeddingReport): Markup {
  const price = (value: number | null): string => (value === null ? 'not known' : `$${money(value)}`);
  const bound = (value: number | null, text: (value: number) => string): string => (value === null ? '–' : text(value));
  const rows = [
    ['texts', count(estimate.texts), count(texts), '–'],
    ['tokens', count(estimate.tokens), count(tokens), bound(budget.tokens, count)],
    ['cost', price(estimate.usd), price(usd), bound(budget.usd, (value) => `$${money(value)}`)],
    ['time', duration(estimate.seconds), duration(seconds), bound(budget.minutes, (value) => duration(value * 60))],
  ];
  const heads = ['planned at most', 'actual', 'budget'];
  return html`<div class="scroll"><table class="figures"><thead><tr><td></td>${join(heads.map((each) => html`<th scope="col" class="number">${each}</th>`))}</tr></thead><tbody>${join(
    rows.map(
      ([name = '', ...values]) =>
        html`<tr><th scope="row">${name}</th>${join(values.map((each) => html`<td class="number">${each}</td>`))}</tr>`,
    ),
  )}</tbody></table></div>`;
}

function notes({ requests, throttled, mark }: EmbeddingReport): Markup {
  const slowed = throttled === 0 ? '' : ` The provider asked ${plural(throttled, 'time')} for fewer.`;
  const names = [mark.model, mark.version].flatMap((name) => (name === null ? [] : [name]));
  const marked =
    names.length === 0
      ? html``
      : html` Records of the target name the model in ${join(names.map((name, at) => html`${at === 0 ? '' : ' and '}<code>${name}</code>`))}.`;
  return html`<p class="dim">${plural(requests, 'request')}.${slowed} The cost is no bill: it is the tokens at the price of the plan.${marked}</p>`;
}
