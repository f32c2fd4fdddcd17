import { fileURLToPath } from 'node:url';
import { App } from 'aws-cdk-lib';
import { z } from 'zod';
import { VecferryStack } from './stack.ts';

/**
 * Prints the run as a Mermaid flowchart, drawn from the definition that is deployed: `node infra/draw.ts`. README.md shows
 * it between the lines `<!-- run -->` and `<!-- /run -->`, and a test holds the two together.
 */

const state = z.object({
  Type: z.string(),
  Next: z.string().optional(),
  Default: z.string().optional(),
  Choices: z.array(z.object({ Next: z.string() })).optional(),
  Catch: z.array(z.object({ ErrorEquals: z.array(z.string()), Next: z.string() })).optional(),
  get ItemProcessor() {
    return machine.optional();
  },
});
const machine = z.object({
  StartAt: z.string(),
  get States() {
    return z.record(z.string(), state);
  },
});
type State = z.infer<typeof state>;
type Machine = z.infer<typeof machine>;

/** States that only carry data from one to the next, or wait, are left out: the arrows go through them. */
const isShown = ({ Type }: State): boolean => Type !== 'Pass' && Type !== 'Wait';

export function drawRun(definition: unknown): string {
  const run = machine.parse(definition);
  const reporter = run.States[run.StartAt]?.Catch?.[0]?.Next;
  const failure = reporter === undefined ? [] : [`  WhateverFails(("whatever fails")) -.-> ${nodeId(reporter)}`];
  return ['```mermaid', 'flowchart TD', ...drawMachine(run, '  ', reporter), ...failure, '```'].join('\n');
}

/** The states that follow from the first, and from `reporter`; failures that lead there are drawn as one arrow. */
function drawMachine({ StartAt, States }: Machine, indent: string, reporter?: string): string[] {
  const follow = (name: string): string => {
    const found = States[name];
    return found === undefined || isShown(found) || found.Next === undefined ? name : follow(found.Next);
  };
  const names = new Set([StartAt, ...(reporter === undefined ? [] : [reporter])].map(follow));
  const lines: string[] = [];
  // A set that grows while it is walked is walked to its end.
  for (const name of names) {
    const each = States[name];
    if (each === undefined) continue;
    lines.push(...drawState(name, each, indent));
    for (const [label, next] of arrowsFrom(name, each)) {
      const to = follow(next);
      names.add(to);
      lines.push(`${indent}${nodeId(name)} -->${label} ${nodeId(to)}`);
    }
    for (const { ErrorEquals, Next } of reporter === undefined ? [] : (each.Catch ?? [])) {
      const to = follow(Next);
      if (to === reporter || States[to]?.Type === 'Fail') continue;
      names.add(to);
      const why = ErrorEquals.includes('States.ALL') ? 'fails' : 'no answer in time';
      lines.push(`${indent}${nodeId(name)} -.->|${why}| ${nodeId(to)}`);
    }
  }
  return lines;
}

function arrowsFrom(name: string, { Next, Default, Choices = [] }: State): readonly (readonly [string, string])[] {
  // What leads away from the run's path is the condition, except where a loop asks whether it is done.
  const [yes, no] = isLoop(name)
    ? ['|yes|', '|not yet|']
    : yesLeadsAway.includes(name)
      ? ['|yes|', '|no|']
      : ['|no|', '|yes|'];
  const chosen = Choices.map((choice) => [yes, choice.Next] as const);
  const rest = Default === undefined ? [] : [[no, Default] as const];
  return [...(Next === undefined ? [] : [['', Next] as const]), ...chosen, ...rest];
}

const yesLeadsAway = [
  'Dry run?',
  'Validate only?',
  'No live writes?',
  'Nothing to import?',
  'No tombstones?',
  'Nothing to sweep?',
  'Approved?',
  'At once?',
  'Vectors as they are?',
  'A table of its own?',
  'The same vectors?',
  'Another index alone?',
  'Both indexes at once?',
  'Index changed?',
];
const isLoop = (name: string): boolean => name.startsWith('Done: ') || name === 'All readers moved?';
function drawState(name: string, { Type, ItemProcessor }: State, indent: string): string[] {
  const id = nodeId(name);
  const label = isLoop(name) ? 'done?' : name;
  if (ItemProcessor !== undefined) {
    return [`${indent}subgraph ${id}["${name}"]`, ...drawMachine(ItemProcessor, `${indent}  `), `${indent}end`];
  }
  if (Type === 'Choice') return [`${indent}${id}{"${label}"}`];
  if (Type === 'Succeed' || Type === 'Fail') return [`${indent}${id}(["${label}"])`];
  return [`${indent}${id}["${label}"]`];
}

/** The name's letters; the question "Cut over?" would be called as the state it asks about, hence the Q. */
const nodeId = (name: string): string =>
  name.replace(/\?$/, 'Q').replace(/[^A-Za-z]+(.)?/g, (_, next: string | undefined) => (next ?? '').toUpperCase());

const template = z.object({
  Resources: z.record(z.string(), z.object({ Type: z.string(), Properties: z.unknown().optional() })),
});
const joined = z.object({ DefinitionString: z.object({ 'Fn::Join': z.tuple([z.string(), z.array(z.unknown())]) }) });

/** The definition that a synthesized template deploys; names of resources, which a drawing does not show, are left out. */
export function definitionIn(synthesized: unknown): unknown {
  const resources = Object.values(template.parse(synthesized).Resources);
  const found = resources.find(({ Type }) => Type === 'AWS::StepFunctions::StateMachine');
  const [, parts] = joined.parse(found?.Properties).DefinitionString['Fn::Join'];
  return JSON.parse(parts.map((part) => (typeof part === 'string' ? part : '')).join(''));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const app = new App({ analyticsReporting: false, context: { 'aws:cdk:bundling-stacks': [] } });
  const { stackName } = new VecferryStack(app, 'Vecferry');
  process.stdout.write(`${drawRun(definitionIn(app.synth().getStackByName(stackName).template))}\n`);
}
