import { type Batch, hasVector } from '../../batch.ts';
import { BudgetExceeded, Incompatible, InvalidEvent } from '../../errors.ts';
import type { RunEvent } from '../../event.ts';
import type { Embed } from '../../event-embed.ts';
import type { FitSource } from '../../fit.ts';
import { type Fields, parseEmbeddedText, payloadFields, type Template, valueAt } from '../../mapping/template.ts';
import type { CollectionSchema, ModelId } from '../../schema.ts';
import type { Description, Source, StoreKind } from '../../stores/port.ts';
import { count, duration, money, plural } from '../../words.ts';
import type { Embedder } from '../port.ts';
import { estimateEmbedding, sampleRecords } from './embed-estimate.ts';
import type { EmbedEstimate, EmbedPlan, ModelCard } from './embed-files.ts';
import { madeSchema } from './made.ts';
import { isSameModel, marksOf, modelText, sourceModel } from './model-id.ts';

/**
 * What the plan works out of an embedding: which vector is made of which text, whether the source's is of that model
 * already, and what making it costs. Records are read; the model is asked nothing.
 */
export interface PlanEmbedInput {
  readonly event: RunEvent;
  readonly source: Pick<Source, 'ranges' | 'read'>;
  readonly described: Description;
  readonly embedder: Pick<Embedder, 'card' | 'limits' | 'countTokens'>;
  readonly target: StoreKind;
  /** Queries that the event gives as texts. */
  readonly queries: readonly string[];
}

export interface PlannedEmbedding {
  /** undefined: the source's vectors are of this model, and are copied. */
  readonly embed: EmbedPlan | undefined;
  /** The source's schema, with the model of the vector where that is known. */
  readonly source: CollectionSchema;
  /** Fields of the target's records that say which model made the vector. */
  readonly mark: PlannedMark | undefined;
  /** What was worked out from these. */
  readonly sample: readonly Batch[];
  readonly notes: readonly string[];
}

export interface PlannedMark {
  readonly vector: string;
  readonly fields: Readonly<Record<string, string>>;
  /** True: vectors are copied since sampled records name this model, and one that was not sampled may name another. */
  readonly isKept?: boolean;
}

/**
 * @throws Incompatible when it cannot be told which vector is meant; InvalidEvent when the text is of fields that are not
 * there, or vectors of two models would stand side by side; BudgetExceeded when the estimate passes the event's budget.
 */
export async function planEmbedding(input: PlanEmbedInput): Promise<PlannedEmbedding | undefined> {
  const { event, source, described, embedder, target } = input;
  const asked = event.embed;
  if (asked === undefined) return undefined;
  const said = asked.model.isMatryoshka;
  const card = { ...embedder.card, ...(said !== undefined && { isMatryoshka: said }) };
  const vector = vectorToMake(event, described.schema);
  const template = parseEmbeddedText(asked.text);
  const batches = await sampleRecords({ source, records: described.count });
  const sample = batches.map((batch) => sampledRecords(batch, vector, template));
  const { records } = asked;
  const found: Found = { event, asked, described, vector, template, sample: sample.flat(), card };
  const missing = refuseUnknownFields(found);
  const old = sourceModel(found);
  const schema = withModel(described.schema, vector, old.model);
  const isSame = isSameOnBoth(found, old.model);
  const keeps = keptRecords(found);
  const notes = [...old.notes, ...missing];
  if (isSame && (records === 'all' || keeps.lacking === 0)) {
    const mark = markOf(asked, event, vector, card);
    const isBySample = described.schema.vectors.find(({ name }) => name === vector)?.model === undefined;
    return {
      embed: undefined,
      source: schema,
      mark: mark && (isBySample ? { ...mark, isKept: true } : mark),
      sample: batches,
      notes: [...notes, ...copyNotes(found, old, keeps)],
    };
  }
  refuseTextless(found, target);
  if (records === 'missing' && !isSame && keeps.some) throw wouldMix(found, old.model);
  // Where few lack it, a sample has too few of them to go by: they are taken for such as the others.
  const isWhole = found.sample.length === described.count;
  const lacking = records === 'missing' && !isWhole ? keeps.lacking : undefined;
  const isCounted = (text: string, has: boolean): boolean =>
    text !== '' && !(records === 'missing' && has && lacking === undefined);
  const estimate = estimateEmbedding({
    embedder,
    sample: sample.map((each) =>
      each.map(({ text, has }) => (isCounted(text, has) ? embedder.countTokens(text) : undefined)),
    ),
    records: described.count,
    lacking,
    queries: input.queries,
  });
  const embed: EmbedPlan = {
    vector,
    text: asked.text,
    model: card,
    records,
    longText: asked.longText,
    mark: markNames(asked, event),
    estimate,
  };
  refuseOverBudget(estimate, asked, card);
  const texts = [...markNotes(embed, found), ...textNotes(found, embedder), ...canaryNotes(event)];
  return {
    embed,
    source: schema,
    mark: markOf(asked, event, vector, card),
    sample: batches,
    notes: [...notes, ...madeNotes(found, old.model, keeps), ...texts],
  };
}

