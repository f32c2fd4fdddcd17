import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { functionsWithModels } from '../../infra/bundles.ts';
import { functionSettings } from '../../infra/function-settings.ts';
import { errorNames } from '../../lib/errors.ts';
import { at, functionNames, type Template } from './template.ts';

/** What `cdk deploy` uploads: made once, by the very command of cdk.json, outside of the project, where no node_modules is. */
const root = new URL('../..', import.meta.url).pathname;
const assembly = mkdtempSync(join(tmpdir(), 'vecferry-assembly-'));
const run = promisify(execFile);
const bundles = new Map<string, string>();

beforeAll(async () => {
  const { app } = JSON.parse(readFileSync(join(root, 'cdk.json'), 'utf8'));
  const [command = '', ...args] = String(app).split(' ');
  await run(join(root, command), args, { cwd: root, env: { ...process.env, CDK_OUTDIR: assembly, NODE_OPTIONS: '' } });
  const template: Template = JSON.parse(readFileSync(join(assembly, 'Vecferry.template.json'), 'utf8'));
  for (const [id, name] of functionNames(template)) {
    const [hash] = String(at(template.Resources[id], 'Properties', 'Code', 'S3Key')).split('.');
    bundles.set(name, join(assembly, `asset.${hash}`));
  }
});

/** Calls a bundle's handler in a fresh Node, as Lambda would, and prints the name of what it throws and what it returns. */
const call = `
  const [bundle, event] = process.argv.slice(2);
  const { handler } = await import(bundle);
  const context = { functionName: 'f', awsRequestId: 'r', invokedFunctionArn: 'a', memoryLimitInMB: '128', getRemainingTimeInMillis: () => 60_000 };
  try {
    console.log(JSON.stringify({ returned: await handler(JSON.parse(event), context) }));
  } catch (error) {
    console.log(JSON.stringify({ name: error.name, message: error.message }));
  }
  process.exit(0);
`;
const caller = join(assembly, 'call.mjs');

async function invoke(name: string, event: unknown): Promise<unknown> {
  writeFileSync(caller, call);
  const bundle = join(bundles.get(name) ?? '', 'index.mjs');
  const { stdout } = await run(process.execPath, [caller, bundle, JSON.stringify(event)], {
    cwd: assembly,
    env: {
      AWS_REGION: 'eu-west-1',
      VECFERRY_RUNS: 's3://bucket',
      VECFERRY_FLAGS: 'ssm:/vecferry/flags/',
      VECFERRY_SECRETS: 'manager',
      VECFERRY_QUEUE_URL: 'https://queue',
      VECFERRY_DEAD_LETTER_URL: 'https://dead',
      VECFERRY_REPAIR_QUEUE_URL: 'https://repairs',
      VECFERRY_NOTICES: 'sns:arn:aws:sns:eu-west-1:123456789012:topic',
      VECFERRY_STACK: 'Vecferry',
      VECFERRY_METRICS: 'cloudwatch',
      VECFERRY_TASKS: 'stepfunctions',
      POWERTOOLS_LOG_LEVEL: 'SILENT',
      POWERTOOLS_METRICS_DISABLED: 'true',
    },
  });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
}

describe('each bundle, by itself', () => {
  test.each(Object.keys(functionSettings))('%s answers a bad event with InvalidEvent', async (name) => {
    expect(await invoke(name, { wrong: true })).toEqual({
      name: errorNames.invalidEvent,
      message: expect.stringContaining('is not valid'),
    });
  });

  test('knows its stores, and refuses one that lies on a local disk before anything else', async () => {
    const side = { store: 'lancedb', connection: { path: '/tmp/nowhere' }, collection: 'words' };
    const event = { source: side, target: { ...side, collection: 'others' } };
    expect(await invoke('plan', { execution: 'run-1', event })).toEqual({
      name: errorNames.invalidEvent,
      message: expect.stringMatching(/lies on one machine's disk/),
    });
  });

  test('holds no local model, whose weights are of one machine, and what asks a model only where one is opened', async () => {
    const sources = Object.keys(functionSettings).map((name) => [name, join(root, 'functions', `${name}.ts`)] as const);
    const asking = sources.filter(([, path]) => readFileSync(path, 'utf8').includes('openModel')).map(([name]) => name);
    expect([...functionsWithModels].sort()).toEqual(asking.sort());
    for (const [name, folder] of bundles) {
      const text = readFileSync(join(folder, 'index.mjs'), 'utf8');
      const holds = { bedrock: text.includes('bedrock-runtime'), vocabulary: text.includes('" TensorFlow"') };
      const asks = asking.includes(name);
      expect({ name, ...holds }).toEqual({ name, bedrock: asks, vocabulary: asks });
      expect({ name, local: text.includes('@tensorflow/') }).toEqual({ name, local: false });
      expect(readdirSync(folder).sort()).toEqual(['index.mjs', 'index.mjs.map', 'parquet_wasm_bg.wasm']);
    }
    const side = { store: 'qdrant', connection: { url: 'http://127.0.0.1:1' }, collection: 'words' };
    const embed = { text: 'word', model: { provider: 'local', name: 'universal-sentence-encoder-lite' } };
    const event = { source: side, target: { ...side, collection: 'others' }, embed };
    expect(await invoke('plan', { execution: 'run-1', event })).toEqual({
      name: errorNames.invalidEvent,
      message: expect.stringMatching(/local model .* runs on one machine only/),
    });
  });

  test('carries the wasm file that its Parquet code reads, and stays far from the 250 MB that Lambda unzips', () => {
    for (const folder of bundles.values()) {
      expect(statSync(join(folder, 'parquet_wasm_bg.wasm')).size).toBeGreaterThan(1_000_000);
      expect(statSync(join(folder, 'index.mjs')).size).toBeLessThan(10_000_000);
      expect(statSync(join(folder, 'index.mjs.map')).size).toBeGreaterThan(0);
    }
    expect(bundles.size).toBe(Object.keys(functionSettings).length);
  });
});
