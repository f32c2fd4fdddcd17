import { type Batch, sliceBatch } from '../../batch.ts';
import type { Source } from '../../stores/port.ts';
import { count, plural } from '../../words.ts';
import type { Embedder, EmbedLimits } from '../port.ts';
import type { EmbedEstimate } from './embed-files.ts';

/** What embedding a collection will take, worked out from some of its records before anything is asked or paid. */

/** Places of the collection that are read, and records read at each: at most 1,024, of 3 MB at 768 dimensions. */
const places = 16;
const recordsPerPlace = 64;
/** No further place is read after so many ms. */
const maxReadMs = 20_000;
/** Seconds that an answer takes to come back, where neither limit of the provider is what holds the run up. */
const secondsPerRequest = 0.5;
/**
 * Tokens a second that the local model embeds: half of the 2,100 that it takes one core's second for with texts of 15 to 23
 * tokens (longer ones go up to 4,400), so that the estimate errs on the late side.
 */
const localTokensPerSecond = 1_000;

export interface SampleInput {
  readonly source: Pick<Source, 'ranges' | 'read'>;
  /** Records of the collection. */
  readonly records: number;
  /** For tests. */
  readonly clock?: () => number;
}

/**
 * The first records of ranges that are spread evenly over the collection: one batch a place, at least one where there are
 * any records. A collection of at most 1,024 records is read whole.
 */
export async function sampleRecords({ source, records, clock = Date.now }: SampleInput): Promise<readonly Batch[]> {
  if (records === 0) return [];
  const ranges = await source.ranges({ records: Math.max(recordsPerPlace, Math.ceil(records / places)) });
  const step = Math.max(1, ranges.length / places);
  const chosen = Array.from({ length: Math.min(places, ranges.length) }, (_, at) => ranges[Math.floor(at * step)]);
  const perPlace = Math.max(recordsPerPlace, Math.ceil((places * recordsPerPlace) / chosen.length));
  const [found, until]: [Batch[], number] = [[], clock() + maxReadMs];
  for (const range of chosen) {
    if (range === undefined || (found.length > 0 && clock() > until)) continue;
    let left = perPlace;
    for await (const { batch } of source.read(range, { maxRecords: perPlace, maxBytes: 8 * 1024 * 1024 })) {
      if (batch.count > 0) found.push(sliceBatch(batch, 0, left));
      left -= batch.count;
      if (left <= 0) break;
    }
  }
  return found;
}

/** Tokens of a sampled record's text; undefined: it has none, or none that is to be embedded. */
export type SampledText = number | undefined;

export interface EstimateInput {
  readonly embedder: Pick<Embedder, 'card' | 'limits' | 'countTokens'>;
  /** By place. */
  readonly sample: readonly (readonly SampledText[])[];
  readonly records: number;
  /** Records that lack the vector, where the event asks for those alone and the store knows how many: they are taken for such as the others. */
  readonly lacking?: number | undefined;
  /** Queries that the event gives as texts: they are embedded too. */
  readonly queries: readonly string[];
}

/**
 * Tokens are the upper end of the 95 % interval of a record's mean, times the records, so that one estimate in forty is
 * too low; where the whole collection was read they are exact. Texts longer than the model takes count as long as it takes.
 */
export function estimateEmbedding({ embedder, sample, records, lacking, queries }: EstimateInput): EmbedEstimate {
  const { card, limits } = embedder;
  const sampled = sample.reduce((sum, each) => sum + each.length, 0);
  const population = lacking ?? records;
  const cut = (text: SampledText): number => Math.min(text ?? 0, card.maxInputTokens);
  const perRecord = upperMean(
    sample.map((each) => each.map(cut)),
    population,
  );
  const isText = sample.map((each) => each.map((text) => (text === undefined ? 0 : 1)));
  const texts = Math.ceil(Math.min(1, upperMean(isText, population).high) * population) + queries.length;
  const asked = queries.reduce((sum, text) => sum + Math.min(embedder.countTokens(text), card.maxInputTokens), 0);
  const tokens = Math.ceil(perRecord.high * population) + asked;
  const usd = card.usdPerMillionTokens === null ? null : (tokens / 1e6) * card.usdPerMillionTokens;
  const time = timeOf({ provider: card.provider, limits, texts, tokens });
  const what = lacking === undefined ? plural(records, 'record') : `${plural(lacking, 'record')} without the vector`;
  const isExact = perRecord.high === perRecord.mean;
  const spread = `mean ${figure(perRecord.mean)}, standard deviation ${figure(perRecord.deviation)}`;
  const taken = isExact ? '' : `, taken at the upper end of the 95 % interval of the mean`;
  const queried = queries.length === 0 ? '' : ` + ${count(asked)} of ${plural(queries.length, 'query')}`;
  return {
    texts,
    tokens,
    usd,
    seconds: Math.ceil(time.seconds),
    sampled,
    formula: [
      `tokens = ${what} x ${figure(perRecord.high)}${queried} (${plural(sampled, 'record')} read at ${plural(sample.length, 'place')}: ${spread}${taken}); a text that stands there twice is embedded and paid for once, which is not taken off`,
      usd === null
        ? `USD: the price of ${card.name} is not known; embed.model.usdPerMillionTokens says it`
        : `USD = tokens x ${card.usdPerMillionTokens} per million (list price, or as the event says)`,
      `seconds = ${time.formula}`,
    ],
  };
}

