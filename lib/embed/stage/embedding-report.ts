import { z } from 'zod';
import { runKeys } from '../../keys.ts';
import { getJson, type ObjectStore } from '../../objects.ts';
import type { Plan } from '../../run-files.ts';
import { modelIdSchema } from '../../schema.ts';
import { count, plural } from '../../words.ts';
import { embeddingSchema, embedPlanSchema } from './embed-files.ts';

/** What the report says of vectors that a model made: from the plan and embedding.json. */

const tally = z.int().nonnegative();
const { model, vector, text, mark, records: which } = embedPlanSchema.shape;
const done = embeddingSchema.shape;

export const embeddingReportSchema = z.strictObject({
  vector: vector.describe('Its name in the source, or a new one.'),
  text: text.describe('The field or template that was embedded.'),
  which: which.describe('all: every record. missing: those that lacked the vector; the others kept theirs.'),
  model: model.pick({ provider: true, name: true, version: true, dimensions: true }),
  old: modelIdSchema.nullable().describe("What made the source's; null: not known, or the source has no such vector."),
  isNew: z.boolean().describe('True where the source has no such vector.'),
  mark: mark.describe("Fields of the target's records that name the model; null: none."),
  records: tally,
  completed: done.completed,
  failed: done.failed,
  withoutText: done.withoutText.describe('They get no vector.'),
  pending: tally.describe('Not yet embedded: the run ended early.'),
  copied: done.copied.describe('Of `completed`: records that had their vector already.'),
  shared: done.shared.describe('Of `completed`: records whose text was embedded for another one.'),
  texts: done.texts.describe('Texts that were paid for.'),
  tokens: done.tokens.describe('As the provider counts them, or as they were worked out where it does not say.'),
  usd: done.usd.describe('Tokens at the price of the plan: worked out, not billed. null: the price is not known.'),
  requests: done.requests,
  throttled: done.throttled.describe('How often the provider asked for fewer requests.'),
  seconds: z.number().nonnegative().describe('From the first text to the last, with what lay between two tries.'),
  estimate: embedPlanSchema.shape.estimate.pick({ texts: true, tokens: true, usd: true, seconds: true }),
  budget: z.strictObject({
    usd: z.number().nullable(),
    tokens: z.number().nullable(),
    minutes: z.number().nullable(),
  }),
  failures: done.failures.describe('The first hundred, by their ids in the source.'),
});
export type EmbeddingReport = z.infer<typeof embeddingReportSchema>;

/** null where the run makes no vectors, or ended before it made any. */
export async function readEmbedding(objects: ObjectStore, plan: Plan): Promise<EmbeddingReport | null> {
  const { embed, event, source } = plan;
  if (embed === undefined) return null;
  const found = await getJson(objects, runKeys(plan.run).embedding, embeddingSchema);
  if (found === undefined) return null;
  const { texts, tokens, usd, seconds } = embed.estimate;
  const { provider, name, version, dimensions } = embed.model;
  const old = source.vectors.find((each) => each.name === embed.vector);
  const { budget } = event.embed ?? {};
  return {
    vector: embed.vector,
    text: embed.text,
    which: embed.records,
    model: { provider, name, version, dimensions },
    old: old?.model ?? null,
    isNew: old === undefined,
    mark: embed.mark,
    records: found.records,
    completed: found.completed,
    failed: found.failed,
    withoutText: found.withoutText,
    pending: found.pending + found.processing,
    copied: found.copied,
    shared: found.shared,
    texts: found.texts,
    tokens: found.tokens,
    usd: found.usd,
    requests: found.requests,
    throttled: found.throttled,
    seconds: Math.max(0, (Date.parse(found.at) - Date.parse(found.startedAt)) / 1000),
    estimate: { texts, tokens, usd, seconds },
    budget: { usd: budget?.usd ?? null, tokens: budget?.tokens ?? null, minutes: budget?.minutes ?? null },
    failures: found.failures,
  };
}

/** How a record whose text failed is taken up again. */
export const retryFailed = (run: string): string => `vecferry run EVENT --run ${run} --only failed`;

/** The finding of texts that a model did not embed; undefined where all were. */
export function embeddingFinding(run: string, { failed, records, failures, model: { name } }: EmbeddingReport) {
  if (failed === 0) return undefined;
  const [first] = failures;
  const why = first === undefined ? '' : `; the first, '${first.id}': ${first.reason}`;
  const what = `${count(failed)} of ${plural(records, 'record')} could not be embedded by ${name}, so the target lacks ${failed === 1 ? 'it' : 'them'}${why}`;
  const next = `Mend what the reasons below say, or set embed.longText to "truncate" where texts are too long; then ${retryFailed(run)} takes up these records alone, and nothing is paid for twice.`;
  return { check: 'embedding' as const, severity: 'failed' as const, what, ids: failures.map(({ id }) => id), next };
}
