import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { type PgPrograms, programError } from './pg-programs.ts';

/**
 * One psql, held open, so that a dump's script and our own statements are one transaction. Nothing is committed until we say COMMIT:
 * when this process dies psql reads the end of its input, leaves, and the server rolls back.
 */
export interface Psql {
  /** Runs statements. @returns the lines that they gave. @throws what psql said; the session is over then, and rolled back. */
  ask(sql: string): Promise<readonly string[]>;
  /** Sends what a program prints. @throws when it fails: the session is ended and rolled back. */
  feed(child: ChildProcess, name: string): Promise<void>;
  /** Ends it; what is not committed is rolled back. */
  close(): Promise<void>;
}

export function openPsql(programs: PgPrograms): Psql {
  const args = ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--no-password', '--set=ON_ERROR_STOP=1'];
  const child = programs.start('psql', [...args, programs.database]);
  const { stdin, stdout, stderr } = child;
  if (stdin === null || stdout === null || stderr === null) throw new Error('psql has no pipes');
  let out = '';
  let words = '';
  let heard = (): void => undefined;
  stdin.on('error', () => undefined);
  stdout.setEncoding('utf8').on('data', (chunk: string) => {
    out += chunk;
    heard();
  });
  stderr.on('data', (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(-4000);
  });
  const ended = new Promise<never>((_, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => reject(programError('psql', code ?? signal ?? 'unknown', words)));
  });
  // Whoever asks next is told.
  ended.catch(() => undefined);

  const ask: Psql['ask'] = async (sql) => {
    const token = randomUUID();
    out = '';
    const answered = new Promise<void>((resolve) => {
      heard = () => {
        if (out.includes(token)) resolve();
      };
    });
    stdin.write(`${sql}\n\\echo ${token}\n`);
    await Promise.race([answered, ended]);
    return out
      .slice(0, out.indexOf(token))
      .split('\n')
      .filter((line) => line !== '');
  };

  return {
    ask,
    feed: async (source, name) => {
      let said = '';
      source.stdin?.on('error', () => undefined).end();
      source.stderr?.on('data', (chunk: Buffer) => {
        said = (said + chunk.toString()).slice(-4000);
      });
      source.stdout?.pipe(stdin, { end: false });
      const fed = new Promise<void>((resolve, reject) => {
        source.once('error', reject);
        source.once('close', (code, signal) =>
          code === 0 ? resolve() : reject(programError(name, code ?? signal ?? 'unknown', said)),
        );
      });
      try {
        await Promise.race([fed, ended]);
      } catch (error) {
        source.kill('SIGKILL');
        // Not end(): psql could be within a COPY, and would take the end for that of the data.
        child.kill('SIGKILL');
        throw error;
      }
      // Everything that was sent was also carried out.
      await ask('');
    },
    close: async () => {
      stdin.end();
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      await ended.catch(() => undefined);
    },
  };
}
