import { setTimeout as sleep } from 'node:timers/promises';
import { type Batch, selectRecords } from '../batch.ts';
import { mapBatch } from '../mapping/mapping.ts';
import { parseEmbeddedText, payloadFields } from '../mapping/template.ts';
import type { Difference } from '../run-files.ts';
import { type Fetched, fetchRecords, type Located, maxFetch, split } from './fetch-records.ts';
import { recordDifference } from './record-equal.ts';
import { type Comparison, countSuspect, name, type Tallies } from './second-look.ts';

/**
 * Of a run in place, where both sides are one table that applications write: a record has the vector that was made of its text,
 * or has another text by now, which the table itself has seen to have none of the old one. Whatever else a record holds is
 * the application's, and is on both sides what it is.
 */
export async function comparePlace(
  comparison: Comparison,
  positions: readonly number[],
  tallies: Tallies,
): Promise<void> {
  const textOf = textOfRecord(comparison);
  const first = await lookAt(comparison, positions, textOf);
  count(tallies, first);
  if (first.wrong.length === 0) return;
  // A record may have been locked when its vector was to be written, and be caught up by now.
  await sleep(comparison.secondLookMs);
  const second = await lookAt(
    comparison,
    first.wrong.map(({ at }) => at),
    textOf,
  );
  count(tallies, second);
  for (const { id, verdict, reason } of second.wrong) countSuspect(tallies, { sourceId: id, verdict, reason });
}

interface Looked {
  equal: number;
  gone: number;
  readonly changed: { readonly id: string; readonly reason: string }[];
  readonly wrong: {
    readonly at: number;
    readonly id: string;
    readonly verdict: Exclude<Difference['verdict'], 'extra'>;
    readonly reason: string;
  }[];
}

type TextOf = (record: Located) => string;

async function lookAt(comparison: Comparison, positions: readonly number[], textOf: TextOf): Promise<Looked> {
  const looked: Looked = { equal: 0, gone: 0, changed: [], wrong: [] };
  await Promise.all(
    split(positions, maxFetch).map(async (part) => {
      const ids = part.map((at) => comparison.batch.ids[at] ?? '');
      const found = await fetchRecords(comparison.target, ids);
      for (const at of part) judgeOne({ ...comparison, textOf }, at, found, looked);
    }),
  );
  return looked;
}

function judgeOne(
  comparison: Comparison & { readonly textOf: TextOf },
  at: number,
  { records, unreadable }: Fetched,
  looked: Looked,
): void {
  const { batch, exported, failed, textOf } = comparison;
  const id = batch.ids[at] ?? '';
  const refusal = unreadable.get(id);
  if (refusal !== undefined) {
    looked.wrong.push({ at, id, verdict: 'unchecked', reason: `cannot be read from the table: ${refusal}` });
    return;
  }
  const now = records.get(id);
  if (now === undefined) {
    looked.gone += 1;
    looked.changed.push({ id, reason: 'was deleted from the table after its export' });
    return;
  }
  if (textOf({ batch: exported, at }) !== textOf(now)) {
    looked.changed.push({
      id,
      reason: 'its text changed after its export: its vector is of the new one, or made before the switch',
    });
    return;
  }
  const why = failed.get(at);
  if (why !== undefined) {
    const reason = `has no vector, because its text could not be embedded: ${why}`;
    looked.wrong.push({ at, id, verdict: 'missing', reason });
    return;
  }
  const reason = vectorDifference(comparison, at, now);
  if (reason === undefined) looked.equal += 1;
  else looked.wrong.push({ at, id, verdict: 'different', reason });
}

function vectorDifference({ plan, batch, ids, treatments }: Comparison, at: number, now: Located): string | undefined {
  const vector = plan.mapping.vectors[plan.embed?.vector ?? ''] ?? '';
  const mapped = mapBatch(selectRecords(batch, [at]), plan.mapping, ids);
  // Left out by the mapping, since it has no text: there is nothing that it should have.
  if (mapped.batch.count === 0) return undefined;
  return recordDifference(only(mapped.batch, vector), 0, only(now.batch, vector), now.at, treatments);
}

/** The batch with that vector alone, and payloads that say nothing. */
function only(batch: Batch, vector: string): Batch {
  const column = batch.vectors.get(vector);
  return {
    ...batch,
    vectors: new Map(column === undefined ? [] : [[vector, column]]),
    payloads: batch.payloads.map(() => '{}'),
  };
}

function textOfRecord({ plan }: Comparison): TextOf {
  const template = plan.embed === undefined ? undefined : parseEmbeddedText(plan.embed.text);
  return ({ batch, at }) => template?.render(payloadFields(batch.payloads[at] ?? '{}')) ?? '';
}

function count(tallies: Tallies, { equal, gone, changed }: Looked): void {
  tallies.equal += equal + changed.length;
  tallies.changed += changed.length;
  tallies.gone += gone;
  for (const each of changed) name(tallies.changes, each);
}
