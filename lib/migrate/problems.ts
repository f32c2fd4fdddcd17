import type { MigrationFolder } from './files.ts';
import { gapsIn, isTimestamp } from './files.ts';
import type { HistoryEntry, MigrationFile } from './port.ts';
import { appliedNumbers, type Standings } from './standing.ts';

/** What does not fit between the files and the history. Nothing is applied while there is a problem: the order would not be what it says. */

export interface Problem {
  readonly kind: 'name' | 'gap' | 'changed' | 'missing' | 'order' | 'half' | 'history' | 'restore' | 'file';
  /** undefined: of the folder or the history as a whole. */
  readonly number?: number;
  /** What is wrong, and what to do. */
  readonly message: string;
  /** Of half: what was begun, by whom and when. */
  readonly begun?: string;
}

export interface ProblemsInput {
  readonly folder: MigrationFolder;
  readonly standings: Standings;
  /** Numbers of which a part stands, and whose files begin with that part. */
  readonly following?: ReadonlySet<number>;
  /** Lines of the history that are not as they were written. */
  readonly faults: readonly string[];
}

export function problemsOf({ folder, standings, following, faults }: ProblemsInput): readonly Problem[] {
  const { files } = folder;
  /** Of a number that is there twice the file that was applied, so that the other one is not called a change of it. */
  const fileOf = (number: number, name: string): MigrationFile | undefined =>
    files.find((file) => file.number === number && file.name === name) ?? files.find((file) => file.number === number);
  const highest = appliedNumbers(standings)[0] ?? 0;
  // One that was taken back, or never came to its end, needs its file again: without it the folder is another one on every other stage.
  const known = new Set([...standings].flatMap(([number, { state }]) => (state === 'pending' ? [] : [number])));
  const look = 'look at it, put it back, and where it is right as it stands: vecferry migrate repair history';
  return [
    ...faults.map((message): Problem => ({ kind: 'history', message: `${message}; ${look}` })),
    ...folder.problems.map((message): Problem => ({ kind: 'name', message })),
    ...gapsIn(files, known).map((number): Problem => ({ kind: 'gap', number, message: gapMessage(number) })),
    ...[...standings]
      .sort(([a], [b]) => a - b)
      .flatMap(([number, standing]) => {
        const file = fileOf(number, standing.entry.name);
        if (standing.state === 'half') return halfProblems(standing, file);
        if (standing.state === 'pending' && standing.statement > 1 && following?.has(number) !== true)
          return goingOnProblems(standing, file);
        if (standing.state === 'applied' && standing.applied !== undefined)
          return appliedProblems(standing.applied, file);
        return [];
      }),
    ...files
      .filter(({ number }) => number < highest && (standings.get(number)?.state ?? 'pending') === 'pending')
      .map((file): Problem => ({ kind: 'order', number: file.number, message: orderMessage(file, highest) })),
  ];
}

const gapMessage = (number: number): string =>
  `number ${number} has no file, and a later one has; a file may not have been merged yet: add it, or renumber those after it`;

function orderMessage({ path, number }: MigrationFile, highest: number): string {
  const next = isTimestamp(number) ? 'a time after it' : `the number ${highest + 1} or more`;
  const said = `if its change is there already: vecferry migrate repair ${number} --as applied`;
  const anyway = 'where nothing that is applied already stands in its way, as after a merge: --out-of-order';
  return `${path} is not applied, and ${highest}, which comes after it, is: rename the file to ${next}; ${anyway}; ${said}`;
}

function appliedProblems(applied: HistoryEntry, file: MigrationFile | undefined): readonly Problem[] {
  const { number, name, by, at } = applied;
  const when = `applied ${at} by ${by}`;
  if (file === undefined) {
    const how = `bring the file back (git log -- '*${name}*'), take it back with down, or, where it is gone for good: vecferry migrate repair ${number} --as forgotten`;
    return [{ kind: 'missing', number, message: `${name}, ${when}, has no file any more; ${how}` }];
  }
  if (file.checksum === applied.checksum) return [];
  // Of another name it is no change of that file, as after a merge of two that took the same number.
  if (file.name !== name) {
    const how = `bring ${name} back (git log -- '*${name}*'), and give ${file.path} a number of its own; where it is the same change under another name: vecferry migrate repair ${number} --as applied`;
    return [
      {
        kind: 'changed',
        number,
        message: `number ${number} is ${name}, ${when}, and ${file.path} is another file; ${how}`,
      },
    ];
  }
  const mend = `bring the file back as it was and write what is new into a migration of its own; where only its words were changed: vecferry migrate repair ${number} --as applied`;
  const sums = `SHA-256 ${applied.checksum.slice(0, 12)}… then, ${file.checksum.slice(0, 12)}… now`;
  return [{ kind: 'changed', number, message: `${file.path} was changed after it was ${when} (${sums}); ${mend}` }];
}

function halfProblems(
  { entry, direction }: { entry: HistoryEntry; direction: 'up' | 'down' },
  file: MigrationFile | undefined,
): readonly Problem[] {
  // A collection's step may be repeated where it died, and is.
  if ((entry.kind ?? file?.kind) === 'collection') return [];
  const { number, name, at, by, action, detail = '' } = entry;
  const what = action === 'failed' ? `failed half way ${direction}` : `was begun ${direction} and did not end`;
  const how = `see what stands, and go on: vecferry migrate repair ${number}`;
  const begun = `${name} ${what} (${at}, by ${by}): ${detail}`;
  return [{ kind: 'half', number, message: `${begun}; ${how}`, begun }];
}

/** The first statements of it stand: those of another text would not follow on them. */
function goingOnProblems(
  { entry, statement }: { entry: HistoryEntry; statement: number },
  file: MigrationFile | undefined,
): readonly Problem[] {
  const { number, name } = entry;
  const how = `bring the file and its variables back as they were, or take what stands back by hand and say: vecferry migrate repair ${number} --as pending`;
  return [
    {
      kind: 'changed',
      number,
      message: `${file === undefined ? `${name} has no file any more, and ${statement - 1} of its statements stand already` : `${file.path} was changed, or its variables were, in what stands already, its first ${statement - 1} statements`}; ${how}`,
    },
  ];
}
