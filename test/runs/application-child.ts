import { openApplication } from './application-parts.ts';

/**
 * An application in a process of its own, started by application-process.ts: takes an ApplicationPlace as its argument,
 * works until its standard input ends, lets repairs be made, and prints its account.
 */
const { application, settle, close, background } = await openApplication(JSON.parse(process.argv[2] ?? ''));
process.stdout.write('working\n');
for await (const _ of process.stdin);
const account = await application.stop();
await settle();
await close();
process.stdout.write(`${JSON.stringify({ account, background: background.map(String) })}\n`);
