import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { duration } from '../../lib/words.ts';
import { runCommand } from './cli/commands.ts';
import { newRunId, readEvent } from './cli/event-input.ts';
import { exitCodes, failureFrom } from './cli/exit-codes.ts';
import { makeOutput } from './cli/output.ts';
import { makeSampleDatabase } from './sample.ts';

/** `npm start`: the whole of vecferry on real data, in a minute, with no account and no Docker. */

const directory = '.vecferry';
const event = join('events', 'sample.json');
const local = z.object({ path: z.string() });

async function start(): Promise<number> {
  const began = performance.now();
  const { parsed, raw } = await readEvent(event);
  const source = local.parse(parsed.source.connection).path;
  const target = local.parse(parsed.target.connection).path;
  output.line('vecferry moves 10,000 words with their GloVe vectors (test/data/README.md names their origin)');
  output.line(`from     PostgreSQL with pgvector, embedded, in ${source}`);
  output.line(`to       LanceDB, in ${target}`);
  if (await makeSampleDatabase(source)) output.line(`made     the source, with its HNSW index, in ${seconds(began)}`);
  // Each start moves into an empty target, and readers begin at the source; a run of your own refuses a target with records.
  await rm(target, { recursive: true, force: true });
  await rm(join(directory, 'flags', `${parsed.target.collection}.json`), { force: true });
  const stopping = new AbortController();
  process.once('SIGINT', () => stopping.abort());
  const run = newRunId();
  const code = await runCommand(
    {
      directory,
      output,
      isTerminal: process.stderr.isTTY === true,
      verbose: false,
      signal: stopping.signal,
    },
    run,
    { parsed, raw },
    `npx vecferry run ${event} --run ${run}`,
  );
  if (code === exitCodes.ok) for (const line of next(run, seconds(began))) output.line(line);
  return code;
}

function next(run: string, took: string): readonly string[] {
  return [
    `in all   ${took}`,
    '',
    'Try next',
    `  npx vecferry status ${run}       how far a run is, from its objects alone`,
    `  npx vecferry rollback ${run}     readers go back to the source`,
    `  npx vecferry cutover ${run}      and to the target again`,
    `  npx vecferry finish ${run}       ends the double writes: from then on there is no way back`,
    '  npx vecferry plan events/pgvector-to-qdrant.json   what your own run would do; events/ holds one a use',
    '  npx cdk deploy                                     the same state machine on AWS',
  ];
}

function seconds(since: number): string {
  return duration((performance.now() - since) / 1000);
}

const output = makeOutput(false);
try {
  process.exitCode = await start();
} catch (error) {
  const failure = failureFrom(error);
  output.fail(failure);
  process.exitCode = failure.exitCode;
}
