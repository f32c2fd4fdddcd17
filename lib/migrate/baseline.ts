import { Incompatible, NotFound } from '../errors.ts';
import { checkStores } from './checks/check.ts';
import type { HistoryEntry } from './port.ts';
import { baselineMark, type Migrator, mustBeSound, overviewOf, refuseProblems } from './runner.ts';
import { nextSeq } from './standing.ts';

/**
 * A database that was there before vecferry: its first migrations are noted as applied, and not run. The line has no way back, so that
 * `down` never drops what stood before the history began.
 */

/**
 * The lines that say so, of all files up to `number` that the history does not hold yet; none where it holds them all, so a pipeline may say
 * it each time.
 * @throws NotFound when no file has the number. @throws Incompatible where the history has begun by itself, or something does not fit.
 * @throws InvalidEvent where one of them could not be applied elsewhere.
 */
export async function baselineLines(migrator: Migrator, number: number): Promise<readonly HistoryEntry[]> {
  const { folder, by, now } = migrator;
  if (!folder.files.some((file) => file.number === number))
    throw new NotFound(
      `--baseline ${number}: there is no migration ${number}; the highest is ${folder.files.at(-1)?.number ?? 'none'}`,
    );
  const { entries, problems, pending, applied } = await overviewOf(migrator);
  const missing = pending.filter((file) => file.number <= number);
  if (missing.length === 0) return [];
  refuseProblems(problems);
  const own = applied.find(({ action }) => action === 'up');
  if (own !== undefined) {
    const how = `a baseline comes before the first up; of one whose change is there already say: vecferry migrate repair ${missing[0]?.number} --as applied`;
    throw new Incompatible(`--baseline ${number}: ${own.name} was applied here by ${own.by}, ${own.at}; ${how}`);
  }
  // The next stage begins with them.
  await mustBeSound(
    migrator,
    missing.map((file) => ({ direction: 'up', number: file.number, file })),
  );
  return missing.map((file, index) => ({
    seq: nextSeq(entries) + index,
    number: file.number,
    name: file.name,
    checksum: file.checksum,
    kind: file.kind,
    action: 'repaired',
    as: 'applied',
    at: now().toISOString(),
    by,
    milliseconds: 0,
    detail: `${baselineMark}${number}: it was there before; nothing takes it back`,
  }));
}

/** The same, with these lines in its history: what would stand if they were written. */
export function assuming(migrator: Migrator, lines: readonly HistoryEntry[]): Migrator {
  const { history } = migrator;
  return lines.length === 0
    ? migrator
    : { ...migrator, history: { ...history, entries: async () => [...(await history.entries()), ...lines] } };
}

/** How long each look at a store may take before a baseline: what is asked of the catalog takes no time, and the rows are not its matter. */
const lookMs = 5_000;

/**
 * Looks whether the stores hold what these files make: with another number the next file would fail, or never be applied.
 * @throws Incompatible naming what is missing or other than they make it.
 */
export async function mustStand(migrator: Migrator, lines: readonly HistoryEntry[]): Promise<void> {
  const { settings, folder } = migrator;
  const entries = await assuming(migrator, lines).history.entries();
  const { stores } = await checkStores({ config: settings, files: folder.files, entries, timeoutMs: lookMs });
  // Each thing that a file makes is told with the file's name; faults of the rows were there before, and `check` tells them.
  const wrong = stores.flatMap(({ name, results }) =>
    results.flatMap(({ what, verdict, detail }) =>
      verdict === 'wrong' && lines.some((line) => detail.includes(line.name)) ? [`${name}: ${what}: ${detail}`] : [],
    ),
  );
  const [first] = wrong;
  if (first === undefined) return;
  const more = wrong.length > 1 ? `; and ${wrong.length - 1} more` : '';
  const how = `name the last file whose change is there, leave --baseline out where the store is empty, or say --no-check where you know better`;
  throw new Incompatible(
    `the stores are not as ${lines.at(-1)?.name} leaves them, so nothing was noted and nothing applied; ${how}. ${first}${more}`,
    { ids: lines.map(({ name }) => name) },
  );
}
