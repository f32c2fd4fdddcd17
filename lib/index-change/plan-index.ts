import { isDeepStrictEqual } from 'node:util';
import { Incompatible, InvalidEvent, RunMismatch } from '../errors.ts';
import type { RunEvent } from '../event.ts';
import { mappingSchema } from '../event-mapping.ts';
import type { Fit } from '../fit.ts';
import type { MappingPlan } from '../mapping/mapping-files.ts';
import type { Plan } from '../run-files.ts';
import type { CollectionSchema, VectorIndex } from '../schema.ts';
import type { IndexedNow, IndexForm } from '../stores/index-port.ts';
import type { Description, StoreKind, Target } from '../stores/port.ts';
import { adviseIndex } from './advice.ts';
import type { IndexPlan } from './index-plan.ts';
import { indexText } from './index-text.ts';
import { refuseInstead } from './refuse-instead.ts';

/** Plans a run that changes an index: what is there, what is wanted, and whether the store can get from one to the other. */

/** What no collection could do: said before anything is read. @throws Incompatible, InvalidEvent */
export function refuseIndex(event: RunEvent, { title, capabilities }: StoreKind): void {
  const { index } = event;
  if (index === undefined) return;
  if (capabilities.changesIndex === false) {
    const text = `index: ${title} gives no vector another index in its own collection`;
    throw new Incompatible(`${text}; move into another collection, whose index mapping.vectors says`, {
      ids: ['index'],
    });
  }
  const kind = index.to?.kind;
  if (kind !== undefined && !capabilities.indexes.includes(kind)) {
    const text = `index.to: ${title} has no ${kind} index`;
    throw new Incompatible(`${text}; it has ${capabilities.indexes.join(', ')}`, { ids: ['index.to.kind'] });
  }
  if (index.replaces !== undefined && capabilities.changesIndex === 'instead') {
    const text = `index.replaces: ${title} has one index a vector`;
    throw new InvalidEvent(`${text}; leave it out, and name the vector`, { ids: ['index.replaces'] });
  }
  if (event.validate.recall === null) {
    const text = 'validate.recall is null: what another index finds is all that can be validated of it';
    throw new InvalidEvent(`${text}; leave it out`, { ids: ['validate.recall'] });
  }
  refuseInstead(event, { title, capabilities });
  refuseMapping(event);
}

/** The collection keeps its vectors and fields. */
function refuseMapping({ mapping }: RunEvent): void {
  const none = mappingSchema.parse({});
  const changed = Object.keys(mapping).filter(
    (name) => !isDeepStrictEqual(Reflect.get(mapping, name), Reflect.get(none, name)),
  );
  if (changed.length === 0) return;
  const names = changed.map((name) => `mapping.${name}`);
  const text = `${names.join(', ')}: a run that changes an index moves no record, and changes none`;
  throw new InvalidEvent(`${text}; leave it out`, { ids: names });
}

export interface IndexInput {
  readonly event: RunEvent;
  readonly target: Target;
  readonly targetKind: StoreKind;
  readonly described: Description;
}

/** What a plan says of the index, and the collection with it in place of the old one. */
export interface PlannedIndex extends Fit {
  readonly index: IndexPlan;
}

/**
 * Looks at the index that is there, completes what is wanted, and has the store look whether it can be done. Changes nothing.
 * @throws Incompatible, InvalidEvent, NotFound with what stands in the way
 */
export async function planIndex({ event, target, targetKind, described }: IndexInput): Promise<PlannedIndex> {
  const indexes = requireIndexes(target, targetKind);
  const now = await indexes.now();
  const from: IndexForm = formOf(now);
  const { to, advice } = wantedOf(event, now, targetKind);
  // First, since an index that is as it is wanted may be an earlier run's, which was neither retired nor taken back.
  const { notes, oldAsked } = await indexes.check(to, { isNew: true });
  if (isDeepStrictEqual(from, to)) {
    const text = `index: vector '${now.vector}' of '${event.target.collection}' has ${indexText(to.index)} already`;
    throw new InvalidEvent(`${text}; say other settings. To build the same anew is the store's own matter`, {
      ids: ['index.to'],
    });
  }
  const how = targetKind.capabilities.changesIndex === 'instead' ? 'instead' : 'beside';
  const vectors = described.schema.vectors.map((each) =>
    each.name === now.vector ? { ...each, index: to.index } : each,
  );
  return {
    index: { vector: now.vector, from, to, how, oldAsked, advice: [...advice] },
    target: { ...described.schema, vectors },
    mapping: mappingOf(event, described.schema, now.vector),
    notes,
  };
}

/**
 * Looks again at a run that is started again. @throws RunMismatch where its queries filter by fields that were not exported, or its role can ask less than the one
 * that it was planned by, Incompatible with what stands in the way by now
 */
