import type { Capabilities, StoreKind } from '../../../lib/stores/port.ts';
import { storeKind, storeNames } from '../../../lib/stores/registry.ts';

/**
 * The capability table of docs/stores.md, made from the literals that the plan reads: `node infra/local/cli/stores-table.ts`
 * prints it. A test holds the page to it.
 */

const number = new Intl.NumberFormat('en');

/** A row a capability, in the order of Capabilities. */
const rows: readonly (readonly [string, (capabilities: Capabilities) => string])[] = [
  ['vectors', ({ vectorKinds }) => vectorKinds.join(', ')],
  ['several vectors a record', ({ severalVectors }) => yes(severalVectors)],
  ['name of the one vector', ({ defaultVectorName }) => nameOf(defaultVectorName)],
  ['distances', ({ distances }) => distances.join(', ')],
  ['largest dimension', ({ maxDimension }) => number.format(maxDimension)],
  ['largest indexed dimension', indexedDimension],
  ['floats kept as', ({ precisions }) => precisions.join(', ')],
  ['indexes', ({ indexes }) => indexes.join(', ') || 'none'],
  ['settings of a search', ({ searchSettings }) => searchSettings.join(', ') || 'none, every search is exact'],
  ['records without a vector', ({ missingVectors }) => yes(missingVectors)],
  ['normalises for cosine', ({ normalisesCosine }) => yes(normalisesCosine)],
  ['integer ids', ({ ids: { integer } }) => (integer === false ? 'no' : `${integer.min} to ${integer.max}`)],
  ['UUID ids', ({ ids }) => yes(ids.uuid)],
  [
    'text ids',
    ({ ids: { string } }) =>
      string === false ? 'no, they become UUIDv5' : `up to ${number.format(string.maxLength)} characters`,
  ],
  ['composite keys', ({ ids }) => yes(ids.composite)],
  ['payload types kept', ({ payload }) => payload.types.join(', ')],
  ['largest integer kept', ({ payload }) => payload.maxInteger ?? 'any'],
  ['numbers with a fraction', ({ payload }) => (payload.nearDoubles === true ? '14 digits' : 'as they are')],
  ['keeps search settings', ({ keepsSearch }) => (keepsSearch ? 'where the options ask for it' : 'no')],
  ['insert what is absent', ({ insertOnly }) => yes(insertOnly)],
  ['delete by id', ({ deletes }) => yes(deletes)],
  ['dropped by `retire`', ({ drops }) => yes(drops)],
  ['new vector in place', ({ inPlace }) => yes(inPlace)],
  ['another index', ({ changesIndex }) => (changesIndex === false ? 'no' : indexWords[changesIndex])],
  ['pointer for readers', ({ pointer }) => (pointer === false ? 'routing flag' : pointer)],
  ['reads', ({ reads }) => (reads === 'snapshot' ? 'a snapshot a range' : 'live')],
];

const indexWords = { beside: 'beside the old one', instead: 'in place of the old one' } as const;

export async function storesTable(): Promise<string> {
  const kinds = await Promise.all(storeNames.map(storeKind));
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const body = rows.map(([name, value]) => line([name, ...kinds.map(({ capabilities }) => value(capabilities))]));
  return [line(['', ...kinds.map(titleOf)]), line(['---', ...kinds.map(() => '---')]), ...body].join('\n');
}

const titleOf = ({ name, title }: StoreKind): string => `${title} (\`${name}\`)`;
function indexedDimension({ maxIndexedDimension, maxDimension }: Capabilities): string {
  const limits = Object.entries(maxIndexedDimension ?? {}).map(
    ([precision, limit]) => `${number.format(limit)} as ${precision}`,
  );
  return limits.join(', ') || number.format(maxDimension);
}

const yes = (value: boolean): string => (value ? 'yes' : 'no');

function nameOf(name: string | undefined): string {
  if (name === undefined) return 'as it was';
  return name === '' ? 'unnamed' : `\`${name}\``;
}

if (import.meta.main) console.log(await storesTable());
