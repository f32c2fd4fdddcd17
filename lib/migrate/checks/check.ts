import { Incompatible, VecferryError } from '../../errors.ts';
import { release } from '../../release.ts';
import { resolveConnection, secretsOf } from '../../secrets.ts';
import { connect } from '../../stores/pgvector/open.ts';
import { storeKind } from '../../stores/registry.ts';
import type { HistoryEntry, MigrateConfig, MigratedStore, MigrationFile } from '../port.ts';
import { appliedNumbers, standingsOf } from '../standing.ts';
import { checkCollections } from './collections.ts';
import { addDeclared, checkDeclared } from './declared.ts';
import { deriveExpected } from './derive.ts';
import { type Accepted, type ExpectStore, readExpectations } from './expect.ts';
import { unchecked } from './look.ts';
import { checkCatalog, checkExtensions } from './postgres.ts';
import { checkRows } from './postgres-rows.ts';
import type { About, CheckResult, CountOf } from './result.ts';

export interface CheckReport {
  readonly format: 1;
  readonly at: string;
  /** Of vecferry. */
  readonly release: string;
  /** What stands: how many migrations, the last of them, and the history's last line (0: none). */
  readonly migrations: { readonly applied: number; readonly last: string | null; readonly seq: number };
  /** Everything is ok: what could not be looked at may be wrong, unless expect.yaml accepts it. */
  readonly passed: boolean;
  readonly tally: Readonly<Record<CheckResult['verdict'], number>>;
  readonly stores: readonly {
    readonly name: string;
    readonly store: string;
    readonly results: readonly CheckResult[];
  }[];
}

export interface CheckInput {
  readonly config: MigrateConfig;
  readonly files: readonly MigrationFile[];
  readonly entries: readonly HistoryEntry[];
  /** For each thing that is looked at; 30 s where it is left out. */
  readonly timeoutMs?: number;
}

/** Looks at every store that migrations have changed, and changes nothing. */
export async function checkStores({ config, files, entries, timeoutMs = 30_000 }: CheckInput): Promise<CheckReport> {
  const standings = standingsOf(entries);
  const applied = new Set(appliedNumbers(standings));
  // In the order in which they were applied, which --out-of-order makes another one than that of the numbers: the last word counts.
  const since = ({ number }: MigrationFile): number => standings.get(number)?.since ?? 0;
  const standing = files
    .filter(({ number }) => applied.has(number))
    .sort((a, b) => since(a) - since(b) || a.number - b.number);
  const gone = [...applied].filter((number) => !files.some((file) => file.number === number)).sort((a, b) => a - b);
  const declared = await readExpectations(config.directory, [...config.stores.keys()]);
  const countOf: CountOf = async (name, of) => {
    const store = config.stores.get(name);
    if (store === undefined)
      throw new Incompatible(`expect.yaml counts in store '${name}', which vecferry.yaml does not name`);
    return await count(store, of);
  };
  const stores: { name: string; store: string; results: readonly CheckResult[] }[] = [];
  for (const store of config.stores.values()) {
    const about = { files: standing, gone, declared: declared.stores.get(store.name) ?? nothing, countOf, timeoutMs };
    stores.push({
      name: store.name,
      store: store.store,
      results: accepted(await checkStore(store, config, about), declared.accept),
    });
  }
  const verdicts = stores.flatMap(({ results }) => results.map(({ verdict }) => verdict));
  const tally = { ok: 0, wrong: 0, unchecked: 0 };
  for (const verdict of verdicts) tally[verdict]++;
  const last = Math.max(0, ...applied);
  return {
    format: 1,
    at: new Date().toISOString(),
    release,
    migrations: {
      applied: applied.size,
      last: entries.findLast(({ number, action }) => number === last && action !== 'restored')?.name ?? null,
      seq: entries.at(-1)?.seq ?? 0,
    },
    passed: tally.wrong + tally.unchecked === 0,
    tally,
    stores,
  };
}

function accepted(results: readonly CheckResult[], accept: readonly Accepted[]): readonly CheckResult[] {
  return results.map((result) => {
    const fitting = accept.filter((each) => result.what.includes(typeof each === 'string' ? each : each.what));
    const known = fitting.find((each) => typeof each !== 'string') ?? fitting[0];
    if (result.verdict === 'ok' || known === undefined) return result;
    if (typeof known !== 'string')
      return {
        ...result,
        verdict: 'ok',
        accepted: known.because,
        detail: `known, because ${known.because}: ${result.detail}`,
      };
    if (result.verdict === 'wrong') return result;
    const detail = `not looked at, which expect.yaml accepts: ${result.detail}`;
    return { ...result, verdict: 'ok', accepted: 'named in expect.yaml', detail };
  });
}

const nothing: ExpectStore = { tables: {}, collections: {}, aliases: {} };

async function checkStore(store: MigratedStore, config: MigrateConfig, about: About): Promise<readonly CheckResult[]> {
  try {
    if (store.store !== 'pgvector') return await checkCollections(store, about);
    // Files that are gone are told of once.
    const tables = await checkPostgres(store, config, about);
    return [...tables, ...(await checkCollections(store, { ...about, gone: [] }))];
  } catch (error) {
    // One store that is away hides nothing of the others.
    if (!(error instanceof VecferryError)) throw error;
    return [unchecked(`store ${store.name}`, `${error.name}: ${error.message}`)];
  }
}

async function checkPostgres(
  { name, connection }: MigratedStore,
  config: MigrateConfig,
  { files, gone, declared, countOf, timeoutMs }: About,
): Promise<readonly CheckResult[]> {
  const database = await connect(await resolveConnection(connection, secretsOf.environment), 2);
  try {
    const looking = { database, timeoutMs };
    const expected = await deriveExpected(name === config.sql ? files : []);
    if (name === config.sql && gone.length > 0)
      expected.unread.push(`migration ${gone.join(', ')}: its file is gone, and what it made is not known`);
    await addDeclared(expected, declared);
    return [
      ...(await checkExtensions(looking)),
      ...(await checkCatalog(looking, expected)),
      ...(await checkRows(looking)),
      ...(await checkDeclared(looking, declared, countOf)),
    ];
  } finally {
    await database.close();
  }
}

async function count({ store, connection, options }: MigratedStore, collection: string): Promise<number> {
  const kind = await storeKind(store);
  const opened = await kind.open({
    connection: await resolveConnection(connection, secretsOf.environment),
    collection,
    options,
    omitFields: [],
  });
  try {
    return await opened.count();
  } finally {
    await opened.close();
  }
}
