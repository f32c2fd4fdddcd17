import type { EmbeddingReport } from '../embed/stage/embedding-report.ts';
import { modelText } from '../embed/stage/model-id.ts';
import { html, join, type Markup } from '../html.ts';
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

function costTable({ texts, tokens, usd, seconds, estimate }: EmbeddingReport): Markup {
  const price = (value: number | null): string => (value === null ? 'not known' : `$${money(value)}`);
  const rows = [
    ['texts', count(estimate.texts), count(texts)],
    ['tokens', count(estimate.tokens), count(tokens)],
    ['cost', price(estimate.usd), price(usd)],
    ['time', duration(estimate.seconds), duration(seconds)],
  ];
  return html`<table class="figures"><thead><tr><td></td><th scope="col" class="number">planned</th><th scope="col" class="number">actual</th></tr></thead><tbody>${join(
    rows.map(
      ([name = '', plan = '', real = '']) =>
        html`<tr><th scope="row">${name}</th><td class="number">${plan}</td><td class="number">${real}</td></tr>`,
    ),
  )}</tbody></table>`;
}

function notes({ requests, throttled, mark, budget }: EmbeddingReport): Markup {
  const bounds = [
    ...(budget.usd === null ? [] : [`$${money(budget.usd)}`]),
    ...(budget.tokens === null ? [] : [plural(budget.tokens, 'token')]),
    ...(budget.minutes === null ? [] : [duration(budget.minutes * 60)]),
  ];
  const bound = bounds.length === 0 ? '' : ` The event’s budget: ${bounds.join(', ')}.`;
  const slowed = throttled === 0 ? '' : ` The provider asked ${plural(throttled, 'time')} for fewer.`;
  const names = [mark.model, mark.version].flatMap((name) => (name === null ? [] : [name]));
  const marked =
    names.length === 0
      ? html``
      : html` Records of the target name the model in ${join(names.map((name, at) => html`${at === 0 ? '' : ' and '}<code>${name}</code>`))}.`;
  return html`<p class="dim">${plural(requests, 'request')}.${slowed} What was planned is an upper end. The cost is no bill: it is the tokens at the price of the plan.${bound}${marked}</p>`;
}