/** What is known by then. */
interface Found {
  readonly event: RunEvent;
  readonly asked: Embed;
  readonly described: Description;
  readonly vector: string;
  readonly template: Template;
  readonly sample: readonly SampledRecord[];
  readonly card: ModelCard;
}

export interface SampledRecord {
  readonly id: string;
  readonly fields: Fields;
  /** True where it has the vector that is to be made. */
  readonly has: boolean;
  readonly text: string;
}

function sampledRecords({ ids, payloads, vectors }: Batch, vector: string, template: Template): SampledRecord[] {
  const column = vectors.get(vector);
  return ids.map((id, at) => {
    const fields = payloadFields(payloads[at] ?? '{}');
    const has = column !== undefined && hasVector(column, at);
    return { id, fields, has, text: template.render(fields) };
  });
}

/** @throws Incompatible, InvalidEvent */
function vectorToMake({ embed, mapping }: RunEvent, { vectors }: CollectionSchema): string {
  const dense = vectors.filter(({ kind }) => kind === 'dense');
  const [only, ...others] = dense;
  if (embed?.vector === undefined && others.length > 0) {
    const names = dense.map(({ name }) => `'${name}'`).join(', ');
    const text = `embed makes one vector, and the source has ${names}: say with embed.vector which of them it takes the place of, or a new name`;
    throw new Incompatible(text, { ids: ['embed.vector'] });
  }
  const name = embed?.vector ?? only?.name ?? 'embedding';
  const own = vectors.find((each) => each.name === name);
  if (own !== undefined && own.kind !== 'dense') {
    const text = `embed makes dense vectors, and '${name}' of the source is ${own.kind}`;
    throw new Incompatible(`${text}; give embed.vector another name`, { ids: ['embed.vector', name] });
  }
  if (mapping.vectors[name] === null) {
    const text = `embed makes vector '${name}', and mapping.vectors leaves it out`;
    throw new InvalidEvent(`${text}; take one of the two out of the event`, { ids: ['embed.vector', name] });
  }
  return name;
}

/** Fields of the text that are nowhere. @returns notes on those that only no sampled record has @throws InvalidEvent */
function refuseUnknownFields({ asked, template, sample, described }: Found): string[] {
  const declared = described.schema.fields?.map(({ name }) => name);
  const isThere = (field: string): boolean => {
    if (declared === undefined) return sample.some(({ fields }) => valueAt(fields, field) !== undefined);
    return declared.some((name) => field === name || field.startsWith(`${name}.`));
  };
  const unknown = template.fields.filter((field) => !isThere(field));
  if (unknown.length === 0 || (declared === undefined && sample.length === 0)) return [];
  const names = unknown.map((field) => `'${field}'`).join(', ');
  const where = declared === undefined ? `none of ${plural(sample.length, 'sampled record')} has` : 'the source lacks';
  if (declared === undefined && unknown.length < template.fields.length)
    return [`embed.text names ${names}, which ${where}`];
  const there = declared ?? [...new Set(sample.flatMap(({ fields }) => Object.keys(fields)))].slice(0, 50);
  const text = `embed.text '${asked.text}' names ${names}, which ${where}; its fields are ${there.join(', ') || 'none'}`;
  throw new InvalidEvent(text, { ids: ['embed.text', ...unknown] });
}

function withModel(schema: CollectionSchema, vector: string, model: ModelId | undefined): CollectionSchema {
  if (model === undefined) return schema;
  return { ...schema, vectors: schema.vectors.map((each) => (each.name === vector ? { ...each, model } : each)) };
}

function isSameOnBoth({ described, vector, card }: Found, old: ModelId | undefined): boolean {
  const own = described.schema.vectors.find(({ name }) => name === vector);
  if (own === undefined || old === undefined) return false;
  return isSameModel(old, card) && (own.dimension === undefined || own.dimension === card.dimensions);
}

interface Kept {
  /** True where a record keeps the vector it has, as far as that is known. */
  readonly some: boolean;
  /** Records without the vector; undefined where neither the store nor the sample tells. */
  readonly lacking: number | undefined;
}

