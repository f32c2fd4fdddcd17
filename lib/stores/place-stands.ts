/** What the name of a vector stands for, of a run in place: what the pointer of its target reads, and is moved to. */
export const placeStands = {
  old: 'the old column',
  made: (run: string): string => `the column of run ${run}`,
} as const;

/** The same of a run that changes an index. */
export const indexStands = {
  old: 'the old index',
  made: (run: string): string => `the index of run ${run}`,
} as const;
