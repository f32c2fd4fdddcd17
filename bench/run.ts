import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { BenchRow } from './row.ts';

/**
 * `npm run bench`, or `npm run bench -- shard qdrant`: each bench file's run() in a process of its own, one after the other,
 * so that none inherits another's memory or compiled code. Prints one table of figures beside what they are measured against.
 */

const rowsSchema = z.array(
  z.object({
    name: z.string(),
    value: z.number(),
    unit: z.string(),
    against: z.string().optional(),
    ratio: z.number().optional(),
    goal: z.string().optional(),
  }),
);
const folder = fileURLToPath(new URL('.', import.meta.url));
/** Not benches themselves. */
const helpers = ['run', 'row', 'child', 'command', 'folder'];
/** Marks the line of a child's output that holds its rows. */
const mark = 'vecferry-bench-rows:';

const inChild = `
const { run } = await import(process.argv[1]);
if (typeof run !== 'function') throw new Error(process.argv[1] + ' exports no run()');
console.log(${JSON.stringify(mark)} + JSON.stringify(await run()));
process.exit(0);`;

async function runBench(name: string): Promise<readonly BenchRow[]> {
  const path = new URL(`${name}.ts`, import.meta.url).href;
  const options = { maxBuffer: 1 << 26 };
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--expose-gc', '--input-type=module', '-e', inChild, path],
    options,
  );
  const line = stdout.split('\n').find((each) => each.startsWith(mark));
  if (line === undefined) throw new Error(`bench ${name} printed no rows:\n${stdout}`);
  return rowsSchema.parse(JSON.parse(line.slice(mark.length))).map((row): BenchRow => JSON.parse(JSON.stringify(row)));
}

async function main(asked: readonly string[]): Promise<void> {
  const found = (await readdir(folder)).filter((file) => file.endsWith('.ts')).map((file) => basename(file, '.ts'));
  const benches = found.filter((name) => !helpers.includes(name)).sort();
  const unknown = asked.filter((name) => !benches.includes(name));
  if (unknown.length > 0) throw new Error(`there is no bench ${unknown.join(', ')}; there are ${benches.join(', ')}`);
  const rows: BenchRow[] = [];
  const failed: string[] = [];
  for (const name of asked.length > 0 ? asked : benches) {
    console.error(`bench ${name} …`);
    try {
      rows.push(...(await runBench(name)));
    } catch (error) {
      failed.push(name);
      console.error(error instanceof Error ? error.message : error);
    }
  }
  const [cpu] = cpus();
  console.log(
    `${cpu?.model ?? 'unknown'}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${process.arch}, Node ${process.version}\n`,
  );
  console.log(table(rows));
  if (failed.length > 0) throw new Error(`these benches failed: ${failed.join(', ')}`);
}

function table(rows: readonly BenchRow[]): string {
  const cells = rows.map(({ name, value, unit, ratio, against = '', goal = '' }) => [
    name,
    value.toLocaleString('en', { maximumFractionDigits: value < 100 ? 1 : 0 }),
    unit,
    ratio === undefined ? '' : ratio.toFixed(2),
    against,
    goal,
  ]);
  const all = [['figure', 'value', 'unit', 'ratio', 'against', 'goal'], ...cells];
  const widths = (all[0] ?? []).map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
  const isNumber = (at: number): boolean => at === 1 || at === 3;
  return all
    .map((row) =>
      row
        .map((cell, at) => (isNumber(at) ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

await main(process.argv.slice(2));