function keptRecords({ described, vector, sample }: Found): Kept {
  const { count: records, withoutVector, schema } = described;
  if (!schema.vectors.some(({ name }) => name === vector)) return { some: false, lacking: records };
  const counted = withoutVector?.[vector];
  if (counted !== undefined) return { some: counted < records, lacking: counted };
  const isWhole = sample.length === records;
  const has = sample.filter((each) => each.has).length;
  // A store that tells of missing vectors names the vectors that lack any.
  if (has === sample.length && (isWhole || withoutVector !== undefined)) return { some: records > 0, lacking: 0 };
  return { some: has > 0 || !isWhole, lacking: isWhole ? records - has : undefined };
}

function copyNotes({ vector }: Found, { model, by }: ReturnType<typeof sourceModel>, { lacking = 0 }: Kept): string[] {
  const whose = `vector '${vector}' was made by ${modelText(model)}, the model that embed names (${by})`;
  const without =
    lacking === 0 ? [] : [`${plural(lacking, 'record')} have no vector '${vector}'; "records": "missing" makes theirs`];
  return [`${whose}: it is copied, and nothing is embedded or paid for`, ...without];
}

function wouldMix({ vector, card, described }: Found, old: ModelId | undefined): InvalidEvent {
  const own = described.schema.vectors.find(({ name }) => name === vector)?.dimension;
  const theirs = `${modelText(old)}${own === undefined ? '' : `, ${own} dimensions`}`;
  const text = `embed.records "missing" keeps the vectors '${vector}' that are there, of ${theirs}, beside new ones of ${modelText(card)}, ${card.dimensions} dimensions, and the two cannot be compared`;
  const next =
    'say in source.model that the same model and version made them, or leave records out to have all made anew';
  return new InvalidEvent(`${text}; ${next}`, { ids: ['embed.records'] });
}

/** Why vectors are made anew, naming both models. */
function madeNotes(found: Found, old: ModelId | undefined, { lacking }: Kept): string[] {
  const { asked, described, vector, card } = found;
  const made = `by ${modelText(card)} (${card.dimensions} dimensions)`;
  const own = described.schema.vectors.find(({ name }) => name === vector);
  if (own === undefined) return [`vector '${vector}' is new and made ${made}`];
  if (asked.records === 'missing') {
    const which = lacking === undefined ? 'records that lack it' : `${plural(lacking, 'record')} that lack it`;
    return [`vector '${vector}' of ${which} is made ${made}; the others keep theirs, of the same model`];
  }
  const was = `${modelText(old)}${own.dimension === undefined ? '' : `, ${own.dimension} dimensions`}`;
  return [
    `vector '${vector}' is made anew ${made}; the source's is of ${was}: the two cannot be compared, so queries of the target have to be embedded by the new model`,
  ];
}

function markNotes({ mark, vector }: EmbedPlan, { sample, event }: Found): string[] {
  const names = [mark.model, mark.version].flatMap((name) => (name === null ? [] : [name]));
  const left = Object.values(marksOf).filter(
    (name) =>
      !names.includes(name) &&
      event.mapping.payload[name] !== null &&
      sample.some(({ fields }) => typeof fields[name] === 'string'),
  );
  const quoted = (list: readonly string[]): string => list.map((name) => `'${name}'`).join(' and ');
  return [
    ...(names.length === 0 ? [] : [`records of the target say in ${quoted(names)} which model made '${vector}'`]),
    ...(left.length === 0
      ? []
      : [
          `records of the source say in ${quoted(left)} which model made their vectors, and that is carried over as it is: it will not be that of '${vector}'; leave it out with mapping.payload, or let embed.mark write it`,
        ]),
  ];
}

/** An application that embeds every query by one model would search one of the two sides for nothing. */
function canaryNotes({ cutover, target }: RunEvent): string[] {
  if (cutover === null || cutover.pointer !== undefined || target.into === 'place') return [];
  const when = cutover.canary === null ? 'as the flag moves' : 'while readers are moved in steps';
  return [
    `${when}, the application has to embed its queries, and what it writes, by the model of the side that they go to: docs/client.md, "Sides of two embedding models"`,
  ];
}

const idsNamed = 5;
const named = (records: readonly SampledRecord[]): string => {
  const ids = records.slice(0, idsNamed).map(({ id }) => `'${id}'`);
  return `${ids.join(', ')}${records.length > ids.length ? ', …' : ''}`;
};

