import type { Batch } from '../../batch.ts';
import { Incompatible } from '../../errors.ts';
import type { Fit } from '../../fit.ts';
import { mapBatch } from '../../mapping/mapping.ts';
import { payloadFields } from '../../mapping/template.ts';
import type { FieldSpec, ModelId } from '../../schema.ts';
import type { StoreKind } from '../../stores/port.ts';
import { marksOf } from './model-id.ts';
import type { PlannedMark } from './plan-embed.ts';

export interface MarkInput {
  /** The mapping and the target without the mark. */
  readonly fit: Fit;
  readonly target: StoreKind;
  /** The vector by its name in the source, and what the fields that name its model hold. */
  readonly mark: PlannedMark | undefined;
  /** Sampled records of the source. */
  readonly sample: readonly Batch[];
  /** What made the vector until now, as the event or the source's files say: not by what its records hold. */
  readonly old: ModelId | undefined;
}

/**
 * Gives the target the fields that say which model made a vector. An earlier run's mark gives way: what
 * stands under vecferry's own name for it, or names the model that made the vector until now.
 * @throws Incompatible when the target has something else under that name, or no place for it.
 */
export function withMarkFields({ fit, target, mark, sample, old }: MarkInput): Fit {
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
  const ownNames: readonly string[] = Object.values(marksOf);
  for (const name of Object.keys(mark.fields)) {
    const values = mapped.flatMap((each) => (each[name] === undefined || each[name] === null ? [] : [each[name]]));
    // Any other text that is one in all sampled records may be a language or a tenant, and another in the rest.
    const isEarlier = (value: unknown): boolean =>
      typeof value === 'string' &&
      (ownNames.includes(name) || [mark.fields[name], old?.name, old?.version].includes(value));
    if (
      values.every((value) => isEarlier(value) && value === values[0]) &&
      !others.includes(name) &&
      name !== fit.mapping.originalId
    )
      continue;
    const text = `embed.mark: the target has something else under '${name}', where the model's name or version would stand`;
    const next = `name another field with embed.mark {"model": NAME, "version": NAME}, set it to null, or leave the source's field out with mapping.payload {"${name}": null}; where it is the mark of an earlier run, say in source.model which model that was`;
    throw new Incompatible(`${text}; ${next}`, { ids: ['embed.mark', name] });
  }
  const specs = Object.keys(mark.fields).map((name): FieldSpec => ({ name, type: 'text', nullable: true }));
  const kept = fields?.filter(({ name }) => mark.fields[name] === undefined);
  return {
    ...fit,
    target: { ...fit.target, ...(kept === undefined ? {} : { fields: [...kept, ...specs] }) },
    mapping: {
      ...fit.mapping,
      mark: {
        vector,
        fields: { ...mark.fields },
        isDeclared: fields !== undefined,
        ...(mark.isKept && { isKept: true }),
      },
    },
  };
}
