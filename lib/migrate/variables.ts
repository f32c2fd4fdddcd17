import { InvalidEvent } from '../errors.ts';

/**
 * What differs between stages within the files: `${name}`, filled in before anything reads them. A file's checksum is that of its text
 * before, so it is the same on every stage; what takes it back is recorded as it was filled in.
 */

/** By name; undefined: vecferry.yaml declares it, and has no value for it. */
export type Variables = ReadonlyMap<string, string | undefined>;

export const variableName = /^[A-Za-z_]\w*$/;
const place = /\$\{([A-Za-z_]\w*)\}/g;

/**
 * @param given `name=value`, which win over what is declared
 * @throws InvalidEvent for a name that is not declared, which may be a slip, and for a value of several lines
 */
export function withGiven(declared: Variables, given: readonly string[], where: string): Variables {
  const values = new Map(declared);
  for (const each of given) {
    const [, name = '', value = ''] = /^([^=]*)=([\s\S]*)$/.exec(each) ?? [];
    if (!values.has(name)) {
      const names = [...declared.keys()].join(', ') || 'none';
      throw new InvalidEvent(
        `--set ${each}: a variable is name=value, with a name that ${where} declares under variables; those are ${names}`,
      );
    }
    values.set(name, value);
  }
  for (const [name, value] of values)
    if (value?.includes('\n') === true)
      throw new InvalidEvent(
        `variable ${name} has several lines, so that errors would name the wrong one; use one line`,
      );
  return values;
}

/**
 * The text with its variables filled in, as they are: quotes around a name or a text are the file's. Where none is declared, `${` is a text.
 * @throws InvalidEvent naming file and line of one that is not declared, or has no value
 */
export function fillIn(text: string, path: string, variables: Variables): string {
  if (variables.size === 0) return text;
  return text.replace(place, (whole, name: string, offset: number) => {
    const value = variables.get(name);
    if (value !== undefined) return value;
    const line = text.slice(0, offset).split('\n').length;
    const how = variables.has(name)
      ? `has no value on this stage: give it with --set ${name}=…`
      : `is not declared: add it to variables in vecferry.yaml; where it is meant as it stands, with its own text as the value`;
    throw new InvalidEvent(`${path}:${line}: ${whole} ${how}`, { ids: [name] });
  });
}
