import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import swc from '@swc/jest';

/**
 * Compiles TypeScript for Jest, and gives each module names of its own for the language's globals. Jest runs modules in a
 * context of node:vm, where each look at a global goes through an interceptor: Math.abs takes 165 ns there, and 10 by a name of the
 * module. Jest's own setting for it has no effect on ES modules (jestjs.io/docs/configuration, sandboxInjectedGlobals). What
 * tests or Jest replace (Date, timers, fetch, process) is not among them. All on the first line, so that lines keep their numbers.
 */
const names = [
  'Array',
  'BigInt',
  'Buffer',
  'Float32Array',
  'Float64Array',
  'Int32Array',
  'JSON',
  'Map',
  'Math',
  'Number',
  'Object',
  'Set',
  'String',
  'Uint32Array',
  'Uint8Array',
];

function withOwnNames(code) {
  const own = names.filter(
    (name) =>
      new RegExp(`\\b${name}\\b`).test(code) &&
      !new RegExp(`\\b(?:const|let|var|class|function)\\s+${name}\\b|^import\\b[^;]*\\b${name}\\b`, 'm').test(code),
  );
  return own.length === 0 ? code : `const { ${own.join(', ')} } = globalThis; ${code}`;
}

const own = readFileSync(import.meta.filename);

export default {
  createTransformer: (options) => {
    const inner = swc.createTransformer(options);
    const add = ({ code, ...rest }) => ({ ...rest, code: withOwnNames(code) });
    return {
      ...inner,
      process: (...args) => add(inner.process(...args)),
      processAsync: async (...args) => add(await inner.processAsync(...args)),
      getCacheKey: (...args) =>
        createHash('sha1')
          .update(inner.getCacheKey(...args))
          .update(own)
          .digest('hex'),
    };
  },
};
