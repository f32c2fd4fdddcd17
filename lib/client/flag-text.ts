import type { Flag } from '../cutover/flag.ts';
import { ShardDamaged } from '../errors.ts';

/**
 * The flag as an application reads it: by hand and not by the schema, so that no package comes with it. Fields that a later
 * release adds are ignored; those that this one knows must be right. A test holds it against flagSchema (flag.ts).
 * @param where what the flag is called in an error @throws ShardDamaged when it is not a flag
 */
export function parseFlagText(text: string, where: string): Flag {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ShardDamaged(`the routing flag ${where} is not JSON; set it to ${example}`, { cause });
  }
  return checkFlag(value, where);
}

/** The same of a value that is parsed already. */
export function checkFlag(value: unknown, where: string): Flag {
  if (!isObject(value)) throw new ShardDamaged(`the routing flag ${where} is not a JSON object; set it to ${example}`);
  const { active, candidate, weight, shadow = 0, writes, run } = value;
  const problem = (field: string, found: unknown, accepted: string): ShardDamaged =>
    new ShardDamaged(
      `the routing flag ${where} has ${field} ${JSON.stringify(found) ?? 'left out'}, and takes ${accepted}; set it to ${example}`,
      { ids: [field] },
    );
  if (typeof active !== 'string') throw problem('active', active, 'a place, store:collection');
  if (typeof candidate !== 'string') throw problem('candidate', candidate, 'a place, store:collection');
  if (!isPercent(weight)) throw problem('weight', weight, 'a number from 0 to 100');
  if (!isPercent(shadow)) throw problem('shadow', shadow, 'a number from 0 to 100');
  if (writes !== undefined && !isPlaces(writes)) throw problem('writes', writes, 'one or two places');
  if (run !== undefined && typeof run !== 'string') throw problem('run', run, "a run's id");
  return {
    active,
    candidate,
    weight,
    shadow,
    ...(writes === undefined ? {} : { writes }),
    ...(run === undefined ? {} : { run }),
  };
}

/** Without its `writes` the application would write to one side alone, in the middle of a run. */
const example = '{"active": …, "candidate": …, "weight": 0}, and the "writes" and "run" that it had';

function isObject(value: unknown): value is Readonly<Record<string, unknown>> & { [K in keyof Flag]?: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isPercent(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 100;
}

function isPlaces(value: unknown): value is string[] {
  return (
    Array.isArray(value) &&
    (value.length === 1 || value.length === 2) &&
    value.every((item) => typeof item === 'string')
  );
}
