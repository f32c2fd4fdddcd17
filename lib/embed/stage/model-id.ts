import type { RunEvent } from '../../event.ts';
import type { Embed } from '../../event-embed.ts';
import { type Fields, textOf, valueAt } from '../../mapping/template.ts';
import type { ModelId } from '../../schema.ts';
import type { Description } from '../../stores/port.ts';
import { plural } from '../../words.ts';
import { knownModels, unknownVersion } from '../models.ts';

/** Which model made the vectors of a collection, and when two are the same. */

/** Fields that say it, where the event names no others. */
export const marksOf = { model: 'embedding_model', version: 'embedding_version' } as const;

/** Name and version alike. A version that is not known is like no other: a provider may have changed the model meanwhile. */
export function isSameModel(a: ModelId, b: ModelId): boolean {
  const isKnown = a.version !== undefined && a.version !== unknownVersion;
  return a.name === b.name && isKnown && a.version === b.version;
}

/** `amazon.titan-embed-text-v2:0, version 2` */
export function modelText(model: ModelId | undefined): string {
  if (model === undefined) return 'a model that is not known';
  const { name, version = unknownVersion } = model;
  return version === unknownVersion ? `${name} of unknown version` : `${name}, version ${version}`;
}

/** True where the first floats of its vectors are vectors by themselves, by the event's word or as far as is known. */
export function isMatryoshka({ name, isMatryoshka: said }: ModelId): boolean {
  return said ?? knownModels.some(({ card }) => card.name === name && card.isMatryoshka);
}

export interface SourceModelInput {
  readonly event: RunEvent;
  readonly described: Description;
  /** The vector asked about, by its name in the source. */
  readonly vector: string;
  readonly sample: readonly { readonly fields: Fields; readonly has: boolean }[];
}

/** The model of a vector of the source: what the event, its shards or its files say, else what its records' mark says. */
export function sourceModel({ event, described, vector, sample }: SourceModelInput): {
  readonly model: ModelId | undefined;
  /** Who says it, as the end of a sentence; '' where nobody does. */
  readonly by: string;
  readonly notes: readonly string[];
} {
  const own = described.schema.vectors.find(({ name }) => name === vector);
  if (own?.model !== undefined) {
    const by = event.source.model === undefined ? 'its files or shards say so' : 'source.model says so';
    return { model: own.model, by, notes: [] };
  }
  if (own === undefined) return { model: undefined, by: '', notes: [] };
  const marked = sample.filter(({ has }) => has);
  const marks = markedModels(event.embed?.mark, marked);
  const [only, ...others] = marks;
  if (only === undefined || marks.every(({ name }) => name === '')) return { model: undefined, by: '', notes: [] };
  if (others.length === 0) {
    const by = `so say the ${plural(marked.length, 'sampled record')} that have it; source.model would say it of all`;
    return { model: only, by, notes: [] };
  }
  const names = marks.map((each) => (each.name === '' ? 'some say nothing' : modelText(each))).join('; ');
  const text = `vectors '${vector}' of the source are of several models, as its records say: ${names}`;
  return { model: undefined, by: '', notes: [text] };
}

/** The different models that records name; one that names none is of a model of the name ''. */
function markedModels(mark: Embed['mark'], sample: SourceModelInput['sample']): ModelId[] {
  const names = mark ?? marksOf;
  const found = new Map<string, ModelId>();
  for (const { fields } of sample) {
    const name = names.model === null ? '' : textOf(valueAt(fields, names.model));
    const version = names.version === null ? '' : textOf(valueAt(fields, names.version));
    found.set(`${name}\0${version}`, version === '' ? { name } : { name, version });
  }
  return [...found.values()];
}

/**
 * The collection with the models that the event says of its dense vectors, so that shards and target say them too.
 */
export function withSaidModel(described: Description, { source }: RunEvent): Description {
  if (source.model === undefined) return described;
  const { name, version, isMatryoshka: said } = source.model;
  // Without what it takes to ask it.
  const model = { name, ...(version !== undefined && { version }), ...(said !== undefined && { isMatryoshka: said }) };
  const { schema, notes = [] } = described;
  const others = schema.vectors.flatMap(({ name: vector, model: found }) => {
    if (found === undefined || (found.name === name && (version === undefined || found.version === version))) return [];
    const texts = `source.model says that ${modelText(model)} made vector '${vector}', and its files say ${modelText(found)}`;
    return [`${texts}: the event is believed`];
  });
  const vectors = schema.vectors.map((each) => (each.kind === 'dense' ? { ...each, model } : each));
  return { ...described, schema: { ...schema, vectors }, notes: [...notes, ...others] };
}
