import type { Node, RangeVar, TypeName } from 'libpg-query';

/** Functions, procedures and triggers that the migrations which stand have made. Both go by the words of the parser's tree. */

export interface MadeFunction {
  /** Last names of its input types: `int4,text`; undefined where a statement leaves them out. */
  readonly args: string;
  /** Between its quotes; undefined where it is no text (SQL's own body, C). */
  readonly body: string | undefined;
  readonly from: string;
}

export interface MadeTrigger {
  /** As tables are named in Expected. */
  table: string;
  readonly name: string;
  /** What it calls, without a schema. */
  readonly calls: string;
  readonly from: string;
}

export interface Routines {
  /** By qualified name, which several may have. */
  readonly functions: Map<string, readonly MadeFunction[]>;
  triggers: readonly MadeTrigger[];
}

type NameOf = (schema: string | undefined, name: string) => string;

/** @param nameOf how a name is written in Expected */
export function applyRoutine(routines: Routines, node: Node, from: string, nameOf: NameOf): void {
  make(routines, node, from, nameOf);
  if ('DropStmt' in node)
    for (const object of node.DropStmt.objects ?? []) drop(routines, object, node.DropStmt, nameOf);
  if ('RenameStmt' in node) rename(routines, node.RenameStmt, nameOf);
  if ('AlterObjectSchemaStmt' in node) {
    const { objectType = '', object, newschema } = node.AlterObjectSchemaStmt;
    if (object !== undefined && isRoutine.test(objectType))
      moveFunction(routines.functions, referred(object, nameOf), nameOf(newschema, textsIn(object).at(-1) ?? ''));
  }
}

const isRoutine = /^OBJECT_(FUNCTION|PROCEDURE|ROUTINE)$/;

function make(routines: Routines, node: Node, from: string, nameOf: NameOf): void {
  if ('CreateFunctionStmt' in node) {
    const { funcname = [], parameters = [], options = [] } = node.CreateFunctionStmt;
    const inputs = parameters.flatMap((each) =>
      'FunctionParameter' in each && !/OUT$|TABLE$/.test(each.FunctionParameter.mode ?? '')
        ? [each.FunctionParameter.argType]
        : [],
    );
    const texts = options.flatMap((each) =>
      'DefElem' in each && each.DefElem.defname === 'as' ? textsOf(each.DefElem.arg) : [],
    );
    const made = { args: typesOf(inputs), body: texts.length === 1 ? texts[0] : undefined, from };
    const { functions } = routines;
    const name = named(funcname.flatMap(textsIn), nameOf);
    functions.set(name, [...(functions.get(name) ?? []).filter(({ args }) => args !== made.args), made]);
  }
  if ('CreateTrigStmt' in node) {
    const { trigname = '', relation, funcname = [] } = node.CreateTrigStmt;
    const table = nameOf(relation?.schemaname, relation?.relname ?? '');
    const calls = funcname.flatMap(textsIn).at(-1) ?? '';
    const others = routines.triggers.filter((each) => each.name !== trigname || each.table !== table);
    routines.triggers = [...others, { table, name: trigname, calls, from }];
  }
}

function drop(
  routines: Routines,
  object: Node,
  { removeType = '', behavior }: { removeType?: string; behavior?: string },
  nameOf: NameOf,
): void {
  const parts = textsIn(object);
  if (isRoutine.test(removeType)) {
    const { name, args } = referred(object, nameOf);
    const left = (routines.functions.get(name) ?? []).filter((each) => args !== undefined && each.args !== args);
    setOrDelete(routines.functions, name, left);
    if (behavior === 'DROP_CASCADE')
      routines.triggers = routines.triggers.filter(({ calls }) => calls !== parts.at(-1));
  }
  if (removeType === 'OBJECT_TRIGGER') {
    const table = named(parts.slice(0, -1), nameOf);
    routines.triggers = routines.triggers.filter((each) => each.name !== parts.at(-1) || each.table !== table);
  }
}

function rename(
  routines: Routines,
  statement: { renameType?: string; relation?: RangeVar; subname?: string; newname?: string; object?: Node },
  nameOf: NameOf,
): void {
  const { renameType = '', relation, subname, newname = '', object } = statement;
  if (renameType === 'OBJECT_TRIGGER' && relation !== undefined) {
    const table = nameOf(relation.schemaname, relation.relname ?? '');
    routines.triggers = routines.triggers.map((each) =>
      each.table === table && each.name === subname ? { ...each, name: newname } : each,
    );
  }
  if (isRoutine.test(renameType) && object !== undefined)
    moveFunction(routines.functions, referred(object, nameOf), nameOf(textsIn(object).at(-2), newname));
}

const named = (parts: readonly string[], nameOf: NameOf): string => nameOf(parts.at(-2), parts.at(-1) ?? '');

interface Referred {
  readonly name: string;
  readonly args: string | undefined;
}

function referred(object: Node, nameOf: NameOf): Referred {
  const name = named(textsIn(object), nameOf);
  if (!('ObjectWithArgs' in object)) return { name, args: undefined };
  const { objargs = [], args_unspecified } = object.ObjectWithArgs;
  const types = objargs.map((each) => ('TypeName' in each ? each.TypeName : undefined));
  return { name, args: args_unspecified === true ? undefined : typesOf(types) };
}

function moveFunction(functions: Routines['functions'], { name, args }: Referred, to: string): void {
  const all = functions.get(name) ?? [];
  const moved = all.filter((each) => args === undefined || each.args === args);
  if (moved.length === 0) return;
  setOrDelete(
    functions,
    name,
    all.filter((each) => !moved.includes(each)),
  );
  functions.set(to, [...(functions.get(to) ?? []), ...moved]);
}

function setOrDelete(functions: Routines['functions'], name: string, left: readonly MadeFunction[]): void {
  if (left.length === 0) functions.delete(name);
  else functions.set(name, left);
}

const typesOf = (types: readonly (TypeName | undefined)[]): string =>
  types
    .map((type) => `${(type?.names ?? []).flatMap(textsIn).at(-1)}${(type?.arrayBounds ?? []).length > 0 ? '[]' : ''}`)
    .join(',');

/** The names or texts that a node holds. */
function textsIn(node: Node): readonly string[] {
  if ('String' in node) return [node.String.sval ?? ''];
  if ('List' in node) return (node.List.items ?? []).flatMap(textsIn);
  if ('ObjectWithArgs' in node) return (node.ObjectWithArgs.objname ?? []).flatMap(textsIn);
  return [];
}

const textsOf = (node: Node | undefined): readonly string[] => (node === undefined ? [] : textsIn(node));
