import { z } from 'zod';
import type { Move } from '../cutover/cutover-files.ts';
import { rollbackSince } from '../cutover/moves.ts';
import { VecferryError } from '../errors.ts';
import { runKeys } from '../keys.ts';
import { getJson, type ObjectStore } from '../objects.ts';
import type { Plan, Recall, RecallEntry } from '../run-files.ts';
import { indexOutput } from '../states.ts';
import type { IndexTarget } from '../stores/index-port.ts';
import { milliseconds, percent } from '../words.ts';
import { indexPlanSchema } from './index-plan.ts';
import { formText } from './index-text.ts';
import { usedIndex } from './used-index.ts';

/** The part of a report on an index that was changed. */

const tally = z.int().nonnegative();

export const indexReportSchema = z.strictObject({
  ...indexPlanSchema.shape,
  text: z.string().describe('The change in words: what there was and what there is.'),
  bytes: z
    .strictObject({ old: tally.nullable(), new: tally.nullable() })
    .describe('On disk; null: the store does not tell, or it is not there.'),
  buildSeconds: z
    .number()
    .nonnegative()
    .nullable()
    .describe('From the first look at the build to the one that found it done; null: it was there at the first look.'),
  used: z
    .enum(['old', 'new', 'either'])
    .nullable()
    .describe(
      'Which of the two searches used when the report was written; either: the one with the settings of validate.recall.search, the other without any; null: the store does not tell.',
    ),
  results: z
    .array(z.string())
    .describe('What each query set found by either: `recall@10 93.10% -> 99.20%, p95 4.10 ms -> 1.20 ms`.'),
  kept: z
    .string()
    .nullable()
    .describe('Why the new index stays though the run did not pass; null: it passed, or the new index goes.'),
  takenBack: z
    .strictObject({ at: z.iso.datetime(), reason: z.string(), note: z.string() })
    .nullable()
    .describe('Since the report was written the old settings were put back; null: they were not.'),
});
export type IndexReport = z.infer<typeof indexReportSchema>;

export interface IndexReportInput {
  readonly plan: Plan;
  readonly objects: ObjectStore;
  readonly recall: Recall;
  readonly indexes: IndexTarget | undefined;
}

/** null: the run changes no index. */
export async function readIndexReport({
  plan,
  objects,
  recall,
  indexes,
}: IndexReportInput): Promise<{ readonly index: IndexReport | null; readonly unread: readonly string[] }> {
  if (plan.index === undefined) return { index: null, unread: [] };
  const unread: string[] = [];
  const told = async <T>(what: string, read: () => Promise<T> | undefined): Promise<T | undefined> => {
    try {
      return await read();
    } catch (error) {
      // A fault of ours is not a store that is away.
      if (!(error instanceof VecferryError)) throw error;
      unread.push(`${what} could not be read: ${error.message}`);
      return undefined;
    }
  };
  const { search = {} } = plan.event.validate.recall ?? {};
  const sizes = await told('the size of the indexes', () => indexes?.sizes());
  const used = await told('which index is used', () => usedIndex(indexes, search));
  const built = await getJson(objects, runKeys(plan.run).index, indexOutput);
  const index: IndexReport = {
    ...plan.index,
    text: `${formText(plan.index.from)} -> ${formText(plan.index.to)}`,
    bytes: { old: sizes?.old ?? null, new: sizes?.new ?? null },
    buildSeconds: secondsOf(built),
    used: used ?? null,
    results: recall.sets.map((entry) => resultOf(entry, recall.sets.length > 1)),
    kept: null,
    takenBack: null,
  };
  return { index, unread };
}

function secondsOf(built: z.infer<typeof indexOutput> | undefined): number | null {
  if (built?.startedAt === undefined || built.endedAt === undefined) return null;
  return Math.max(0, (Date.parse(built.endedAt) - Date.parse(built.startedAt)) / 1000);
}

function resultOf({ set, k, source, target }: RecallEntry, isNamed: boolean): string {
  const pair = (figure: (side: Extract<RecallEntry['source'], { measured: true }>) => string): string =>
    [source, target].map((side) => (side.measured ? figure(side) : 'not measured')).join(' -> ');
  const recalls = `recall@${k} ${pair(({ mean }) => percent(mean))}`;
  return `${isNamed ? `${set}: ` : ''}${recalls}, p95 ${pair(({ latency }) => milliseconds(latency.p95))}`;
}

/** What a summary says in place of records: nothing is moved by such a run. */
export function indexSummary({ text, results }: IndexReport, where: string): string {
  const found = results.length === 0 ? '' : ` ${results.join('; ')}.`;
  return `the index of ${where}: ${text}. No record was moved.${found}`;
}

/** How readers stand after a change that did not pass. The planner of a store that has both knows nothing of a validation. */
export function indexAfter({ how, used, kept }: Pick<IndexReport, 'how' | 'used' | 'kept'>, run: string): string {
  const back = `vecferry rollback ${run}`;
  if (kept !== null) {
    const [readers, undo] =
      how === 'instead'
        ? ['readers use it', 'has the old one built again']
        : [`searches ${used === 'new' ? 'use it by now' : 'may use it'}`, 'drops it'];
    const next = `vecferry tune ${run} finds search settings that reach the goal, and with them in validate.recall.search the run goes on under its id without another build`;
    return `No record was changed, and the new index stays, since ${kept}; ${readers}: ${next}; ${back} ${undo}.`;
  }
  if (how === 'instead')
    return `No record was changed, and readers use the new index: ${back} puts the old settings back.`;
  const searches = used === 'new' ? 'searches use the new index by now' : 'searches may use the new index too';
  return `Nothing was switched and no record was changed, but both indexes are there, and ${searches}: ${back} drops it, so that they use the old one for certain.`;
}

/** The same once the run has taken the change back. */
export const indexBack = ({ how }: Pick<IndexReport, 'how'>): string =>
  how === 'instead'
    ? 'The run has put the old settings back, with which the store builds the old index again; no record was changed.'
    : 'The run has dropped the new index, so searches use the old one; no record was changed.';

/** Said of a run that failed on its way, where readers may use the new index already. */
export const indexHalfway = (run: string): string =>
  `Readers use the new index as far as it is built, and it is not validated: start the run again under its id to go on, or vecferry rollback ${run} to have the old one built again.`;

/** That the change was taken back since the report was written, by the log. */
export function indexTakenBack(moves: readonly Move[], since: string): IndexReport['takenBack'] {
  const back = rollbackSince(moves, since);
  if (back === undefined) return null;
  return { at: back.at, reason: back.reason ?? 'somebody rolled back', note: back.note ?? '' };
}
