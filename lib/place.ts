import { isDeepStrictEqual } from 'node:util';
import type { EmbedPlan } from './embed/stage/embed-files.ts';
import { isSameModel, modelText } from './embed/stage/model-id.ts';
import { Incompatible, InvalidEvent } from './errors.ts';
import type { RunEvent } from './event.ts';
import { mappingSchema } from './event-mapping.ts';
import { isIndexChange } from './index-change/index-change.ts';
import { parseEmbeddedText } from './mapping/template.ts';
import type { Plan } from './run-files.ts';
import type { CollectionSchema } from './schema.ts';
import type { InPlace } from './stores/place-port.ts';
import type { StoreKind, Target } from './stores/port.ts';
import { plural } from './words.ts';

/** A run in place: its target is the source, which gets a new vector beside the old one, or has one filled. docs/in-place.md. */

/** True where both sides are one collection: of a run that changes an index too. */
export const isInPlace = ({ target }: Pick<RunEvent, 'target'>): boolean => target.into === 'place';

/** True where one vector is filled and nothing is switched. */
export const isBackfill = ({ target, embed }: RunEvent): boolean =>
  target.into === 'place' && embed?.records === 'missing';

/** Records that are read back from the source. In place the two sides are one: what a fault of the export has spoiled shows in the vectors. */
export const spotChecksOf = ({ event, embed }: Pick<Plan, 'event' | 'embed'>): number =>
  isIndexChange(event) || (isInPlace(event) && embed !== undefined) ? 0 : event.validate.spotCheck;

/** The target as a run goes on with it: how fast it is filled may be changed between tries. */
export function unthrottled(target: RunEvent['target']): RunEvent['target'] {
  if (target.into !== 'place') return target;
  const { rowsPerSecond: _, ...options } = target.options;
  return { ...target, options };
}

/** What holds while applications go on. */
export function placeGuarantee(event: RunEvent): string {
  if (isBackfill(event)) {
    return 'A vector is written where a record lacks one and its text is still the one that was embedded; none is replaced, and no other column changes. Records that were added or whose text changed before their vector was written are caught up. A text that changes afterwards keeps its vector until the application, or another backfill, makes it anew.';
  }
  return 'Applications read and write the table all the time. Whatever changes a text empties its new vector in the same transaction, so the new column never holds a vector of another text; what lacks one is caught up, and the switch waits until no record with a text does. After the switch the old vector of a text that changes is emptied likewise: a rollback brings back no wrong vector, and says how many records have none.';
}

/** How a side of the run is opened; undefined: the run is not in place. Before there is a plan its parts are left out. */
export function inPlaceOf(
  { run, event, embed, target }: Pick<Plan, 'run' | 'event'> & Partial<Pick<Plan, 'embed' | 'target'>>,
  side: InPlace['side'],
): InPlace | undefined {
  const asked = event.embed;
  if (!isInPlace(event) || asked === undefined) return undefined;
  const vector = embed?.vector ?? asked.vector;
  const made = target?.vectors.find(({ name }) => name === vector);
  return {
    side,
    run,
    vector,
    dimension: made?.dimension,
    fields: parseEmbeddedText(asked.text).fields,
    records: asked.records,
  };
}

/** What no table could do: said before anything is read. @throws Incompatible, InvalidEvent */
export function refusePlace(event: RunEvent, { title, capabilities }: StoreKind): void {
  if (!isInPlace(event)) return;
  if (event.index === undefined && !capabilities.inPlace) {
    const text = `"into": "place": ${title} cannot give a collection a new vector while applications use it`;
    throw new Incompatible(`${text}; name another target.collection to move into`, { ids: ['target.into'] });
  }
  const place = ({ store, connection, collection }: RunEvent['source'] | RunEvent['target']): unknown => [
    ...[store, connection, collection],
  ];
  if (!isDeepStrictEqual(place(event.source), place(event.target))) {
    const text = '"into": "place" changes the source itself, and the target is another collection';
    throw new InvalidEvent(`${text}; leave out target.store, connection and collection, or leave out into`, {
      ids: ['target.collection'],
    });
  }
  if (event.names !== undefined)
    throw new InvalidEvent('names do not go with "into": "place": give the names that the table has', {
      ids: ['names'],
    });
  if (event.index === undefined) refuseMapping(event);
}

