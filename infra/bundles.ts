import { copyFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { AssetHashType, DockerImage } from 'aws-cdk-lib';
import { Code } from 'aws-cdk-lib/aws-lambda';
import { buildSync, type OutputFile } from 'esbuild';
import { type FunctionName, functionNames } from './function-settings.ts';

const root = join(import.meta.dirname, '..');

/**
 * A function's bundle, by esbuild. Not by NodejsFunction: that calls npm and esbuild once for each function, and reads
 * what all of them share each time; in batches 32 functions take a third of the processor's time.
 */
export function bundledCode(name: FunctionName): Code {
  return Code.fromAsset(join(root, 'functions'), {
    assetHashType: AssetHashType.OUTPUT,
    bundling: {
      // Never pulled: `tryBundle` makes it here, or throws.
      image: DockerImage.fromRegistry('esbuild-is-enough'),
      // The CDK takes two assets for the same one where only `local` differs.
      command: [name],
      local: {
        tryBundle: (directory) => {
          takeBundle(name, directory);
          return true;
        },
      },
    },
  });
}

/** Functions that esbuild bundles at once. Each takes some 150 MB of memory meanwhile. */
const batchSize = 8;
/** What was bundled with another and is not yet asked for: the files of each. */
const made = new Map<FunctionName, readonly OutputFile[]>();
const taken = new Set<FunctionName>();

function takeBundle(name: FunctionName, directory: string): void {
  if (!made.has(name)) makeBatch(name);
  for (const { path, contents } of made.get(name) ?? []) writeFileSync(join(directory, basename(path)), contents);
  made.delete(name);
  taken.add(name);
  // lib/shard/parquet-wasm.ts looks for the file beside the bundle; esbuild does not copy it.
  const wasm = 'parquet_wasm_bg.wasm';
  copyFileSync(createRequire(import.meta.url).resolve(`parquet-wasm/esm/${wasm}`), join(directory, wasm));
}

/** Bundles the function and others that leave out the same. @throws Error of esbuild, with what is wrong. */
function makeBatch(name: FunctionName): void {
  const alike = functionNames.filter((each) => hasModels(each) === hasModels(name) && each !== name);
  const batch = [name, ...alike.filter((each) => !made.has(each) && !taken.has(each)).slice(0, batchSize - 1)];
  const { outputFiles } = buildSync({
    entryPoints: batch.map((each) => join(root, 'functions', `${each}.ts`)),
    outdir: root,
    entryNames: '[name]/index',
    outExtension: { '.js': '.mjs' },
    write: false,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    minify: true,
    sourcemap: true,
    sourcesContent: false,
    // The AWS SDK is bundled too: the versions that were tested, not those that the runtime happens to have.
    external: ['pg-native'],
    mainFields: ['module', 'main'],
    alias: Object.fromEntries(leftOut(name).map((engine) => [engine, join(root, 'infra', 'no-embedded-engine.cjs')])),
    banner: { js: requireInEsm },
    logLevel: 'error',
  });
  for (const each of batch)
    made.set(
      each,
      outputFiles.filter(({ path }) => basename(dirname(path)) === each),
    );
}

/** Functions that open an embedding model, some to ask it and the plan to count tokens. */
export const functionsWithModels: readonly FunctionName[] = [
  'plan',
  'embed-texts',
  'catch-up',
  'choose-queries',
  'cut-over',
];
const hasModels = (name: FunctionName): boolean => functionsWithModels.includes(name);

/** What only those need, a quarter of a bundle; the local model stays out of all, since it is loaded past the bundler. */
const ofModels = ['@aws-sdk/client-bedrock-runtime', 'gpt-tokenizer/encoding/cl100k_base'];

/**
 * Engines that live inside the process, on a local disk. A function has none that lasts, so lib/services.ts refuses them on
 * AWS with InvalidEvent, and their files stay out of the bundle: LanceDB's native module alone has 178 MB of the 250 MB that
 * a function may have unzipped (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
 */
const embeddedEngines = ['@lancedb/lancedb', '@electric-sql/pglite', '@electric-sql/pglite-pgvector'];

const leftOut = (name: FunctionName): readonly string[] =>
  hasModels(name) ? embeddedEngines : [...embeddedEngines, ...ofModels];

/** CommonJS dependencies call `require`, which an ES module lacks. Named so that no bundled import can collide. */
const requireInEsm =
  "import{createRequire as makeRequireOfBundle}from'node:module';const require=makeRequireOfBundle(import.meta.url);";
