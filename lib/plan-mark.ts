import type { Batch } from './batch.ts';
import { Incompatible } from './errors.ts';
import type { Fit } from './fit.ts';
import { mapBatch } from './mapping.ts';
import type { FieldSpec } from './schema.ts';
import type { StoreKind } from './stores/port.ts';
import { payloadFields } from './template.ts';

export interface MarkInput {
  /** The mapping and the target without the mark. */
  readonly fit: Fit;
  readonly target: StoreKind;
  /** The vector by its name in the source, and what the fields that name its model hold. */
  readonly mark: { readonly vector: string; readonly fields: Readonly<Record<string, string>> } | undefined;
  /** Sampled records of the source. */
  readonly sample: readonly Batch[];
}

/**
 * Gives the target the fields that say which model made a vector. An earlier run's mark of the same name gives way.
 * @throws Incompatible when the target has something else under that name, or no place for it.
 */
export function withMarkFields({ fit, target, mark, sample }: MarkInput): Fit {
  const vector = mark === undefined ? undefined : fit.mapping.vectors[mark.vector];
  if (mark === undefined || vector === undefined) return fit;
  const { fields, key, vectors } = fit.target;
  if (!target.capabilities.payload.any)
    throw new Incompatible(`${target.title} has no place for embed.mark; set it to null`, { ids: ['embed.mark'] });
  const others = [...key, ...vectors].map(({ name }) => name);
  const mapped = sample.flatMap(({ ids, payloads, count }) => {
    const { batch } = mapBatch({ ids, payloads, count, vectors: new Map() }, fit.mapping, target.capabilities.ids);
    return batch.payloads.map(payloadFields);
  });
  for (const name of Object.keys(mark.fields)) {
    const values = mapped.flatMap((each) => (each[name] === undefined || each[name] === null ? [] : [each[name]]));
    const isMark = values.every((value) => typeof value === 'string' && value === values[0]);
    if (isMark && !others.includes(name) && name !== fit.mapping.originalId) continue;
    const text = `embed.mark: the target has something else under '${name}', where the model's name or version would stand`;
    const next = `name another field with embed.mark {"model": NAME, "version": NAME}, set it to null, or leave the source's field out with mapping.payload {"${name}": null}`;
    throw new Incompatible(`${text}; ${next}`, { ids: ['embed.mark', name] });
  }
  const specs = Object.keys(mark.fields).map((name): FieldSpec => ({ name, type: 'text', nullable: true }));
  const kept = fields?.filter(({ name }) => mark.fields[name] === undefined);
  return {
    ...fit,
    target: { ...fit.target, ...(kept === undefined ? {} : { fields: [...kept, ...specs] }) },
    mapping: { ...fit.mapping, mark: { vector, fields: { ...mark.fields }, isDeclared: fields !== undefined } },
  };
}