/** The table keeps its columns: of a mapping only what is said of the vector can be done, and fields be left unread. */
function refuseMapping({ mapping, embed }: RunEvent): void {
  const { vectors, payload, ...others } = mapping;
  const { vectors: _, payload: __, ...none } = mappingSchema.parse({});
  const rules = Object.entries(payload).flatMap(([name, rule]) => (rule === null ? [] : [`payload.${name}`]));
  const changed = Object.keys(others).filter(
    (name) => !isDeepStrictEqual(Reflect.get(others, name), Reflect.get(none, name)),
  );
  const renamed = Object.entries(vectors).flatMap(([name, each]) =>
    each?.to === undefined || each.to === name ? [] : [`vectors.${name}.to`],
  );
  const read = new Set(embed === undefined ? [] : parseEmbeddedText(embed.text).fields);
  const unread = Object.keys(payload).filter((name) => payload[name] === null && read.has(name));
  const wrong = [...rules, ...changed.filter((name) => name !== 'missingVectors'), ...renamed];
  if (wrong.length > 0) {
    const names = wrong.map((name) => `mapping.${name}`);
    const text = `${names.join(', ')}: a run in place changes nothing of a table but one vector`;
    throw new InvalidEvent(`${text}; leave the rules out, or move into another collection`, { ids: names });
  }
  if (unread.length === 0) return;
  const names = unread.map((name) => `mapping.payload.${name}`);
  throw new InvalidEvent(`${names.join(', ')} leaves out what embed.text is made of; take one of the two out`, {
    ids: names,
  });
}

interface CheckInput {
  readonly event: RunEvent;
  readonly target: Target;
  readonly records: number;
  /** As it is planned. */
  readonly schema: CollectionSchema;
  /** With the models of its vectors, where they are known. */
  readonly source: CollectionSchema;
  readonly embed: EmbedPlan | undefined;
  readonly isNew: boolean;
}

/**
 * Looks at the table, and changes nothing.
 * @returns what a person should know. @throws Incompatible with every reason why it cannot be changed, InvalidEvent
 */
export async function checkPlace(input: CheckInput): Promise<readonly string[]> {
  const { event, target, schema, embed, isNew } = input;
  if (!isInPlace(event) || isIndexChange(event) || target.place === undefined) return [];
  if (embed === undefined && !isBackfill(event)) {
    const text = 'the vectors are of the model that embed names already, so nothing has to be made in place';
    throw new InvalidEvent(`${text}; "records": "missing" fills those that records lack`, { ids: ['embed.model'] });
  }
  if (embed === undefined) return [];
  if (event.embed?.mark !== undefined && event.embed.mark !== null) {
    const text = 'embed.mark: a run in place gives a table no columns that name the model';
    throw new InvalidEvent(`${text}; leave it out`, { ids: ['embed.mark'] });
  }
  const held = isNew && isBackfill(event) ? (await target.count()) - input.records : 0;
  const model = input.source.vectors.find(({ name }) => name === embed.vector)?.model;
  if (held > 0 && (model === undefined || !isSameModel(model, embed.model))) {
    const text = `${plural(held, 'record')} ${held === 1 ? 'has' : 'have'} a vector '${embed.vector}' of ${modelText(model)}, beside which new ones of ${modelText(embed.model)} would stand, and the two cannot be compared`;
    throw new InvalidEvent(
      `${text}; say in source.model that the same model and version made them, or set them to NULL`,
      {
        ids: ['source.model'],
      },
    );
  }
  return await target.place.check(schema, { isNew, isSearched: event.validate.recall !== null });
}
