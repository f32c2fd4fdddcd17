import type { Answer, Move } from '../../../lib/cutover/cutover-files.ts';
import { flagNameOf, placeOf } from '../../../lib/cutover/flag.ts';
import type { Notice } from '../../../lib/cutover/notices.ts';
import { modelText } from '../../../lib/embed/stage/model-id.ts';
import { formText } from '../../../lib/index-change/index-text.ts';
import { lookedWords, mappingReport } from '../../../lib/mapping/words.ts';
import type { Plan } from '../../../lib/run-files.ts';
import type { Stage } from '../../../lib/stage.ts';
import type { RunStatus } from '../../../lib/status.ts';
import type { StoreKind } from '../../../lib/stores/port.ts';
import type { SeenShard } from '../../../lib/upgrade/look.ts';
import { count, duration, money, plural } from '../../../lib/words.ts';
import { type Place, shownCommand } from './shown-command.ts';

/** What the looking commands print for people; with --json the same objects go out as they are. */

export function planLines(plan: Plan): readonly string[] {
  const { event, source, target, estimate } = plan;
  const vectors = target.vectors.map(({ name, dimension, distance }) =>
    `${name === '' ? '(unnamed)' : name}: ${dimension ?? 'any'} ${distance ?? ''}`.trim(),
  );
  return [
    `plan of run ${plan.run}: nothing was written to the target`,
    `source   ${event.source.store} ${event.source.collection}: ${count(plan.records)} records, ids ${source.idType}`,
    `target   ${event.target.store} ${event.target.collection}: ${vectors.join(', ')}; ids ${plan.mapping.ids === 'keep' ? 'kept' : `kept, but for those that it cannot hold: they become UUIDv5, the original in '${plan.mapping.originalId}'`}`,
    `estimate ${count(estimate.shards)} shards, ${(estimate.bytes / 2 ** 20).toFixed(1)} MiB, about ${duration(estimate.seconds)} and ${estimate.usd.toFixed(2)} USD on AWS`,
    ...estimate.formula.map((line) => `         ${line}`),
    ...embedLines(plan),
    ...indexLines(plan),
    ...clientLines(plan),
    ...Object.entries(plan.withoutVector).map(
      ([name, records]) => `note     ${count(records)} records lack the vector '${name}'`,
    ),
    ...mappingLines(plan),
    ...plan.notes.map((note) => `note     ${note}`),
    `changes meanwhile: ${plan.guarantee}`,
  ];
}

/** The model, the one before it, tokens, money, time and what the event allows of them. */
function embedLines({ embed, event, source }: Plan): readonly string[] {
  if (embed === undefined) return [];
  const { vector, text, model, estimate } = embed;
  const { usd, tokens, minutes } = event.embed?.budget ?? {};
  const allowed = [
    ...(usd === undefined ? [] : [`${usd} USD`]),
    ...(tokens === undefined ? [] : [`${count(tokens)} tokens`]),
    ...(minutes === undefined ? [] : [`${minutes} minutes`]),
  ];
  const old = source.vectors.find(({ name }) => name === vector);
  const before = old === undefined ? 'a new vector' : `until now ${modelText(old.model)}`;
  const costs = estimate.usd === null ? 'a price that is not known' : `${money(estimate.usd)} USD`;
  return [
    `embed    vector '${vector}' of '${text}' by ${model.provider} ${modelText(model)}, ${model.dimensions} dimensions; ${before}`,
    `         at most ${plural(estimate.texts, 'text')}, ${count(estimate.tokens)} tokens, about ${duration(estimate.seconds)} and ${costs}, both in the estimate above; budget ${allowed.join(', ') || 'none'}`,
    ...estimate.formula.map((line) => `         ${line}`),
  ];
}

/** The index that is there, the one that is wanted, and why it should be so. */
function indexLines({ index }: Plan): readonly string[] {
  if (index === undefined) return [];
  const { vector, from, to, how, advice } = index;
  const name = vector === '' ? 'the unnamed vector' : `vector '${vector}'`;
  const there = how === 'beside' ? 'beside the old one' : 'in place of the old one';
  return [
    `index    ${name}: from ${formText(from)} to ${formText(to)}, built ${there}`,
    ...advice.map(({ setting, value, why }) => `         ${setting} ${value}: ${why}`),
  ];
}

/** What becomes of payload fields, and what the plan saw of it in the records that are there. */
function mappingLines(plan: Plan): readonly string[] {
  const mapping = mappingReport(plan);
  if (mapping === null) return [];
  return [
    ...mapping.rules.map(({ field, what }) => `mapping  ${field}: ${what}`),
    ...(mapping.looked === 0 ? [] : [`         tried on ${lookedWords(mapping)}`]),
    ...mapping.findings.map(({ what }) => `         ${what}`),
  ];
}

/** An application whose sides are called otherwise would fail at once, when the run writes its flag. */
function clientLines({ event }: Plan): readonly string[] {
  if (event.live === false && (event.cutover?.canary ?? null) === null) return [];
  const places = `${placeOf(event.source)} and ${placeOf(event.target)}`;
  return [`client   flag '${flagNameOf(event)}' will name ${places}: the application's sides have to be called so`];
}

