import { isDeepStrictEqual } from 'node:util';
import { InvalidEvent } from '../../errors.ts';
import { type CollectionInfo, payloadIndexTypes, withoutNulls } from '../../stores/qdrant/settings.ts';
import type { Action } from './plan.ts';
import type { Change } from './words.ts';

export interface PayloadStep {
  readonly action: Action;
  readonly inverse: readonly Action[];
  readonly why: string;
}

/** What of the payload indexes is to be made, made anew, and dropped. @throws InvalidEvent for a type that Qdrant has not */
export function planPayloadIndexes(change: Change, info: CollectionInfo, collection: string): readonly PayloadStep[] {
  const steps: PayloadStep[] = [];
  const make = (field: string, schema: unknown): Action => ({ do: 'indexPayload', collection, field, schema });
  const drop = (field: string): Action => ({ do: 'dropPayloadIndex', collection, field });
  for (const [field, wanted] of Object.entries(change.payloadIndexes ?? {})) {
    checkedType(field, wanted);
    const there = schemaOf(info, field);
    if (there === undefined) {
      steps.push({ action: make(field, wanted), inverse: [drop(field)], why: 'built from what the records have' });
    } else if (!isMet(wanted, there)) {
      const why = 'it is made anew, and a filter on it is slow until it is';
      steps.push({ action: drop(field), inverse: [make(field, there)], why });
      steps.push({ action: make(field, wanted), inverse: [drop(field)], why: 'built from what the records have' });
    }
  }
  for (const field of change.drop?.payloadIndexes ?? []) {
    const there = schemaOf(info, field);
    if (there !== undefined)
      steps.push({ action: drop(field), inverse: [make(field, there)], why: 'a filter on it reads every record' });
  }
  return steps;
}

/** @throws InvalidEvent */
export function checkedType(field: string, wanted: unknown): unknown {
  const type = typeof wanted === 'string' ? wanted : Object(wanted)['type'];
  if (typeof type === 'string' && payloadIndexTypes.has(type)) return wanted;
  const taken = [...payloadIndexTypes].join(', ');
  throw new InvalidEvent(`payloadIndexes.${field} has the type '${type}'; Qdrant has ${taken}`, { ids: [field] });
}

/** As it is asked for, with the settings that it was made with. */
function schemaOf(
  { payload_schema: there }: CollectionInfo,
  field: string,
): string | Record<string, unknown> | undefined {
  const found = there[field];
  if (found === undefined) return undefined;
  const params = withoutNulls(found.params ?? {});
  return Object.keys(params).length === 0 ? found.data_type : { type: found.data_type, ...params };
}

/** Settings that the file does not name stay as they are. */
function isMet(wanted: unknown, there: string | Record<string, unknown>): boolean {
  const found: Readonly<Record<string, unknown>> = typeof there === 'string' ? { type: there } : there;
  const asked = typeof wanted === 'string' ? { type: wanted } : Object(wanted);
  return Object.entries(asked).every(([key, value]) => isDeepStrictEqual(value, found[key]));
}
