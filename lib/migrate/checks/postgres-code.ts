import type { Session } from '../../stores/pgvector/connect.ts';
import { quoteName } from '../../stores/pgvector/names.ts';
import { compareDefault, readDefault } from './defaults.ts';
import type { ExpectedColumn } from './derive.ts';
import type { MadeFunction, Routines } from './derive-routines.ts';
import { type Looking, look, ok, wrong } from './look.ts';
import type { CheckResult } from './result.ts';

/** What of a database is code: functions, triggers, and what a column is when nobody says. */

export async function checkRoutines(
  looking: Looking,
  { functions, triggers }: Routines,
): Promise<readonly CheckResult[]> {
  const results: CheckResult[] = [];
  for (const [name, made] of functions) results.push(...(await checkFunction(looking, name, made)));
  for (const { table, name, from } of triggers) {
    const what = `${table}: trigger ${name}`;
    results.push(
      ...(await look(looking, what, async (session) => {
        const sql =
          'SELECT tgname FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2 AND NOT tgisinternal';
        if ((await session.rows(sql, [table, name])).length > 0) return [ok(what, `made by ${from}`)];
        return [
          wrong(what, `it is not there, and ${from} made it: what it does is not done; make it again in a migration`),
        ];
      })),
    );
  }
  return results;
}

/** Two of one name differ by their arguments, whose types a server spells in its own way: each text has to be among theirs. */
async function checkFunction(
  looking: Looking,
  name: string,
  made: readonly MadeFunction[],
): Promise<readonly CheckResult[]> {
  const what = `function ${name}`;
  return await look(looking, what, async (session) => {
    const rows = await session.rows(
      `SELECT p.prosrc AS body FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
       WHERE $1 IN (format('"%s"', replace(p.proname, '"', '""')), format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(p.proname, '"', '""')))
         AND (n.nspname = 'public' OR position('."' in $1) > 0)`,
      [name],
    );
    const there = new Set(rows.map(({ body }) => withoutReturns(body ?? '')));
    const isThere = ({ body }: MadeFunction): boolean => body !== undefined && there.has(withoutReturns(body));
    let others = rows.length - made.filter(isThere).length;
    const faults = made.flatMap((each) => {
      const { args, body, from } = each;
      if (isThere(each)) return [];
      const about = `${what}(${args})`;
      if (others-- <= 0) return [wrong(about, `it is not there, and ${from} made it; make it again in a migration`)];
      if (body === undefined) return [];
      const mend = 'somebody changed it; say in a migration which one is right';
      return [wrong(about, `its text is not the one that ${from} made: ${mend}`)];
    });
    return faults.length > 0 ? faults : [ok(what, `as ${made.at(-1)?.from} made it`)];
  });
}

/** Line ends of a file depend on the machine that checks it out. */
const withoutReturns = (text: string): string => text.replaceAll('\r', '');

export async function defaultFault(
  session: Session,
  table: string,
  { default: expected, from }: ExpectedColumn,
  found: Readonly<Record<string, string | null>>,
): Promise<CheckResult | undefined> {
  if (expected === undefined) return undefined;
  const what = `${table}: default of ${found['name']}`;
  const mend = `ALTER COLUMN ${quoteName(found['name'] ?? '')} SET or DROP DEFAULT in a migration`;
  const actual = found['default'] ?? undefined;
  const isMade = (found['made'] ?? '') !== '';
  if (expected.kind === 'generated')
    return isMade
      ? undefined
      : wrong(what, `${from} made it computed or an identity, and it is none any more; ${mend}`);
  if (isMade) return wrong(what, `it is computed or an identity, and ${from} made it none; ${mend}`);
  const there = actual === undefined ? undefined : await readDefault(actual);
  const isNone = there === undefined || there.kind === 'none';
  if (expected.kind === 'none')
    return isNone ? undefined : wrong(what, `it is ${actual}, and ${from} made the column without one; ${mend}`);
  if (isNone) return wrong(what, `there is none, and ${from} made one; ${mend}`);
  const same = compareDefault(expected, there, found['type'] ?? '');
  const isSame = typeof same === 'string' ? (await session.rows(same))[0]?.['same'] === 'true' : same;
  const made = expected.kind === 'constant' ? `'${expected.value}'` : 'another';
  return isSame ? undefined : wrong(what, `it is ${actual}, and ${from} made it ${made}; ${mend}`);
}
