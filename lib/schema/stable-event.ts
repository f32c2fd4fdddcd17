import type { RunEvent } from '../event.ts';
import type { Names } from '../event-names.ts';
import { stableKeys, stableName } from './names.ts';

/**
 * The event with stable names alone: a rule or a filter that was written when a field had an old name still means it. What
 * names the target's fields (`to`, `columns`) stays as it is.
 * @throws SchemaMismatch where a rule is given twice, by the stable and an old name.
 */
export function stableEvent(event: RunEvent): RunEvent {
  const { names, mapping, embed, validate } = event;
  if (names === undefined) return event;
  const field = (path: string): string => stablePath(names, path);
  const fields = <T>(named: Readonly<Record<string, T>>, where: string): Record<string, T> =>
    stableKeys(named, field, where);
  const vector = (name: string): string => stableName(names, 'vectors', name);
  const { recall } = validate;
  return {
    ...event,
    mapping: {
      ...mapping,
      vectors: stableKeys(mapping.vectors, vector, 'mapping.vectors'),
      payload: fields(mapping.payload, 'mapping.payload'),
      add: Object.fromEntries(
        Object.entries(mapping.add).map(([name, added]) => {
          if ('join' in added) return [name, { ...added, join: added.join.map(field) }];
          return [name, 'template' in added ? { template: stableTemplate(added.template, field) } : added];
        }),
      ),
      records: mapping.records.map((rule) => ({ ...rule, drop: fields(rule.drop, `mapping.records '${rule.name}'`) })),
      schema: { ...mapping.schema, defaults: fields(mapping.schema.defaults, 'mapping.schema.defaults') },
    },
    ...(embed && {
      embed: {
        ...embed,
        text: stableTemplate(embed.text, field),
        ...(embed.vector !== undefined && { vector: vector(embed.vector) }),
      },
    }),
    validate: {
      ...validate,
      recall: recall && {
        ...recall,
        sets: recall.sets.map((set) => {
          const where = `validate.recall.sets '${set.name}'`;
          return {
            ...set,
            ...(set.vector !== undefined && { vector: vector(set.vector) }),
            ...(set.filter && { filter: fields(set.filter, where) }),
            ...(set.queries && {
              queries: set.queries.map((query) =>
                query.filter === undefined ? query : { ...query, filter: fields(query.filter, where) },
              ),
            }),
          };
        }),
      },
    },
  };
}

/** A field of that very name, else the field that the path begins in. */
function stablePath(names: Names, path: string): string {
  const whole = stableName(names, 'fields', path);
  if (whole !== path) return whole;
  const [first = '', ...rest] = path.split('.');
  return [stableName(names, 'fields', first), ...rest].join('.');
}

/** As lib/mapping/template.ts reads it: without a brace the text is a field itself. */
function stableTemplate(text: string, field: (path: string) => string): string {
  if (!/[{}]/.test(text)) return field(text);
  return text.replace(/\{\{|\}\}|\{([^{}]+)\}/g, (whole: string, path: string | undefined) =>
    path === undefined ? whole : `{${field(path.trim())}}`,
  );
}
