import { writeSync } from 'node:fs';

/** The last line of `npm test`, for whoever looks for nothing but the verdict: `812 passed, 0 failed`. */
export default class ClosingLine {
  onRunComplete(_: unknown, results: Results): void {
    // A file that does not load has no tests to fail; it counts as one.
    const failed = results.numFailedTests + results.numRuntimeErrorTestSuites;
    // Jest's own summary comes after this call.
    process.once('exit', () => writeSync(1, `${results.numPassedTests} passed, ${failed} failed\n`));
  }
}

interface Results {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numRuntimeErrorTestSuites: number;
}
