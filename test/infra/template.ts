import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App } from 'aws-cdk-lib';
import { VecferryStack } from '../../infra/stack.ts';

export interface Resource {
  readonly Type: string;
  readonly Properties: Readonly<Record<string, unknown>>;
  readonly DeletionPolicy?: string;
}
export interface Template {
  readonly Resources: Record<string, Resource>;
  readonly Outputs: Record<string, { Value: unknown }>;
}

/** The stack without its bundles, which take 20 s and which bundles.test.ts makes, with these settings of cdk.json's context. */
export function makeStack(settings: Record<string, unknown> = {}): {
  readonly app: App;
  readonly stack: VecferryStack;
} {
  const given = Object.entries(settings).map(([name, value]) => [`vecferry:${name}`, value]);
  const app = new App({
    outdir: mkdtempSync(join(tmpdir(), 'vecferry-synth-')),
    analyticsReporting: false,
    context: { 'aws:cdk:bundling-stacks': [], ...Object.fromEntries(given) },
  });
  return { app, stack: new VecferryStack(app, 'Vecferry') };
}

export function synthesize(settings: Record<string, unknown> = {}): Template {
  const { app, stack } = makeStack(settings);
  return app.synth().getStackByName(stack.stackName).template;
}

export function ofType(template: Template, type: string): readonly (readonly [string, Resource])[] {
  return Object.entries(template.Resources).filter(([, { Type }]) => Type === type);
}

/** What stands under these keys, undefined where there is nothing: templates are JSON of many forms. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>((inner, key) => (isRecord(inner) ? inner[key] : undefined), value);
}

/** The list under these keys, empty where there is none. */
export function listAt(value: unknown, ...path: readonly (string | number)[]): readonly unknown[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}

function isRecord(value: unknown): value is Record<string | number, unknown> {
  return typeof value === 'object' && value !== null;
}

/** The function that is built from functions/<name>.ts, by its logical id. */
export function functionNames(template: Template): ReadonlyMap<string, string> {
  const found = ofType(template, 'AWS::Lambda::Function').map(([id, { Properties }]) => {
    const name = /functions\/(.+)\.ts$/.exec(String(at(Properties, 'Description')))?.[1];
    if (name === undefined) throw new Error(`${id} is no function of functions/`);
    return [id, name] as const;
  });
  return new Map(found);
}

export interface Machine {
  readonly StartAt: string;
  readonly TimeoutSeconds?: number;
  readonly States: Readonly<Record<string, State>>;
}
export interface State {
  readonly Type: string;
  readonly Resource?: string;
  readonly Next?: string;
  readonly Default?: string;
  readonly Choices?: readonly { readonly Next: string }[];
  readonly Catch?: readonly { readonly ErrorEquals: readonly string[]; readonly Next: string }[];
  readonly Retry?: readonly { readonly ErrorEquals: readonly string[] }[];
  readonly TimeoutSeconds?: number;
  readonly ItemProcessor?: Machine;
}

/** The state machine as AWS would see it: logical ids stand for names, functions are called as in functions/. */
export function definitionOf(template: Template): Machine {
  const names = functionNames(template);
  const [machine] = ofType(template, 'AWS::StepFunctions::StateMachine');
  const parts = listAt(machine?.[1].Properties, 'DefinitionString', 'Fn::Join', 1).map((part) => {
    if (typeof part === 'string') return part;
    const id = String(at(part, 'Ref') ?? at(part, 'Fn::GetAtt', 0));
    const name = names.get(id);
    return name === undefined ? id.replace('AWS::Partition', 'aws') : functionArn(name);
  });
  return JSON.parse(parts.join(''));
}

export const functionArn = (name: string): string => `arn:aws:lambda:eu-west-1:123456789012:function:${name}`;

/** Every state of the machine and of its maps, by name; children with the name of their map. */
export function statesOf(machine: Machine, within = ''): readonly (readonly [string, State, string])[] {
  return Object.entries(machine.States).flatMap(([name, state]) => [
    [name, state, within] as const,
    ...(state.ItemProcessor === undefined ? [] : statesOf(state.ItemProcessor, name)),
  ]);
}