export async function checkIndexAgain(
  plan: Plan,
  { event, target, targetKind }: Omit<IndexInput, 'described'>,
): Promise<void> {
  if (plan.index === undefined) return;
  const needed = neededFields(event);
  const lost = plan.mapping.dropFields.filter((field) => needed === 'all' || isNeeded(field, needed));
  if (lost.length > 0) {
    const text = `run '${plan.run}' exported no ${lost.slice(0, 3).join(', ')}, by which validate.recall.sets may filter now`;
    throw new RunMismatch(`${text}; leave the sets as they were, or give this one another run id`, { ids: [plan.run] });
  }
  const { oldAsked } = await requireIndexes(target, targetKind).check(plan.index.to, { isNew: false });
  const { from, to } = plan.index;
  if (plan.index.oldAsked === 'before' || oldAsked === 'in turn' || from.index.kind !== to.index.kind) return;
  const text = `run '${plan.run}' was planned by a superuser, and asks two indexes of one kind in turn, which the connection's role cannot`;
  throw new RunMismatch(
    `${text}; start it again as that superuser, or take it back (vecferry rollback ${plan.run}) and begin another run`,
    { ids: [plan.run] },
  );
}

function requireIndexes(target: Target, { title }: StoreKind): NonNullable<Target['indexes']> {
  if (target.indexes !== undefined) return target.indexes;
  throw new Incompatible(`index: ${title} as it is opened here cannot change the index of a vector`, {
    ids: ['index'],
  });
}

const formOf = ({ index, quantization }: IndexedNow): IndexForm =>
  quantization === undefined ? { index } : { index, quantization };

function wantedOf(
  { index: change, validate: { recall } }: RunEvent,
  now: IndexedNow,
  { name, title }: StoreKind,
): { readonly to: IndexForm; readonly advice: IndexPlan['advice'] } {
  if (change?.quantization !== undefined && now.quantization === undefined) {
    const text = `index.quantization: ${title} does not quantize the vectors of an index`;
    throw new Incompatible(`${text}; leave it out`, { ids: ['index.quantization'] });
  }
  const asked = change?.to ?? askedOf(now.index);
  const ks = [recall?.k ?? 10, ...(recall?.sets ?? []).flatMap(({ k }) => k ?? []), ...(recall?.depths ?? [])];
  const { records, dimension } = now;
  const advised = adviseIndex({ store: name, asked, records, dimension, k: Math.max(...ks) });
  const quantization = change?.quantization === undefined ? now.quantization : change.quantization;
  const to = { index: advised.index, ...(quantization !== undefined && { quantization }) };
  return { to, advice: [...advised.advice] };
}

/** The index as it is, where only its quantization changes. */
function askedOf(index: VectorIndex): Parameters<typeof adviseIndex>[0]['asked'] {
  if (index.kind === 'hnsw') return { kind: 'hnsw', m: index.m, efConstruction: index.efConstruction };
  if (index.kind === 'ivfflat') return { kind: 'ivfflat', lists: index.lists };
  throw new InvalidEvent('index.to is left out, and the vector has no index that could stay as it is; say which', {
    ids: ['index.to'],
  });
}

/** Of the records only what is searched and filtered by is read. */
function mappingOf(event: RunEvent, { fields = [] }: CollectionSchema, vector: string): MappingPlan {
  const needed = neededFields(event);
  const dropFields = needed === 'all' ? [] : fields.map(({ name }) => name).filter((field) => !isNeeded(field, needed));
  const { originalId } = event.mapping;
  return { vectors: { [vector]: vector }, dropFields, castFields: {}, ids: 'keep', originalId, missingVectors: 'keep' };
}

/** Payload fields that queries filter by; all of them where a file gives the queries, which is read later. */
function neededFields({ validate: { recall } }: RunEvent): ReadonlySet<string> | 'all' {
  const sets = recall?.sets ?? [];
  if (sets.some(({ file }) => file !== undefined)) return 'all';
  const filters = sets.flatMap(({ filter, queries = [] }) => [filter, ...queries.map((each) => each.filter)]);
  return new Set(filters.flatMap((filter) => Object.keys(filter ?? {})));
}

const isNeeded = (field: string, needed: ReadonlySet<string>): boolean =>
  [...needed].some((each) => each === field || each.startsWith(`${field}.`));

/** What holds while applications go on. */
export function indexGuarantee(how: IndexPlan['how']): string {
  const both =
    how === 'beside'
      ? 'The new index is built beside the old one while applications read and write, and holds what they write meanwhile; the old one stays until the run is retired.'
      : 'The new index replaces the old one as it is built, and the store answers searches meanwhile; what the old one found was asked before.';
  return `${both} No record is written or changed. Records that are written during validation are taken into the truth that both indexes are held against, as far as they are known.`;
}
