import { main } from './main.ts';

/** vecferry.mjs starts this under the right Node. */
process.exitCode = await main(process.argv.slice(2), process);
