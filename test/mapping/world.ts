import { parseEvent } from '../../lib/event.ts';
import { type Fit, fitCollection } from '../../lib/fit.ts';
import { type Mapped, mapBatch } from '../../lib/mapping/mapping.ts';
import type { CollectionSchema } from '../../lib/schema.ts';
import { memory } from '../../lib/stores/memory.ts';
import type { StoreKind } from '../../lib/stores/port.ts';
import { makeBatch, makeSchema } from '../make.ts';

/** A mapping as a plan makes it, from the words of an event. */
export function fitOf(
  mapping: object,
  { fields, kind = memory, ...schema }: Partial<CollectionSchema> & { readonly kind?: StoreKind } = {},
): Fit {
  const event = parseEvent({
    source: { store: 'memory', connection: { path: 'a' }, collection: 'a' },
    target: { store: 'memory', connection: { path: 'a' }, collection: 'b' },
    mapping,
  });
  const source = makeSchema({ ...schema, ...(fields && { fields }) });
  return fitCollection({ source: { schema: source, count: 10, payloadBytes: 1 }, target: kind, event });
}

/** The payloads that a mapping makes of these, by their place: ids are 1, 2, 3 and so on. */
export function mapPayloads(mapping: object, payloads: readonly unknown[], options: Parameters<typeof fitOf>[1] = {}) {
  const mapped = mapTexts(
    mapping,
    payloads.map((payload) => JSON.stringify(payload)),
    options,
  );
  return { payloads: mapped.batch.payloads.map((text): unknown => JSON.parse(text)), ...mapped };
}

export function mapTexts(
  mapping: object,
  payloads: readonly string[],
  options: Parameters<typeof fitOf>[1] = {},
): Mapped {
  const fit = fitOf(mapping, options);
  const ids = payloads.map((_, at) => String(at + 1));
  return mapBatch(makeBatch({ ids, payloads }), fit.mapping, memory.capabilities.ids);
}