export function statusLines(status: RunStatus, place: Place): readonly string[] {
  return [
    `run      ${status.run}: ${status.source} -> ${status.target}, ${count(status.records)} records`,
    ...status.stages.map((stage) => `${stage.name.padEnd(8)} ${stageText(stage)}`),
    ...(status.skipped === 0 ? [] : [`skipped  ${count(status.skipped)} records, as the mapping says`]),
    ...status.failed.map(
      ({ shard, error, message, final }) =>
        `failed   shard ${shard}${final ? '' : ' (tried again)'}: ${error}: ${message}`,
    ),
    ...(status.embedding?.failures ?? [])
      .slice(0, maxFailuresShown)
      .map(({ id, reason }) => `failed   the text of record ${id}: ${reason}`),
    ...((status.embedding?.failed ?? 0) > maxFailuresShown
      ? [
          `failed   ${count(status.embedding?.failed ?? 0)} texts in all: ${shownCommand(place, `status ${status.run} --failed`)}`,
        ]
      : []),
    ...(status.lastMove === undefined ? [] : [`readers  ${moveLine(status.lastMove)}`]),
    ...answerLines(place, status),
  ];
}

/** Texts that could not be embedded; --json names a hundred, and the run's objects all. */
const maxFailuresShown = 10;

function stageText({ name, state, done, total, unit, detail }: Stage): string {
  // What a cutover is at says more than that it is under way, and so does why it ended.
  const isTold = name === 'cutover' && detail !== undefined && (state === 'running' || state === 'ended');
  if (isTold) return detail;
  const figures = unit === 'steps' || state === 'skipped' ? '' : `  ${count(done)} of ${count(total)} ${unit}`;
  return `${state}${figures}${detail === undefined ? '' : `  ${detail}`}`;
}

export function moveLine({ action, kind, name, from, to, percent, reason, note }: Move): string {
  // Qdrant's unnamed vector
  const pointer = name === '' ? `the ${kind}` : `${kind} '${name}'`;
  const moved = `${pointer} moved from ${from ?? 'nothing'} to ${to ?? 'nothing'}`;
  const texts = {
    double: `where they were; writes go to both sides, ${from} first: ${pointer}`,
    step: `${percent ?? 0} % of the reads go to ${to}: ${pointer}`,
    cutover: `cut over to the target: ${moved}`,
    rollback: `rolled back: ${moved}`,
    finish: `finished: reads and writes go to ${to} alone: ${pointer}`,
    retire: `retired: ${from} is dropped for good; readers stay on ${to}`,
  };
  return [texts[action], ...[reason, note].filter((each) => each !== undefined)].join('; ');
}

/** What can be read of a run, and what the person can type whom it waits for. */
export function answerLines(place: Place, { run, reportPage, question }: RunStatus): readonly string[] {
  return [
    ...(reportPage === undefined ? [] : [`report   ${reportPage}`]),
    ...(question === undefined
      ? []
      : [`approve  ${shownCommand(place, `approve ${run}`)}`, `reject   ${shownCommand(place, `reject ${run}`)}`]),
  ];
}

export function noticeLines({ subject, text }: Notice): readonly string[] {
  const lines = text.split('\n').map((line) => (line === '' ? '' : `         ${line}`));
  return [`notice   ${subject}`, ...lines];
}

export function answerLine({ answer, by, reason, taken }: Answer): string {
  const why = reason === '' ? '' : `: ${reason}`;
  const next = taken ? 'the run has the answer' : 'the run is not under way; it takes the answer when it goes on';
  return `${answer} by ${by}${why}; ${next}`;
}

export function storeLine({ name, title, capabilities }: StoreKind): string {
  const { vectorKinds, maxDimension, distances, pointer } = capabilities;
  const moves = pointer === false ? 'routing flag' : pointer;
  return `${name.padEnd(9)} ${title}: ${vectorKinds.join(', ')} vectors of at most ${count(maxDimension)} dimensions; ${distances.join(', ')}; cutover by ${moves}`;
}

/** @param said what is known of the checksum */
export function shardLines(header: SeenShard, bytes: number, said: string): readonly string[] {
  const { store, collection, vectors, ...rest } = flat(header);
  return [
    `${count(bytes)} bytes, ${said}`,
    ...Object.entries({ store, collection, vectors, ...rest })
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name.padEnd(17)} ${value}`),
  ];
}

/** One line a field; what is an object is shown as JSON. */
function flat(header: SeenShard): Readonly<Record<string, string>> {
  const { schema, ...own } = header;
  const entries = Object.entries({ ...own, store: schema.store, ids: schema.idType }).map(
    ([name, value]) => [name, typeof value === 'object' ? JSON.stringify(value) : String(value)] as const,
  );
  return Object.fromEntries([...entries, ['vectors', vectorsText(schema.vectors)]]);
}

/** `embedding dense 100 cosine by all-MiniLM-L6-v2; …` */
export function vectorsText(vectors: SeenShard['schema']['vectors']): string {
  return vectors
    .map(({ name, kind, dimension, distance, model }) =>
      [name === '' ? '(unnamed)' : name, kind, dimension, distance, model && `by ${modelText(model)}`]
        .filter((part) => part !== undefined)
        .join(' '),
    )
    .join('; ');
}
