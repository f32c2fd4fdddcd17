import { readFile } from 'node:fs/promises';
import { flagPath } from '../cutover/flag-path.ts';
import type { FlagReader } from './flag-reader.ts';
import { parseFlagText } from './flag-text.ts';

/** The routing flag of one machine: the file NAME.json in the directory of flags, which runs write (VECFERRY_FLAGS). */
export function fileFlag(directory: string, name: string): FlagReader {
  const path = flagPath(directory, name);
  return {
    name,
    read: async () => {
      try {
        return parseFlagText(await readFile(path, 'utf8'), path);
      } catch (error) {
        if (Object(error).code === 'ENOENT') return undefined;
        throw error;
      }
    },
  };
}
