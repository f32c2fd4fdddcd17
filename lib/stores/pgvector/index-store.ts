import { Incompatible } from '../../errors.ts';
import type { Distance } from '../../schema.ts';
import type { IndexForm } from '../index-port.ts';
import type { Store } from '../port.ts';
import { distanceOperators } from './catalog.ts';
import type { Database, Session } from './connect.ts';
import { type IndexMemory, progressOf, startIndexes, type WantedIndex } from './index.ts';
import { checkIndex, readNow } from './index-check.ts';
import { indexesIn, searchPinned } from './index-search.ts';
import { type IndexedLayout, isOfAnotherRun } from './index-side.ts';
import { dropOld, swapPointer } from './index-switch.ts';
import { quoteName, type TableName } from './names.ts';
import { tableOf } from './read.ts';
import { type SearchContext, searchSql } from './search.ts';

/** A table as a run that changes an index has it: nothing of it is written but that index. */

export interface IndexInput {
  readonly store: Store;
  readonly database: Database;
  readonly name: TableName;
  /** The table as it is now, as the run's side sees it. */
  readonly readIndexed: (session: Session) => Promise<IndexedLayout>;
  readonly context: (session: Session) => Promise<SearchContext & { readonly layout: IndexedLayout }>;
  readonly guard: <T>(doing: string, work: () => Promise<T>) => Promise<T>;
  readonly forget: () => void;
  readonly defaultDistance: Distance;
}

export function indexStore(input: IndexInput): Store {
  const { store, database, name, readIndexed, context, guard, forget, defaultDistance } = input;
  const builds: IndexMemory = { failure: undefined };
  let superuser: boolean | undefined;
  const refuse = async (): Promise<never> => {
    const text = 'a run that changes an index changes no record, and its table stays';
    throw new Incompatible(text, { ids: [name.table] });
  };
  const wanted = async (): Promise<readonly [IndexedLayout, readonly WantedIndex[]]> => {
    const layout = await database.use(readIndexed);
    return [layout, wantedIndex(layout, database.embedded)];
  };
  return {
    ...store,
    // Nothing to make ready: the table is there, and goes on.
    prepare: async () => undefined,
    write: refuse,
    delete: refuse,
    search: async (request) =>
      await guard('searching', async () => {
        const known = await database.use(async (session) => {
          superuser ??= await isSuperuser(session);
          return { ...(await context(session)), isSuperuser: superuser };
        });
        return await searchPinned(database, known, request);
      }),
    buildIndex: async () =>
      await guard('building the index of', async () => {
        const [layout, indexes] = await wanted();
        refuseAnother(layout);
        if (indexes.length > 0) await startIndexes(database, layout, indexes, builds);
        forget();
      }),
    indexProgress: async () =>
      await guard('watching the index of', async () => {
        const [layout, indexes] = await wanted();
        forget();
        if (indexes.length === 0) return { done: true, fraction: 1, detail: 'the index is there' };
        return await progressOf(database, layout, indexes, builds);
      }),
    pointer: swapPointer({ database, readIndexed }, guard, forget),
    drop: async ({ dryRun = false } = {}) =>
      await guard('dropping an index of', async () => {
        forget();
        return await dropOld({ database, readIndexed }, { dryRun });
      }),
    indexes: {
      now: async () =>
        await guard(
          'looking at the indexes of',
          async () =>
            await database.use(async (session) => await readNow(session, await readIndexed(session), defaultDistance)),
        ),
      check: async (form: IndexForm, { isNew }) =>
        await guard('looking at the indexes of', async () => {
          const layout = await database.use(readIndexed);
          return await checkIndex(database, layout, form, { isNew, records: await countVectors(database, layout) });
        }),
      sizes: async () =>
        await guard('measuring the indexes of', async () => {
          const { old, made } = (await database.use(readIndexed)).indexed;
          return { ...(old && { old: old.bytes }), ...(made && { new: made.bytes }) };
        }),
      used: async (settings) =>
        await guard('looking at the plans of', async () => {
          const { layout, ...known } = await database.use(context);
          const { field, old, made } = layout.indexed;
          const request = { vector: field.name, query: new Float32Array(field.dimension ?? 1), k: 10, settings };
          const sql = searchSql({ ...known, layout }, request);
          const zeros = `'[${request.query.join(',')}]'`;
          const [row] = await database.use(
            async (session) => await session.rowsWith(sql.settings, `EXPLAIN (FORMAT JSON) ${sql.select(zeros)}`),
          );
          const names = indexesIn(Object.values(row ?? {})[0]);
          if (made !== undefined && names.includes(made.name)) return 'new';
          return old !== undefined && names.includes(old.name) ? 'old' : undefined;
        }),
    },
  };
}

/** The plan looked too, and another run may have begun since: of the two each would be measured and switched in the other's way. @throws Incompatible */
function refuseAnother({ indexed: { made, others, madeName, field } }: IndexedLayout): void {
  const another = others.filter((each) => isOfAnotherRun(each, madeName));
  if (made !== undefined || another.length === 0) return;
  const names = another.map(({ name }) => `'${name}'`).join(', ');
  const text = `another run has begun since to change the index of vector '${field.name}' (${names})`;
  throw new Incompatible(`${text}; retire that run, or take it back, and start this one again under its id`, {
    ids: [madeName],
  });
}

async function isSuperuser(session: Session): Promise<boolean> {
  const [row] = await session.rows(`SELECT rolsuper::text AS super FROM pg_roles WHERE rolname = current_user`);
  return row?.['super'] === 'true';
}

/** By the statistics: for estimates. */
async function countVectors(database: Database, { oid }: IndexedLayout): Promise<number> {
  const [row] = await database.use(
    async (session) =>
      await session.rows('SELECT greatest(reltuples, 0)::bigint::text AS rows FROM pg_class WHERE oid = $1::oid', [
        oid,
      ]),
  );
  return Number(row?.['rows'] ?? 0);
}

/** None once it has taken the old one's place. Its operators and its tablespace are the old one's. */
function wantedIndex(layout: IndexedLayout, isEmbedded: boolean): readonly WantedIndex[] {
  const { side, field, state, old, madeName, distance } = layout.indexed;
  const { to } = side;
  if (state === 'switched' || to === undefined || (to.index.kind !== 'hnsw' && to.index.kind !== 'ivfflat')) return [];
  const { index } = to;
  const settings =
    index.kind === 'hnsw' ? { m: index.m, ef_construction: index.efConstruction } : { lists: index.lists };
  const given = Object.entries(settings).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name} = ${value}`],
  );
  const opclass = old?.opclass ?? `${field.form}_${distanceOperators[distance ?? 'cosine'].opclass}_ops`;
  const options = given.length === 0 ? '' : ` WITH (${given.join(', ')})`;
  const space = old?.tablespace == null ? '' : ` TABLESPACE ${quoteName(old.tablespace)}`;
  const how = isEmbedded ? '' : 'CONCURRENTLY ';
  const on = `${tableOf(layout)} USING ${index.kind} (${quoteName(field.column.name)} ${opclass})`;
  return [
    {
      name: madeName,
      sql: `CREATE INDEX ${how}IF NOT EXISTS ${quoteName(madeName)} ON ${on}${options}${space}`,
      isConcurrent: !isEmbedded,
    },
  ];
}
