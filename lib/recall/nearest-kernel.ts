import compile from 'watr/compile';

/**
 * The sums of a brute-force search, in WebAssembly with two float64 lanes: five times as fast as a JavaScript loop, and the
 * very same numbers. Each lane is one query's sum, added up in the order of the floats, and WebAssembly has no fused
 * multiply-add (webassembly.github.io/spec/core/exec/numerics.html), so not one bit differs. Its text is below; watr makes
 * the bytes of it when the first search asks for them, in some 10 ms.
 */

/** Records and queries that pass through the kernel together: eight accumulators of two lanes, which fit the registers. */
export const recordsTogether = 4;
export const queriesTogether = 4;
/** Floats of a tile of records: as float64 they fill a processor's first cache while all queries pass over them. */
const tileFloats = 4096;

export type Sum = 'multiply' | 'square' | 'absolute';

export interface Kernel {
  /** Records that `load` takes at most. */
  readonly tileRecords: number;
  /** Puts records in, of `dimension` floats each. */
  load(values: Float32Array): void;
  /**
   * One sum over the floats for each loaded record and each query of a group; that of record r and query q of the group
   * stands at r * queriesTogether + q, and is overwritten by the next call.
   */
  sums(group: number): Float64Array;
}

/**
 * A kernel with these queries in it, in groups of `queriesTogether`. All kernels share one memory: one is used until its
 * search is over, without a pause in between.
 */
export function makeKernel(sum: Sum, queries: readonly Float32Array[], dimension: number): Kernel {
  const groups = Math.ceil(queries.length / queriesTogether);
  const fitting = Math.floor(tileFloats / Math.max(1, dimension) / recordsTogether);
  const tileRecords = recordsTogether * Math.max(1, fitting);
  const { memory, run } = instance(sum);
  const tile = roomFor(memory, [
    tileRecords * dimension,
    groups * queriesTogether * dimension,
    tileRecords * queriesTogether,
  ]);
  const [records, asked, found] = tile;
  asked.fill(0);
  queries.forEach((query, q) => {
    const start = Math.floor(q / queriesTogether) * queriesTogether * dimension + (q % queriesTogether);
    for (let i = 0; i < dimension; i++) asked[start + i * queriesTogether] = query[i] ?? 0;
  });
  let quads = 0;
  return {
    tileRecords,
    load: (values) => {
      records.set(values);
      quads = Math.ceil(values.length / Math.max(1, dimension) / recordsTogether);
    },
    sums: (group) => {
      const from = asked.byteOffset + group * queriesTogether * dimension * 8;
      run(records.byteOffset, from, dimension, quads, found.byteOffset);
      return found;
    },
  };
}

const pageBytes = 65_536;

/** Views of so many float64s each, one behind the other from the start of the memory, which grows where it is too small. */
function roomFor(
  memory: WebAssembly.Memory,
  [one, two, three]: readonly [number, number, number],
): [Float64Array, Float64Array, Float64Array] {
  const missing = (one + two + three) * 8 - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / pageBytes));
  const view = (from: number, length: number): Float64Array => new Float64Array(memory.buffer, from * 8, length);
  return [view(0, one), view(one, two), view(one + two, three)];
}

interface Instance {
  readonly memory: WebAssembly.Memory;
  /** All places in bytes. */
  readonly run: (records: number, queries: number, dimension: number, quads: number, found: number) => void;
}

const instances = new Map<Sum, Instance>();
let shared: WebAssembly.Memory | undefined;

function instance(sum: Sum): Instance {
  const there = instances.get(sum);
  if (there !== undefined) return there;
  shared ??= new WebAssembly.Memory({ initial: 1 });
  const memory = shared;
  const bytes: Uint8Array<ArrayBuffer> = compile(textOf(sum));
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { host: { memory } });
  const run = exports['run'];
  if (typeof run !== 'function') throw new TypeError('the kernel of the exact search exports no function run');
  const made: Instance = { memory, run: (...places) => void run(...places) };
  instances.set(sum, made);
  return made;
}

/** What is added for float x of a record, splat, and y of two queries. */
const terms: Readonly<Record<Sum, (x: string, y: string) => string>> = {
  multiply: (x, y) => `(f64x2.mul ${x} ${y})`,
  square: (x, y) => `(f64x2.mul (local.tee $d (f64x2.sub ${x} ${y})) (local.get $d))`,
  absolute: (x, y) => `(f64x2.abs (f64x2.sub ${x} ${y}))`,
};

/** The module's text: github.com/WebAssembly/spec, "Text Format", with the vector instructions of release 2. */
function textOf(sum: Sum): string {
  const records = Array.from({ length: recordsTogether }, (_, at) => at);
  const pairs = Array.from({ length: queriesTogether / 2 }, (_, at) => at);
  const cells = records.flatMap((r) => pairs.map((p) => ({ r, p, name: `$sum${r}_${p}` })));
  const lines = (all: readonly string[]): string => all.join('\n');
  const add = ({ r, p, name }: (typeof cells)[number]): string =>
    `(local.set ${name} (f64x2.add (local.get ${name}) ${terms[sum](`(local.get $x${r})`, `(local.get $y${p})`)}))`;
  return `(module
    (import "host" "memory" (memory 1))
    (func (export "run") (param $records i32) (param $queries i32) (param $dimension i32) (param $quads i32) (param $found i32)
      (local $q i32) (local $end i32) (local $stride i32) (local $d v128)
      ${lines(records.map((r) => `(local $at${r} i32) (local $x${r} v128)`))}
      ${lines(pairs.map((p) => `(local $y${p} v128)`))}
      ${lines(cells.map(({ name }) => `(local ${name} v128)`))}
      (local.set $stride (i32.mul (local.get $dimension) (i32.const 8)))
      (local.set $end (i32.add (local.get $queries) (i32.mul (local.get $stride) (i32.const ${queriesTogether}))))
      (block $none
        (br_if $none (i32.eqz (local.get $quads)))
        (loop $next
          (local.set $q (local.get $queries))
          (local.set $at0 (local.get $records))
          ${lines(records.slice(1).map((r) => `(local.set $at${r} (i32.add (local.get $at${r - 1}) (local.get $stride)))`))}
          ${lines(cells.map(({ name }) => `(local.set ${name} (v128.const i64x2 0 0))`))}
          (block $done
            (br_if $done (i32.eqz (local.get $dimension)))
            (loop $floats
              ${lines(records.map((r) => `(local.set $x${r} (v128.load64_splat (local.get $at${r})))`))}
              ${lines(pairs.map((p) => `(local.set $y${p} (v128.load offset=${p * 16} (local.get $q)))`))}
              ${lines(cells.map(add))}
              ${lines(records.map((r) => `(local.set $at${r} (i32.add (local.get $at${r}) (i32.const 8)))`))}
              (local.set $q (i32.add (local.get $q) (i32.const ${queriesTogether * 8})))
              (br_if $floats (i32.lt_u (local.get $q) (local.get $end)))))
          ${lines(cells.map(({ r, p, name }) => `(v128.store offset=${(r * queriesTogether + p * 2) * 8} (local.get $found) (local.get ${name}))`))}
          (local.set $found (i32.add (local.get $found) (i32.const ${recordsTogether * queriesTogether * 8})))
          (local.set $records (local.get $at${recordsTogether - 1}))
          (local.set $quads (i32.sub (local.get $quads) (i32.const 1)))
          (br_if $next (local.get $quads))))))`;
}
