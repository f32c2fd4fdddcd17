import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Deployment, readTemplate, type Template, templateSchema } from './deployment.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** As what Node compiles is kept: one for every directory of runs. */
const besidePackages = join(root, 'node_modules', '.cache', 'vecferry');

/**
 * What `cdk deploy` would install, synthesized from the same stack. The template is kept by the hash of everything it is made
 * from: synthesis takes two seconds, reading it none. Where the packages cannot be written to, `directory`/cache keeps it.
 * @throws Error when the stack cannot be synthesized, with what the stack says.
 */
export async function loadDeployment(
  directory: string,
  onSynthesize?: () => void,
  shared = besidePackages,
): Promise<Deployment> {
  const name = `template-${await hashSources()}.json`;
  const own = join(directory, 'cache');
  const read = async (folder: string): Promise<Template | undefined> => {
    try {
      return templateSchema.parse(JSON.parse(await readFile(join(folder, name), 'utf8')));
    } catch {
      // Not there, or a half that a machine left as it went down: it is made again, and written over.
      return undefined;
    }
  };
  const kept = (await read(shared)) ?? (await read(own));
  if (kept !== undefined) return readTemplate(kept, await functionNames());
  onSynthesize?.();
  const template = templateSchema.parse(JSON.parse(await synthesizeApart()));
  const text = JSON.stringify(template);
  await keep(shared, name, text).catch(() => keep(own, name, text));
  return readTemplate(template, await functionNames());
}

async function keep(folder: string, name: string, text: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  // Others may read or write it at the same time, of other containers too, where each has the same process id.
  const next = join(folder, `${name}.${randomUUID()}`);
  await writeFile(next, text);
  await rename(next, join(folder, name));
}

/** The template as JSON, made by a process of its own: the CDK would keep 150 MB of this one, which may run for hours. */
async function synthesizeApart(): Promise<string> {
  const code = `import { synthesize } from ${JSON.stringify(import.meta.url)};
    process.stdout.write(JSON.stringify(await synthesize()));`;
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', code];
  try {
    // Node's default of 1 MiB may not hold the template of a stack that grows.
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, maxBuffer: 64 * 1024 * 1024 });
    return stdout;
  } catch (cause) {
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
    const reason = /^\w*Error: .*$/m.exec(said)?.[0] ?? (said || String(cause));
    throw new Error(`the stack in infra/ cannot be synthesized: ${reason}; npx cdk synth shows all of it`, { cause });
  }
}

/** The stack's template, bundling left out: the functions run from their sources here. */
export async function synthesize(): Promise<Template> {
  const [{ App }, { VecferryStack }] = await Promise.all([import('aws-cdk-lib'), import('../stack.ts')]);
  const outdir = await mkdtemp(join(tmpdir(), 'vecferry-assembly-'));
  const app = new App({
    outdir,
    analyticsReporting: false,
    // `cdk synth` holds the template against CloudFormation's rules; here that would take longer than all the rest.
    builtinCloudFormationValidation: false,
    treeMetadata: false,
    // The path of a function's construct tells which file it is.
    context: {
      'aws:cdk:bundling-stacks': [],
      'aws:cdk:disable-asset-staging': true,
      'aws:cdk:enable-path-metadata': true,
    },
  });
  const stack = new VecferryStack(app, 'Vecferry');
  try {
    return templateSchema.parse(app.synth().getStackByName(stack.stackName).template);
  } finally {
    await rm(outdir, { recursive: true, force: true });
  }
}

async function functionNames(): Promise<readonly string[]> {
  const files = await readdir(join(root, 'functions'));
  return files.filter((file) => file.endsWith('.ts')).map((file) => file.slice(0, -'.ts'.length));
}

/**
 * Folders whose files make the template, each without those below it: the stack, what it imports of lib/, and the form in which
 * the engine keeps it (deployment.ts). test/local/synthesize.test.ts follows the imports. Not cdk.json: its settings are for
 * `cdk deploy`, which hands them to the stack; here it has its defaults.
 */
export const templateFolders: readonly string[] = ['infra', 'infra/local', 'lib', 'lib/mapping'];

/** Of the sources, the names of the functions, whose own code is not in the template, and the versions of the lock file. */
async function hashSources(): Promise<string> {
  const hash = createHash('sha256');
  for (const folder of templateFolders) {
    const files = (await readdir(join(root, folder))).filter((file) => file.endsWith('.ts')).sort();
    for (const file of files) hash.update(join(folder, file)).update(await readFile(join(root, folder, file)));
  }
  hash.update(JSON.stringify(await functionNames()));
  // An image may leave it out; what is kept lies beside the packages, and goes with them.
  hash.update(await readFile(join(root, 'package-lock.json')).catch(() => ''));
  return hash.digest('hex').slice(0, 16);
}
