import { existsSync, readdirSync } from 'node:fs';
import { beforeAll, describe, expect, test } from '@jest/globals';
import aslValidator from 'asl-validator';
import { bridge, localPace } from '../../infra/local/bridge.ts';
import { type Deployment, readTemplate, type Template } from '../../infra/local/deployment.ts';
import { limits } from '../../infra/local/limits.ts';
import { synthesize } from '../../infra/local/synthesize.ts';
import { maxDeliveries } from '../../lib/states.ts';

const names = readdirSync('functions').map((file) => file.replace(/\.ts$/, ''));
let template: Template;
let deployment: Deployment;
beforeAll(async () => {
  template = await synthesize();
  deployment = readTemplate(template, names);
});

describe('what the engine takes from the synthesized stack', () => {
  test('is a definition that Step Functions takes', () => {
    const { isValid, errorsText } = aslValidator(deployment.definition, { checkArn: false });
    expect(isValid ? '' : errorsText('\n')).toBe('');
    expect(JSON.stringify(deployment.definition).length).toBeLessThan(1024 * 1024);
  });

  test('calls nothing but functions that have a file and settings, each within what Lambda allows', () => {
    const called = [...JSON.stringify(deployment.definition).matchAll(/:function:([a-z-]+)/g)].map(
      ([, name]) => name ?? '',
    );
    expect(new Set(called).size).toBeGreaterThan(10);
    for (const name of called) {
      expect(existsSync(`functions/${name}.ts`)).toBe(true);
      expect(deployment.functions.get(name)?.timeoutMs).toBeLessThanOrEqual(limits.invocationMs);
    }
  });

  test('is the queue that the importers know: their last delivery is the one before the dead letters', () => {
    expect(deployment.queue.maxReceiveCount).toBe(maxDeliveries);
    expect(deployment.importer).toMatchObject({ function: 'import-shard', partialFailures: true });
    const timeout = (deployment.functions.get('import-shard')?.timeoutMs ?? 0) / 1000;
    expect(deployment.queue.visibilitySeconds).toBeGreaterThanOrEqual(timeout);
  });

  test("is the import's queue among two: a repair has another one, which no engine feeds", () => {
    const sources = Object.values(template.Resources).filter(({ Type }) => Type === 'AWS::Lambda::EventSourceMapping');
    expect(sources).toHaveLength(2);
    // One that is unknown could be left out by mistake, and a run would wait for what never comes.
    expect(() =>
      readTemplate(
        template,
        names.filter((name) => name !== 'mend-records'),
      ),
    ).toThrow(/knows no queue of/);
  });

  test('uses nothing that the engine cannot run honestly', () => {
    const { maps, waits, growing } = bridge(deployment.definition, localPace);
    expect([...maps.keys()]).toEqual(['Export every range', 'Check every shard']);
    expect(Object.values(waits).every((ms) => ms <= localPace.maxWaitMs)).toBe(true);
    // A canary is watched for as long as it says; a store is only waited for.
    expect([...growing].sort()).toEqual(
      Object.keys(waits)
        .filter((name) => name !== 'Watch')
        .sort(),
    );
    expect(growing.size).toBeGreaterThan(1);
  });

  test('keeps each map out of the state, which would not hold an output an item', () => {
    const { maps } = bridge(deployment.definition, localPace);
    for (const map of maps.values()) expect(map.ResultWriter).toBeDefined();
  });

  test('is refused when a second queue or machine makes it unclear what is meant', () => {
    const [id, machine] =
      Object.entries(template.Resources).find(([, { Type }]) => Type === 'AWS::StepFunctions::StateMachine') ?? [];
    if (machine === undefined) throw new Error('no machine');
    const doubled = { ...template, Resources: { ...template.Resources, [`${id}2`]: machine } };
    expect(() => readTemplate(doubled, names)).toThrow(/2 resources/);
  });
});
