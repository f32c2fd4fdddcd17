import type { FieldRule, Mapping } from '../event-mapping.ts';
import type { CollectionSchema, PayloadIndex } from '../schema.ts';
import { type Rule, rulesOf } from './compile.ts';

/** What hangs on a field in the source's own store, and follows it into a target of that store: indexes and defaults. */

/** Payload fields of the source -> their names in the target, of those that are there as they were but for the name. */
export function pureRenames(rules: readonly Rule[]): ReadonlyMap<string, string> {
  return new Map(
    rules.flatMap(({ from, rule }) => {
      if (rule === null || rule.to === undefined || !isPure(rule) || rule.to.includes('.')) return [];
      return [[from, rule.to] as const];
    }),
  );
}

/** True where the rule changes no value. */
const isPure = ({ to: _, ...rest }: FieldRule): boolean => Object.keys(rest).length === 0;

/** The field's name in the target; undefined where it has no value there that is as it was. */
function nameAfter(field: string, mapping: Mapping): string | undefined {
  const rules = rulesOf(mapping);
  const own = rules.find(({ from }) => from === field);
  if (own === undefined) return mapping.others === 'keep' ? field : undefined;
  if (own.rule === null || !isPure(own.rule)) return undefined;
  return own.rule.to === undefined ? field : pureRenames(rules).get(field);
}

/** Indexes on payload fields. Those of fields that are left out, moved into objects or become other values are lost. */
export function followingIndexes(
  indexes: readonly PayloadIndex[],
  mapping: Mapping,
): { readonly kept: PayloadIndex[]; readonly lost: readonly string[] } {
  const kept: PayloadIndex[] = [];
  const lost: string[] = [];
  for (const index of indexes) {
    const following = followingIndex(index, mapping);
    if (following === undefined) lost.push(index.field);
    else kept.push(following);
  }
  return { kept, lost };
}

function followingIndex(index: PayloadIndex, mapping: Mapping): PayloadIndex | undefined {
  const using = usingOf(index);
  if (using === undefined) {
    const to = nameAfter(index.field, mapping) ?? textAfter(index, mapping);
    return to === undefined ? undefined : { ...index, field: to };
  }
  // A definition in SQL names every column that it is of: where none of them changes it is as good as before.
  const changed = rulesOf(mapping).filter(({ from }) => nameAfter(from, mapping) !== from);
  if (!changed.some(({ from }) => mentions(using, from)) && nameAfter(index.field, mapping) === index.field)
    return index;
  const [, method, column] = /^USING (btree|hash) \(("(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)\)$/.exec(using) ?? [];
  const rule = rulesOf(mapping).find(({ from }) => from === index.field)?.rule;
  if (method === undefined || column === undefined || rule === undefined || rule === null) return undefined;
  const to = rule.to ?? index.field;
  // Every type that a rule makes has an order and a hash, but for JSON and what is within it.
  if (to.includes('.') || rule.split !== undefined || rule.cast === 'json' || rule.cast === 'list') return undefined;
  return {
    ...index,
    field: to,
    native: { ...Object(index.native), using: `USING ${method} ("${to.replaceAll('"', '""')}")` },
  };
}

/** Words of other stores for an index of texts (Qdrant's keyword and text): it holds other texts as well. */
function textAfter({ field, type }: PayloadIndex, mapping: Mapping): string | undefined {
  const rule = rulesOf(mapping).find(({ from }) => from === field)?.rule;
  if (rule === undefined || rule === null || rule.cast !== undefined || rule.split !== undefined) return undefined;
  const made = [...Object.values(rule.values ?? {}), ...(rule.patterns ?? []).map(({ to }) => to)];
  const isText = made.every((value) => value === null || typeof value === 'string');
  return /^(keyword|text)$/.test(type) && isText && rule.to?.includes('.') !== true ? (rule.to ?? field) : undefined;
}

function usingOf({ native }: PayloadIndex): string | undefined {
  if (typeof native !== 'object' || native === null || !('using' in native)) return undefined;
  return typeof native.using === 'string' ? native.using : undefined;
}

const mentions = (using: string, name: string): boolean =>
  using.includes(`"${name.replaceAll('"', '""')}"`) ||
  new RegExp(`(?<![\\w$])${name.replace(/[^\w]/g, '.')}(?![\\w$])`).test(using);

/** PostgreSQL's defaults by column: a renamed column keeps its own, one whose values change has none. */
export function followingDefaults(native: CollectionSchema['native'], mapping: Mapping): CollectionSchema['native'] {
  const { defaults } = native;
  if (typeof defaults !== 'object' || defaults === null) return native;
  const kept = Object.entries(defaults).flatMap(([field, value]) => {
    const to = nameAfter(field, mapping);
    return to === undefined || mapping.columns[to] !== undefined ? [] : [[to, value]];
  });
  return { ...native, defaults: Object.fromEntries(kept) };
}
