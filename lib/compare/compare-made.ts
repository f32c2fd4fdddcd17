import { type Batch, hasVector, selectRecords } from '../batch.ts';
import type { MadeShard } from '../embed/stage/made.ts';
import { parseEmbeddedText, payloadFields } from '../mapping/template.ts';
import type { Plan } from '../run-files.ts';
import { alone, type Located } from './fetch-records.ts';

/** A record of the source as it is now, as the mapping takes it; undefined: that is not known. */
export type AsNow = (now: Located, sourceId: string) => Batch | undefined;

/**
 * In a run that embeds texts the source does not hold what was made of a record. The made vector goes with the record as it
 * is now only while its text is still the one that was embedded: what the model makes of another nobody knows.
 */
export function asNowOf({ embed }: Plan, { batch, exported }: MadeShard): AsNow {
  if (embed === undefined) return alone;
  const { vector } = embed;
  const template = parseEmbeddedText(embed.text);
  const textOf = (payload: string | undefined): string => template.render(payloadFields(payload ?? '{}'));
  let positions: ReadonlyMap<string, number> | undefined;
  return (now, sourceId) => {
    const record = alone(now);
    const own = record.vectors.get(vector);
    if (embed.records === 'missing' && own !== undefined && hasVector(own, 0)) return record;
    positions ??= new Map(exported.ids.map((id, at) => [id, at]));
    const at = positions.get(sourceId);
    if (at === undefined || textOf(exported.payloads[at]) !== textOf(record.payloads[0])) return undefined;
    const made = selectRecords(batch, [at]).vectors.get(vector);
    return made === undefined ? undefined : { ...record, vectors: new Map([...record.vectors, [vector, made]]) };
  };
}
