import { joinObject, splitObject } from '../stores/json-members.ts';

/**
 * A payload taken apart no further than its rules need: members keep their JSON text, so that what no rule touches keeps
 * every digit, and an object is opened only where a path leads into it.
 */

/** Member name -> JSON text, or what an object was opened to. */
export type Tree = Map<string, string | Tree>;

/** A payload as rules read it: the source's, never changed. */
export interface Reading {
  readonly members: ReadonlyMap<string, string>;
  /** Objects that a path led into, by their path. */
  readonly opened: Map<string, ReadonlyMap<string, string>>;
}

/** @throws SyntaxError when it is no JSON object */
export function readingOf(payload: string): Reading {
  return { members: splitObject(payload), opened: new Map() };
}

/** Where a field stands: under that very name, else where its path leads; undefined where the record has none. */
export function locate(reading: Reading, field: string, steps: readonly string[]): readonly string[] | undefined {
  if (reading.members.has(field)) return [field];
  return steps.length > 1 && valueAt(reading, steps) !== undefined ? steps : undefined;
}

/** JSON text of the value at a path of the payload; undefined where there is none. */
export function valueAt(reading: Reading, steps: readonly string[]): string | undefined {
  const [first = '', ...rest] = steps;
  let value = reading.members.get(first);
  let path = first;
  for (const step of rest) {
    if (value === undefined || !value.startsWith('{')) return undefined;
    const object: ReadonlyMap<string, string> = reading.opened.get(path) ?? splitObject(value);
    reading.opened.set(path, object);
    value = object.get(step);
    path += `.${step}`;
  }
  return value;
}

/** What a tree has under that very name, else where the path leads; undefined where it has nothing. */
export function treeAt(tree: Tree, field: string, steps: readonly string[]): string | Tree | undefined {
  const own = tree.get(field);
  if (own !== undefined) return own;
  let value: string | Tree | undefined = tree;
  for (const step of steps) {
    if (typeof value === 'string') value = value.startsWith('{') ? new Map(splitObject(value)) : undefined;
    value = value?.get(step);
  }
  return value;
}

export function removeAt(tree: Tree, [first = '', ...rest]: readonly string[]): void {
  if (rest.length === 0) {
    tree.delete(first);
    return;
  }
  const object = open(tree, first);
  if (object !== undefined) removeAt(object, rest);
}

/** taken: there is a value already. blocked: a value on the way is no object. In both cases nothing is changed. */
export function putAt(
  tree: Tree,
  [first = '', ...rest]: readonly string[],
  value: string,
): 'put' | 'taken' | 'blocked' {
  if (rest.length === 0) {
    if (tree.has(first)) return 'taken';
    tree.set(first, value);
    return 'put';
  }
  const there = tree.get(first);
  if (there === undefined || there === 'null') tree.set(first, new Map());
  const object = open(tree, first);
  return object === undefined ? 'blocked' : putAt(object, rest, value);
}

function open(tree: Tree, name: string): Tree | undefined {
  const value = tree.get(name);
  if (typeof value !== 'string') return value;
  if (!value.startsWith('{')) return undefined;
  const object: Tree = new Map(splitObject(value));
  tree.set(name, object);
  return object;
}

/** Fields that stand in a payload whatever a record has, null where it has nothing for one. */
export interface Declared {
  readonly names: readonly string[];
  /** The same. */
  readonly all: ReadonlySet<string>;
}

/** The payload's JSON text: declared fields in their order, then all others. */
export function textOfTree(tree: Tree, declared?: Declared): string {
  if (declared === undefined) return joinObject(membersOf(tree));
  const ordered = declared.names.map((name): [string, string] => [name, textOf(tree.get(name) ?? 'null')]);
  const others = [...tree].filter(([name]) => !declared.all.has(name));
  return joinObject([...ordered, ...membersOf(others)]);
}

function* membersOf(tree: Iterable<readonly [string, string | Tree]>): Iterable<readonly [string, string]> {
  for (const [name, value] of tree) yield [name, textOf(value)];
}

const textOf = (value: string | Tree): string => (typeof value === 'string' ? value : textOfTree(value));
