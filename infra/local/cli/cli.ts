import { main } from './main.ts';

/** vecferry.mjs starts this under the right Node. */
const code = await main(process.argv.slice(2), process);
// Once all is printed: whatever a store's library has left open would keep a command that has ended.
process.stdout.write('', () => process.stderr.write('', () => process.exit(code)));
