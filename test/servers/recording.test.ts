/**
 * Replays what a real Qdrant 1.18.3 was asked (test/data/qdrant-rest.jsonl), in order, against the test server, and
 * compares status, content type and body. With QDRANT_URL set (to an empty server) it checks the recording instead.
 */

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type RunningServer, startServer } from './start.ts';

interface Recorded {
  readonly note: string;
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly body?: unknown;
    readonly headers?: Readonly<Record<string, string>>;
  };
  readonly response: { readonly status: number; readonly contentType: string | null; readonly body: unknown };
}

const lines = readFileSync(new URL('../data/qdrant-rest.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n');
const recording: readonly Recorded[] = lines.map((line) => JSON.parse(line));

/** Requests that are not replayed, each with the reason. */
const notServed: Readonly<Record<string, string>> = {
  'metrics head': 'telemetry counts the requests of the recorded server: it names its id and its start',
  'unknown path': 'refused louder than by 404, so that no test passes on a request that Qdrant does not document',
  'wrong method': 'the same',
};
/** Members of answers that differ from run to run: the seconds that the server took. */
const volatileMembers: readonly string[] = ['time'];
/** What a snapshot is called and weighs hangs on the time and on the engine's files. */
const ofSnapshots: readonly string[] = ['name', 'creation_time', 'size', 'checksum'];
const snapshotNotes: readonly string[] = ['snapshot create', 'snapshots'];
/** Which points are drawn is chance; their number, version and score are not. */
const randomPoints = 'query: random sample';
/** The key that the recorded server was started with for these requests. */
const apiKey = 'secret-1';
const keyed = new Set([
  'no API key where one is needed',
  'wrong API key',
  'right API key',
  'right API key as bearer',
  'version needs no key',
  'ready needs no key',
]);
/** A float32 has 24 bits: two that were rounded apart once differ by about 6e-8 of their size. */
const tolerance = 2e-7;

let open: RunningServer;
let locked: RunningServer;

beforeAll(async () => {
  open = await startServer('qdrant', { own: true });
  locked = await startServer('qdrant', { apiKey });
});

afterAll(async () => {
  await open?.stop();
  await locked?.stop();
});

describe('the Qdrant test server answers as the recorded Qdrant 1.18.3 did', () => {
  for (const [index, recorded] of recording.entries()) {
    if (recorded.note in notServed) continue;
    test(`${index}: ${recorded.note}`, async () => {
      const server = keyed.has(recorded.note) ? locked : open;
      const answer = await fetch(`${server.addresses.QDRANT_URL}${recorded.request.path}`, {
        method: recorded.request.method,
        headers: { 'content-type': 'application/json', ...recorded.request.headers },
        ...(recorded.request.body === undefined ? {} : { body: requestBody(recorded.request.body) }),
      });
      const text = await answer.text();
      const body: unknown = answer.headers.get('content-type') === 'application/json' ? JSON.parse(text) : text;
      expect({ status: answer.status, contentType: answer.headers.get('content-type') }).toEqual({
        status: recorded.response.status,
        contentType: recorded.response.contentType,
      });
      const others = snapshotNotes.includes(recorded.note) ? ofSnapshots : recorded.note === randomPoints ? ['id'] : [];
      const skipped = [...volatileMembers, ...others];
      expect(differences(recorded.response.body, body, skipped, 'body')).toEqual([]);
    });
  }
});

/** Large bodies were recorded by their length only. */
function requestBody(body: unknown): string {
  const length = typeof body === 'string' ? /^\((\d+) bytes\)$/.exec(body)?.[1] : undefined;
  if (length === undefined) return typeof body === 'string' ? body : JSON.stringify(body);
  const frame = (text: string) => `{"points":[{"id":1,"vector":[1,0,0,0],"payload":{"text":"${text}"}}]}`;
  return frame('x'.repeat(Number(length) - frame('').length));
}

/** Where `actual` is not what was recorded, as readable lines. Both have the same JSON types, or that is a difference. */
function differences(expected: unknown, actual: unknown, skipped: readonly string[], at: string): string[] {
  if (typeof expected === 'number' && typeof actual === 'number') {
    const exact = Number.isInteger(expected) && Number.isInteger(actual);
    const same = exact
      ? expected === actual
      : Math.abs(expected - actual) <= tolerance * Math.max(1, Math.abs(expected));
    return same ? [] : [`${at}: recorded ${expected}, got ${actual}`];
  }
  if (isMembers(expected) && isMembers(actual)) {
    const names = new Set([...Object.keys(expected), ...Object.keys(actual)]);
    return [...names]
      .filter((name) => !skipped.includes(name))
      .flatMap((name) => differences(expected[name], actual[name], skipped, `${at}.${name}`));
  }
  if (Array.isArray(expected) && Array.isArray(actual) && expected.length === actual.length) {
    return expected.flatMap((each, index) => differences(each, actual[index], skipped, `${at}[${index}]`));
  }
  return expected === actual ? [] : [`${at}: recorded ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`];
}

function isMembers(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
