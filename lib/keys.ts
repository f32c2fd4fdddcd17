import { randomUUID } from 'node:crypto';
import { InvalidEvent } from './errors.ts';

/**
 * The object keys of a run: built and parsed here and nowhere else. On AWS they live in the runs' bucket, on one machine
 * under a directory. Numbers are padded so that the keys list in order.
 */

export interface RunKeys {
  readonly prefix: string;
  readonly plan: string;
  readonly ranges: string;
  readonly manifest: string;
  /** The manifest's shard names as a plain JSON array: the items of the validation's Distributed Map. */
  readonly shardList: string;
  /** How far the index is, in the store's own words. */
  readonly index: string;
  readonly queries: string;
  /** What models answered to queries that are texts. */
  readonly queryTexts: string;
  readonly recall: string;
  /** What tuning tried and chose, and what the diagnosis found. */
  readonly tuning: string;
  readonly diagnosis: string;
  readonly report: string;
  readonly reportPage: string;
  /** Of a live run: since when writes go to both sides, ids that were deleted meanwhile and which of these were applied, and how far the sweep is. */
  readonly live: string;
  readonly tombstones: string;
  readonly tombstonesApplied: string;
  readonly sweep: string;
  /** How far the embedding is, the vectors by shard, and what the model answered, by text: what is there is never asked again. */
  readonly embedding: string;
  readonly embedded: string;
  readonly texts: string;
  /** What the old index answered before it was replaced. */
  readonly before: string;
  /** What another model changed. */
  readonly drift: string;
  /** The question to a person, and an answer a question. */
  readonly approval: string;
  readonly approvalAnswers: string;
  /** The step that readers are at, and what was seen. */
  readonly canary: string;
  /** What was moved, and to what: an object a move, so that two at once lose none. They list in order. */
  readonly moves: string;
  /** What was dropped for good once readers were elsewhere. */
  readonly retired: string;
  /** Of a run in place: which cutover of the log was made; logged before, it may take minutes. */
  readonly switched: string;
  readonly notices: string;
  readonly shards: string;
  readonly exported: string;
  readonly loaded: string;
  readonly failed: string;
  readonly compared: string;
  readonly neighbours: string;
  readonly answers: string;
}

/** Every run has a folder in it. */
export const runsPrefix = 'runs/';

export function runKeys(run: string): RunKeys {
  const prefix = `${runsPrefix}${run}/`;
  return {
    prefix,
    plan: `${prefix}plan.json`,
    ranges: `${prefix}ranges.json`,
    manifest: `${prefix}manifest.json`,
    shardList: `${prefix}shards.json`,
    index: `${prefix}index.json`,
    queries: `${prefix}queries.json`,
    queryTexts: `${prefix}query-texts/`,
    recall: `${prefix}recall.json`,
    tuning: `${prefix}tuning.json`,
    diagnosis: `${prefix}diagnosis.json`,
    report: `${prefix}report.json`,
    reportPage: `${prefix}report.html`,
    live: `${prefix}live.json`,
    tombstones: `${prefix}tombstones/`,
    tombstonesApplied: `${prefix}tombstones.json`,
    sweep: `${prefix}sweep.json`,
    embedding: `${prefix}embedding.json`,
    embedded: `${prefix}embedded/`,
    texts: `${prefix}texts/`,
    before: `${prefix}before/`,
    drift: `${prefix}drift.json`,
    approval: `${prefix}approval.json`,
    approvalAnswers: `${prefix}approval-answers/`,
    canary: `${prefix}canary.json`,
    moves: `${prefix}moves/`,
    switched: `${prefix}switched.json`,
    retired: `${prefix}retired.json`,
    notices: `${prefix}notices/`,
    shards: `${prefix}shards/`,
    exported: `${prefix}exported/`,
    loaded: `${prefix}loaded/`,
    failed: `${prefix}failed/`,
    compared: `${prefix}compared/`,
    neighbours: `${prefix}neighbours/`,
    answers: `${prefix}answers/`,
  };
}

/** A shard's name: the range it holds and its part within that range, both from 0: `00012-000`. */
export function shardName(range: number, part: number): string {
  return `${rangeName(range)}-${String(part).padStart(3, '0')}`;
}

function rangeName(range: number): string {
  return String(range).padStart(5, '0');
}

/** @throws InvalidEvent when `name` is no shard's name. */
export function parseShardName(name: string): { readonly range: number; readonly part: number } {
  const match = /^(\d{5,})-(\d{3,})$/.exec(name);
  if (match === null) throw new InvalidEvent(`'${name}' is not the name of a shard; one looks like 00012-000`);
  return { range: Number(match[1]), part: Number(match[2]) };
}

export const shardKey = (run: string, shard: string): string => `${runKeys(run).shards}${shard}.parquet`;
export const exportedKey = (run: string, shard: string): string => `${runKeys(run).exported}${shard}.json`;
export const loadedKey = (run: string, shard: string): string => `${runKeys(run).loaded}${shard}.json`;
export const failedKey = (run: string, shard: string): string => `${runKeys(run).failed}${shard}.json`;
export const comparedKey = (run: string, shard: string): string => `${runKeys(run).compared}${shard}.json`;
export const neighboursKey = (run: string, shard: string): string => `${runKeys(run).neighbours}${shard}.json`;
/** The vectors of a shard's records that a model made. */
export const embeddedKey = (run: string, shard: string): string => `${runKeys(run).embedded}${shard}.parquet`;
/** What is in that object, written after it. */
export const embeddedMarkerKey = (run: string, shard: string): string => `${runKeys(run).embedded}${shard}.json`;
/** The n-th object of answers of a model, counted from 0: `texts/000000.parquet`. */
export const textsKey = (run: string, number: number): string =>
  `${runKeys(run).texts}${String(number).padStart(6, '0')}.parquet`;
/** The n-th object of answers to queries that are texts, counted from 0: `query-texts/00000.json`. */
export const queryTextsKey = (run: string, number: number): string =>
  `${runKeys(run).queryTexts}${String(number).padStart(5, '0')}.json`;
/** What the old index answered to a number of queries, counted from 0: `before/00000.json`. */
export const beforeKey = (run: string, part: number): string =>
  `${runKeys(run).before}${String(part).padStart(5, '0')}.json`;
/** What both sides answered to a number of queries, counted from 0: `answers/00000.json`. */
export const answersKey = (run: string, part: number): string =>
  `${runKeys(run).answers}${String(part).padStart(5, '0')}.json`;

/** An object that lists by its time, and that no other process writes: `2026-01-31T03:00:00.000Z-1f0c….json`. */
const timedKey = (prefix: string, at: string): string => `${prefix}${at}-${randomUUID()}.json`;
/** The n-th move of a run, counted from 0: `moves/00000.json`. */
export const moveKey = (run: string, number: number): string =>
  `${runKeys(run).moves}${String(number).padStart(5, '0')}.json`;
export const tombstoneKey = (run: string, at: string): string => timedKey(runKeys(run).tombstones, at);
export const noticeKey = (run: string, at: string): string => timedKey(runKeys(run).notices, at);

/** The answer to the question that was asked then: `approval-answers/2026-01-31T03:00:00.000Z.json`. */
export const approvalAnswerKey = (run: string, askedAt: string): string =>
  `${runKeys(run).approvalAnswers}${askedAt}.json`;

/** The run of a folder right below `runs/`. */
export const nameOfRun = (folder: string): string => folder.slice(runsPrefix.length, -1);

/** The last part of a key without its ending: the shard of a marker. */
export function nameOfKey(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1).replace(/\.[a-z]+$/, '');
}