interface Mean {
  readonly mean: number;
  readonly deviation: number;
  /** Upper end of its 95 % interval. */
  readonly high: number;
}

/** 97.5 % quantiles of Student's t by degrees of freedom, 1 to 15; NIST/SEMATECH e-Handbook, 1.3.6.7.2. */
const student = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131,
];

/**
 * The wider of two intervals: of all records as if drawn by themselves, and of the places' means, since neighbours in key
 * order resemble each other (Cochran, 1977, "Sampling Techniques", sections 2.6 and 9A.2). No interval where all was read.
 */
function upperMean(sample: readonly (readonly number[])[], population: number): Mean {
  const all = sample.flat();
  const { mean, deviation } = spreadOf(all);
  const left = population <= 1 ? 0 : Math.max(0, (population - all.length) / (population - 1));
  if (left === 0) return { mean, deviation, high: mean };
  const means = sample.filter((each) => each.length > 0).map((each) => spreadOf(each).mean);
  const t = student[Math.min(means.length, student.length + 1) - 2] ?? 0;
  const byRecord = (1.96 * deviation) / Math.sqrt(all.length);
  const byPlace = means.length < 2 ? 0 : (t * spreadOf(means).deviation) / Math.sqrt(means.length);
  return { mean, deviation, high: mean + Math.max(byRecord, byPlace) * Math.sqrt(left) };
}

function spreadOf(values: readonly number[]): { readonly mean: number; readonly deviation: number } {
  const mean = values.reduce((sum, each) => sum + each, 0) / Math.max(1, values.length);
  const squares = values.reduce((sum, each) => sum + (each - mean) ** 2, 0);
  return { mean, deviation: Math.sqrt(squares / Math.max(1, values.length - 1)) };
}

interface Size {
  readonly provider: string;
  readonly limits: EmbedLimits;
  readonly texts: number;
  readonly tokens: number;
}

/** The slowest of what holds a run up: requests a minute, tokens a minute, and waiting for answers. */
function timeOf({ provider, limits, texts, tokens }: Size): { readonly seconds: number; readonly formula: string } {
  if (provider === 'local') {
    const formula = `tokens / ${count(localTokensPerSecond)} a second: half of what one core does with texts of 20 tokens`;
    return { seconds: tokens / localTokensPerSecond, formula };
  }
  const requests = Math.ceil(Math.max(texts / limits.textsPerRequest, tokens / limits.tokensPerRequest));
  const ways = [
    {
      seconds: (requests / limits.requestsPerMinute) * 60,
      formula: `${plural(requests, 'request')} at ${count(limits.requestsPerMinute)} a minute`,
    },
    {
      seconds: (tokens / limits.tokensPerMinute) * 60,
      formula: `tokens at ${count(limits.tokensPerMinute)} a minute`,
    },
    {
      seconds: (requests * secondsPerRequest) / limits.concurrency,
      formula: `${plural(requests, 'request')} x ${secondsPerRequest} s, ${limits.concurrency} at once`,
    },
  ];
  const [slowest = { seconds: 0, formula: 'none' }, ...others] = ways.sort((a, b) => b.seconds - a.seconds);
  return {
    seconds: slowest.seconds,
    formula: `${slowest.formula}; that is slower than ${others.map(({ formula }) => formula).join(' and ')}`,
  };
}

const figure = (value: number): string => (value >= 100 ? count(Math.round(value)) : value.toFixed(1));
