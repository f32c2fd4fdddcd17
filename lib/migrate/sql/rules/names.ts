import type { RangeVar } from 'libpg-query';

/** Names as SQL writes them, for the steps that a finding gives: they are to be copied and run. */

/** PostgreSQL 18's reserved words (its manual, appendix C): a name that is one of them is quoted. */
const reserved = new Set(
  `all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
concurrently constraint create cross current_catalog current_date current_role current_schema current_time current_timestamp
current_user default deferrable desc distinct do else end except false fetch for foreign freeze from full grant group having
ilike in initially inner intersect into is isnull join lateral leading left like limit localtime localtimestamp natural not
notnull null offset on only or order outer overlaps placing primary references returning right select session_user similar some
symmetric system_user table tablesample then to trailing true union unique user using variadic verbose when where window with`.split(
    /\s+/,
  ),
);

export function quote(name: string): string {
  return /^[a-z_][a-z0-9_$]*$/.test(name) && !reserved.has(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

export function nameOf({ schemaname, relname = '' }: RangeVar): string {
  return schemaname === undefined ? quote(relname) : `${quote(schemaname)}.${quote(relname)}`;
}

/** Names of constraints and indexes are cut at this many bytes by the server (NAMEDATALEN - 1). */
const maxNameBytes = 63;

/** A name for what a step makes, of the table's and the column's: `articles_lang_not_null`. */
export function madeName(relation: RangeVar, ...parts: readonly string[]): string {
  const whole = Buffer.from([relation.relname ?? '', ...parts].join('_'));
  const cut = whole
    .subarray(0, maxNameBytes)
    .toString()
    .replace(/\uFFFD+$/, '');
  return quote(cut);
}

/** The name of an index in the schema of its table, for statements that name it alone. */
export function beside({ schemaname }: RangeVar, quoted: string): string {
  return schemaname === undefined ? quoted : `${quote(schemaname)}.${quoted}`;
}