function textNotes({ asked, sample, card }: Found, { countTokens }: Pick<Embedder, 'countTokens'>): string[] {
  const without = sample.filter(({ text }) => text === '');
  const long = sample.filter(({ text }) => countTokens(text) > card.maxInputTokens);
  const of = plural(sample.length, 'sampled record');
  const becomes =
    asked.longText === 'truncate'
      ? 'what is too long is cut off'
      : 'they fail, and the run does not pass; embed.longText "truncate" cuts them off';
  return [
    ...(without.length === 0
      ? []
      : [`${count(without.length)} of ${of} have no text (${named(without)}): they get no vector`]),
    ...(long.length === 0
      ? []
      : [
          `${count(long.length)} of ${of} are longer than the ${count(card.maxInputTokens)} tokens that ${card.name} takes (${named(long)}): ${becomes}`,
        ]),
  ];
}

/** As the plan refuses records without a vector that are there already. @throws Incompatible */
function refuseTextless({ event, sample, vector }: Found, { title, capabilities }: StoreKind): void {
  const without = sample.filter(({ text, has }) => text === '' && !(has && event.embed?.records === 'missing'));
  if (without.length === 0 || capabilities.missingVectors || event.mapping.missingVectors === 'skip') return;
  const text = `${count(without.length)} of ${plural(sample.length, 'sampled record')} have no text (${named(without)}), so no vector '${vector}', and ${title} needs one`;
  throw new Incompatible(`${text}; mapping {"missingVectors": "skip"} leaves them out and lists them`, {
    ids: without.map(({ id }) => id),
  });
}

/** The source as the target is made from it: with the vector as the model makes it. */
export function asEmbedded(described: Description, planned: PlannedEmbedding | undefined): FitSource {
  if (planned === undefined) return described;
  const { embed, source } = planned;
  if (embed === undefined) return { ...described, schema: source };
  const { withoutVector = {} } = described;
  const others = Object.entries(withoutVector).filter(([name]) => name !== embed.vector);
  return {
    ...described,
    schema: madeSchema({ source, embed }),
    withoutVector: Object.fromEntries(others),
    madeVector: embed.vector,
  };
}

/** The names of the mark's fields; none of a run in place, whose table keeps its columns. @throws InvalidEvent */
function markNames({ mark }: Embed, { target }: RunEvent): EmbedPlan['mark'] {
  if (mark && mark.model !== null && mark.model === mark.version) {
    const text = `embed.mark has one name for both, '${mark.model}', where the version alone would stand`;
    throw new InvalidEvent(`${text}; name two fields, or set one of them to null`, { ids: ['embed.mark'] });
  }
  if (mark === null || (mark === undefined && target.into === 'place')) return { model: null, version: null };
  return mark ?? { model: marksOf.model, version: marksOf.version };
}

function markOf(asked: Embed, event: RunEvent, vector: string, { name, version }: ModelCard): PlannedEmbedding['mark'] {
  const names = markNames(asked, event);
  const fields = {
    ...(names.model === null ? {} : { [names.model]: name }),
    ...(names.version === null ? {} : { [names.version]: version }),
  };
  return Object.keys(fields).length === 0 ? undefined : { vector, fields };
}

/** @throws BudgetExceeded, InvalidEvent where the event sets a sum and the price is not known */
export function refuseOverBudget(
  { tokens, usd, seconds }: Pick<EmbedEstimate, 'tokens' | 'usd' | 'seconds'>,
  { budget }: Pick<Embed, 'budget'>,
  { name }: Pick<ModelCard, 'name'>,
): void {
  if (budget.usd !== undefined && usd === null) {
    const text = `embed.budget.usd is ${budget.usd}, and the price of ${name} is not known`;
    throw new InvalidEvent(`${text}; say it with embed.model.usdPerMillionTokens, or set budget.tokens`, {
      ids: ['embed.model.usdPerMillionTokens', 'embed.budget.usd'],
    });
  }
  const over = [
    ...(usd !== null && budget.usd !== undefined && usd > budget.usd
      ? [`${money(usd)} USD, and budget.usd is ${budget.usd}`]
      : []),
    ...(budget.tokens !== undefined && tokens > budget.tokens
      ? [`${count(tokens)} tokens, and budget.tokens is ${count(budget.tokens)}`]
      : []),
    ...(budget.minutes !== undefined && seconds > budget.minutes * 60
      ? [`${duration(seconds)}, and budget.minutes is ${budget.minutes}`]
      : []),
  ];
  if (over.length === 0) return;
  const text = `embedding with ${name} would take ${over.join('; ')}`;
  throw new BudgetExceeded(
    `${text}; nothing was asked or paid. Raise embed.budget, or embed fewer records or shorter texts`,
    {
      ids: ['embed.budget'],
    },
  );
}
