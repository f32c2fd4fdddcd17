import { AccessDenied, NotFound } from '../../errors.ts';
import type { SearchSettings } from '../../schema.ts';
import type { KeepOptions, KeptSearch } from '../port.ts';
import type { Database } from './connect.ts';
import { serverError } from './errors.ts';
import { quoteName, quoteText } from './names.ts';
import { isHidden, readKept, roleOf } from './place.ts';
import { fieldOf, requireHeeded, type SearchContext, scanModes } from './search.ts';

/** Keeping search settings, where place.ts says that they can stand. */

/** Settings of a search by PostgreSQL's names. */
function namesAndValues(kind: 'hnsw' | 'ivfflat', settings: SearchSettings): readonly (readonly [string, string])[] {
  const { efSearch, probes, iterativeScan } = settings;
  return [
    ...(efSearch === undefined ? [] : [['hnsw.ef_search', String(efSearch)] as const]),
    ...(probes === undefined ? [] : [['ivfflat.probes', String(probes)] as const]),
    ...(iterativeScan === undefined
      ? []
      : [[`${kind}.iterative_scan`, iterativeScan ? scanModes[kind] : 'off'] as const]),
  ];
}

/**
 * Keeps the settings in `place`, or changes nothing and gives the words for who owns the database.
 * @throws InvalidEvent for a setting that pgvector does not heed; NotFound for a role that is not there; AccessDenied where
 * neither the database nor the role is ours to alter.
 */
export async function keepSettings(
  database: Database,
  context: SearchContext,
  vector: string,
  settings: SearchSettings,
  { place, dryRun = false }: KeepOptions & { readonly place: string | undefined },
): Promise<KeptSearch> {
  requireHeeded(settings);
  const { index } = fieldOf(context.layout, vector);
  const wanted = namesAndValues(index.kind === 'ivfflat' ? 'ivfflat' : 'hnsw', settings);
  if (index.kind === 'none' || wanted.length === 0) {
    const how = 'nothing to set: the table has no index on this vector, so every search of it is exact';
    return { kept: false, how };
  }
  const words = wordsFor(wanted);
  if (place === undefined || dryRun) return { kept: false, how: words };
  if (database.embedded) {
    const how = `PGlite starts its one session without what ALTER DATABASE and ALTER ROLE keep, so keepSearch does nothing here: ${words}`;
    return { kept: false, how };
  }
  const hiding = whatHides(context, settings, wanted, place);
  if (hiding !== undefined) return { kept: false, how: `not kept in ${place}, because ${hiding}: ${words}` };
  return await alter(database, place, wanted);
}

type Wanted = readonly (readonly [name: string, value: string])[];

function wordsFor(wanted: Wanted): string {
  const sets = wanted.map(([name, value]) => `SET ${name} = ${value}`).join('; ');
  const alters = wanted.map(([name, value]) => `ALTER ROLE <the application's role> SET ${name} = ${value}`).join('; ');
  return `${sets} -- in the application's session before it searches; or once: ${alters}`;
}

/** What our searches, and the report with them, would go on with instead. */
function whatHides(
  { options, server }: SearchContext,
  settings: SearchSettings,
  wanted: Wanted,
  place: string,
): string | undefined {
  const said = (['efSearch', 'probes', 'iterativeScan'] as const).filter(
    (name) => settings[name] !== undefined && options[name] !== undefined,
  );
  if (said.length > 0) return `the endpoint's options say ${said.join(', ')} and go before it`;
  const hidden = wanted.map(([name]) => name).filter((name) => isHidden(place, server.sources.get(name) ?? ''));
  if (hidden.length === 0) return undefined;
  const by = place === 'database' ? 'the role or the connection' : 'the connection';
  return `${by} sets ${hidden.join(', ')}, which goes before it`;
}

async function alter(database: Database, place: string, wanted: Wanted): Promise<KeptSearch> {
  const role = roleOf(place);
  return await database.transact(async (session) => {
    // pgvector has to be loaded: PostgreSQL lets only superusers keep settings that it does not know.
    const [row] = await session.rows(
      `SELECT current_database()::text AS name, current_user::text AS me, '[1]'::vector::text AS loaded,
              EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text)::text AS is_role`,
      [role ?? null],
    );
    if (role !== undefined && row?.['is_role'] !== 'true')
      throw new NotFound(`there is no role '${role}' for option keepSearch of the endpoint; name the application's`, {
        ids: [role],
      });
    const name = quoteName(row?.['name'] ?? '');
    const subject = role === undefined ? `DATABASE ${name}` : `ROLE ${quoteName(role)} IN DATABASE ${name}`;
    const earlier = await readKept(session, place);
    const statements = wanted.map(([each, value]) => `ALTER ${subject} SET ${each} = ${quoteText(value)}`);
    try {
      await session.run(statements.join('; '));
    } catch (error) {
      if (serverError(error)?.code !== '42501') throw error;
      throw new AccessDenied(refused(row?.['me'] ?? '', role, name, statements), { cause: error });
    }
    const backs = wanted.map(([each, value]) => {
      const before = earlier.get(each);
      return before === undefined || before === value
        ? `ALTER ${subject} RESET ${each};`
        : `ALTER ${subject} SET ${each} = ${quoteText(before)};`;
    });
    const settings = wanted.map(([each, value]) => `${each} = ${value}`).join(', ');
    const whose = role === undefined ? `database ${name}` : `role ${quoteName(role)} in database ${name}`;
    const how = `${settings} is in effect for every session that ${whose} opens from now on, whichever table it searches; those that are open have to connect again. To take it back: ${backs.join(' ')}`;
    return { kept: true, how };
  });
}

function refused(me: string, role: string | undefined, name: string, statements: readonly string[]): string {
  const grant =
    role === undefined
      ? `only the owner of database ${name} may: GRANT that role TO ${quoteName(me)}`
      : `only the role itself may, and who administers it: GRANT ${quoteName(role)} TO ${quoteName(me)} WITH ADMIN OPTION and ALTER ROLE ${quoteName(me)} CREATEROLE`;
  return `role ${quoteName(me)} may not keep search settings (${statements.join('; ')}); ${grant}, or leave keepSearch out of the endpoint's options`;
}
