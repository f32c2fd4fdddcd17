import { type Batch, hasVector } from '../../batch.ts';
import { parseEmbeddedText, payloadFields } from '../../mapping/template.ts';
import { count } from '../../words.ts';
import type { Embedder } from '../port.ts';
import { truncateText } from '../tokens.ts';
import type { EmbedPlan } from './embed-files.ts';
import { textKey } from './made.ts';

/** What is to be done for a record: its text is embedded, or why not. */
export type TextOf =
  | { readonly status: 'text'; readonly key: string }
  | { readonly status: 'copied' | 'without text' }
  | { readonly status: 'failed'; readonly reason: string };

export interface TextAt {
  readonly record: TextOf;
  /** '' where none is embedded. */
  readonly text: string;
}

/** A byte of UTF-8 is a token at most, and a UTF-16 unit three bytes. */
const tokensPerUnit = 3;

/** The text of each record of a batch, worked out as it is asked for. */
export function textsOf(batch: Batch, plan: EmbedPlan, embedder: Embedder): (at: number) => TextAt {
  const template = parseEmbeddedText(plan.text);
  const own = plan.records === 'missing' ? batch.vectors.get(plan.vector) : undefined;
  const { maxInputTokens } = plan.model;
  return (at) => {
    if (own !== undefined && hasVector(own, at)) return { record: { status: 'copied' }, text: '' };
    const whole = template.render(payloadFields(batch.payloads[at] ?? '{}'));
    if (whole === '') return { record: { status: 'without text' }, text: '' };
    const tokens = whole.length * tokensPerUnit <= maxInputTokens ? 0 : embedder.countTokens(whole);
    const isLong = tokens > maxInputTokens;
    // Where the count is an estimate and the provider refuses what is too long, it is the one to say so.
    if (isLong && plan.longText === 'fail' && embedder.refusesLongTexts !== true) {
      const what = `its text has ${count(tokens)} tokens, and ${plan.model.name} takes ${count(maxInputTokens)}`;
      const reason = `${what}; shorten it, or set embed.longText to "truncate"`;
      return { record: { status: 'failed', reason }, text: '' };
    }
    const isCut = isLong && plan.longText === 'truncate';
    const text = isCut ? truncateText(whole, maxInputTokens, embedder.countTokens) : whole;
    return { record: { status: 'text', key: textKey(plan.model, text) }, text };
  };
}
