/** This release, as package.json has it; a test holds the two together. Shards say by which one they were written. */
export const release = '0.1.0';
